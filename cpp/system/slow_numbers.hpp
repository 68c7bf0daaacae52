// For tools/slow_numbers: fills the memory of a call with subnormal numbers, and reports whether an operation had a
// subnormal operand or result. In other builds it does nothing.
#pragma once

#include "../problem.hpp"

#ifdef RNNCORE_FIND_SLOW_NUMBERS
#include <xmmintrin.h>

#include <algorithm>
#include <cstdio>

namespace rnncore {

inline Memory with_slow_numbers(Memory memory) {
  const size_t most = size_t{16} << 20;  // bytes
  std::fill_n(static_cast<int32_t*>(memory.at), std::min(memory.size, most) / sizeof(int32_t), 1);
  return memory;
}
// Reports what the calling thread has met since its rounding mode was set.
inline void report_slow_numbers() {
  const unsigned denormal_operand = 0x02, underflow = 0x10;
  if (_mm_getcsr() & (denormal_operand | underflow)) std::fputs("slow numbers\n", stderr);
}

}  // namespace rnncore
#else
namespace rnncore {

inline Memory with_slow_numbers(Memory memory) { return memory; }
inline void report_slow_numbers() {}

}  // namespace rnncore
#endif

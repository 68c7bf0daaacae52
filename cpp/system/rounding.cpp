#include "rounding.hpp"

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

namespace rnncore {

#if defined(__i386__) && !defined(__SSE2_MATH__)
#error "rnncore cannot keep its roundings on the x87: compile for SSE2"
#endif

#if defined(__x86_64__) || defined(__i386__)
// MXCSR at the start of a process: all exceptions masked, neither FTZ nor DAZ.
const uint64_t standard_rounding_mode = 0x1f80;

uint64_t set_rounding_mode(uint64_t mode) {
  const uint64_t before = _mm_getcsr();
  if (mode != before) _mm_setcsr(static_cast<unsigned>(mode));
  return before;
}
#elif defined(__aarch64__)
// FPCR likewise.
const uint64_t standard_rounding_mode = 0;

uint64_t set_rounding_mode(uint64_t mode) {
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (mode != before) __asm__ volatile("msr fpcr, %0" : : "r"(mode));
  return before;
}
#else
#error "rnncore knows the rounding mode of x86 and arm64 only"
#endif

}  // namespace rnncore

// The memory of one call: parts of one piece, handed out in order.
#pragma once

#include "../problem.hpp"
#include "vector.hpp"

namespace rnncore::RNNCORE_ISA {

using Index = ptrdiff_t;

constexpr Index min_of(Index a, Index b) { return a < b ? a : b; }
constexpr Index max_of(Index a, Index b) { return a > b ? a : b; }

template <class Real>
void copy(const Real* from, Index count, Real* to) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(Real));
}

template <class Real>
void fill(Real* to, Index count, Real value) {
  for (Index i = 0; i < count; ++i) to[i] = value;
}

// Clears the padding behind n numbers in rows of `width`, up to whole vectors. Vectors are read whole, and fresh memory
// may hold subnormal numbers, with which some processors are slow.
template <class Real>
void clear_padding(Index n, Index width, Index rows, Real* at) {
  const Index margin = whole_vectors(n) - n;
  for (Index r = 0; margin > 0 && r < rows; ++r) fill(at + r * width + n, margin, Real(0));
}

// Hands out parts of one piece of memory, of so many bytes. Without memory, and from where it is used up, it only
// counts what is asked for.
struct Arena {
  char* at = nullptr;
  size_t used = 0, size = ~size_t{0};

  template <class T>
  T* take(Index count) {
    const size_t from = used;
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    if (used > size) at = nullptr;
    return at ? reinterpret_cast<T*>(at + from) : nullptr;
  }
  // Rows of n numbers, whose padding is clear.
  template <class T>
  T* take_rows(Index rows, Index n, Index width) {
    T* const taken = take<T>(rows * width);
    if (taken) clear_padding(n, width, rows, taken);
    return taken;
  }
};

// Returns run(Parts(arena, arguments...)). Small calls find room in the memory that is kept; others have learnt by then
// how much they need, and make their parts again. False if there is no such memory.
template <class Parts, class Run, class... Arguments>
bool with_memory(const Machine& machine, Run run, const Arguments&... arguments) {
  const auto reserve = [&](size_t bytes) {
    const Memory memory = machine.reserve(machine.given, bytes);
    return Arena{static_cast<char*>(memory.at), 0, memory.size};
  };
  size_t needed;
  {
    Arena arena = reserve(0);
    Parts parts(arena, arguments...);
    needed = arena.used;
    if (arena.at && needed <= tuning::kept_memory) return run(parts);
  }
  Arena arena = reserve(needed + 1);
  if (!arena.at) return false;
  Parts parts(arena, arguments...);
  return run(parts);
}

}  // namespace rnncore::RNNCORE_ISA

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

// Hands out parts of one piece of memory. Without memory it only counts what is asked for.
struct Arena {
  char* at = nullptr;
  size_t used = 0;

  template <class T>
  T* take(Index count) {
    T* part = at ? reinterpret_cast<T*>(at + used) : nullptr;
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return part;
  }
};

// Makes Parts(arena, arguments...) twice: once to learn the size, once for good.
template <class Parts, class... Arguments>
Parts allocate(const Machine& machine, const Arguments&... arguments) {
  Arena counting;
  (void)Parts(counting, arguments...);
  Arena arena{static_cast<char*>(machine.reserve(machine.area, counting.used + 1))};
  return Parts(arena, arguments...);
}

}  // namespace rnncore::RNNCORE_ISA

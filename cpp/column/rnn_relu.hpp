// The rectifying cell: h_t = max(z_t, 0) with z_t = a_t + u_t.
#pragma once

#include "../problem.hpp"
#include "vector.hpp"

namespace rnncore::RNNCORE_ISA {

struct RnnRelu {
  static constexpr CellShape shape{"rnn_relu", 1, 1, 0, false, 0};
  static constexpr bool splits = false, passes = false;

  // h; NaN stays NaN, and -0 becomes +0.
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V*, V* state, V*) {
    const V z = a[0] + u[0];
    state[0] = positive(z, z);
  }

  // dz from dh: dh where the unit is on, and +0 where it is off.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V* state, const V*, const V*, V* da, V*, V*) {
    da[0] = positive(state[0], dstate[0]);
  }

  // y where x is positive, x itself where it is NaN, else +0.
  template <class V>
  static RNNCORE_INLINE V positive(V x, V y) {
    return x > 0 ? y : x != x ? x : V{};
  }
};

}  // namespace rnncore::RNNCORE_ISA

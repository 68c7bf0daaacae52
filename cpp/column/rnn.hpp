// The tanh cell: h_t = tanh(z_t) with z_t = a_t + u_t.
//
// Each cell is such a pair of functions, of vectors of units. forward takes the input part a = b_h + W_xh x_t and the
// recurrent part u = W_hh h_{t-1}, a vector for each gate, and the states before. It gives the new states and what it
// saves for backward. backward takes the gradient with respect to the new states, as far as it is known when the step
// is reached. It gives the gradients with respect to a, to u, and to the states before, as far as they do not come
// through u. Where splits is false, du is da; where passes is false, h_{t-1} has no other way than through u.
#pragma once

#include "../problem.hpp"
#include "elementary.hpp"

namespace rnncore::RNNCORE_ISA {

struct Rnn {
  static constexpr CellShape shape{"rnn", 1, 1, 0, false, 0};
  static constexpr bool splits = false, passes = false;

  // h.
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V*, V* state, V*) {
    state[0] = elementary::tanh(a[0] + u[0]);
  }

  // dz from dh: tanh' = 1 - tanh^2, so h is all that must be kept.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V* state, const V*, const V*, V* da, V*, V*) {
    const V h = state[0];
    da[0] = dstate[0] * (1 - h * h);
  }
};

}  // namespace rnncore::RNNCORE_ISA

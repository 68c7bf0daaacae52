// The tanh cell: h_t = tanh(z_t) with z_t = a_t + u_t.
#pragma once

#include "elementary.hpp"

namespace rnncore::RNNCORE_ISA::rnn {

// h from the input part a = b_h + W_xh x_t and the recurrent part u = W_hh h_{t-1}.
template <class V>
RNNCORE_INLINE V forward(V a, V u) {
  return elementary::tanh(a + u);
}

// dz from dh: tanh' = 1 - tanh^2, so h is all that must be kept.
template <class V>
RNNCORE_INLINE V backward(V dh, V h) {
  return dh * (1 - h * h);
}

}  // namespace rnncore::RNNCORE_ISA::rnn

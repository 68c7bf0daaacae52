// The gated recurrent unit with the reset before the product: h_t = (1 - z) n + z h_{t-1}.
//
// Its gates are r = sigmoid(a_r + u_r), z = sigmoid(a_z + u_z), n = tanh(a_n + u_n), where u_n is the product not with
// h_{t-1} but with q = r h_{t-1}. So a step is in two parts, forward and back.
#pragma once

#include "../problem.hpp"
#include "elementary.hpp"

namespace rnncore::RNNCORE_ISA {

struct GruResetBefore {
  static constexpr CellShape shape{"gru_reset_before", 3, 1, 4, true, 1};
  static constexpr bool splits = false, passes = true;

  // q, which the gate n reads, from what the gates r and z have.
  template <class V>
  static RNNCORE_INLINE V reset(const V* a, const V* u, const V* prev) {
    const V r = elementary::sigmoid(a[0] + u[0]);
    return r * prev[0];
  }

  // h; saved is what is kept of the gates, and q.
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V* prev, V* state, V* saved) {
    using namespace elementary;
    const V h_prev = prev[0];
    const auto [r, kept_r] = sigmoid_and_kept(a[0] + u[0]);
    const auto [z, kept_z] = sigmoid_and_kept(a[1] + u[1]);
    const auto [n, kept_n] = tanh_and_kept(a[2] + u[2]);
    state[0] = sigmoid_rest(kept_z) * n + z * h_prev;
    saved[0] = kept_r, saved[1] = kept_z, saved[2] = kept_n, saved[3] = r * h_prev;
  }

  // du_n: the gradient with respect to q is its product.
  template <class V>
  static RNNCORE_INLINE V reset_backward(const V* dstate, const V*, const V* saved, const V*) {
    using namespace elementary;
    const V z = saved[1], n = saved[2];
    return (dstate[0] * sigmoid_rest(z)) * tanh_slope(n);
  }

  // da, which is du too, from dh and dq.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V*, const V* saved, const V* prev, V* da, V*, V* dprev) {
    using namespace elementary;
    const V dh = dstate[0], dq = dstate[1], h_prev = prev[0], r = saved[0], z = saved[1], n = saved[2];
    da[2] = (dh * sigmoid_rest(z)) * tanh_slope(n);
    da[1] = (dh * (h_prev - tanh_of(n))) * sigmoid_slope(z);
    da[0] = (dq * h_prev) * sigmoid_slope(r);
    dprev[0] = dh * sigmoid_of(z) + dq * sigmoid_of(r);
  }
};

}  // namespace rnncore::RNNCORE_ISA

// The gated recurrent unit: h_t = (1 - z) n + z h_{t-1}.
//
// Its gates are r = sigmoid(a_r + u_r), z = sigmoid(a_z + u_z), n = tanh(a_n + r u_n): the recurrent part has a bias of
// its own, u = b_h + W_hh h_{t-1}, beside that of a = b_x + W_xh x_t, and r resets it after the product.
#pragma once

#include "../problem.hpp"
#include "elementary.hpp"

namespace rnncore::RNNCORE_ISA {

struct Gru {
  static constexpr CellShape shape{"gru", 3, 1, 4, true, 0};
  static constexpr bool splits = true, passes = true;

  // h; saved is what is kept of the gates, and u_n.
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V* prev, V* state, V* saved) {
    using namespace elementary;
    const V h_prev = prev[0], u_n = u[2];
    const auto [r, kept_r] = sigmoid_and_kept(a[0] + u[0]);
    const auto [z, kept_z] = sigmoid_and_kept(a[1] + u[1]);
    const auto [n, kept_n] = tanh_and_kept(a[2] + r * u_n);
    state[0] = sigmoid_rest(kept_z) * n + z * h_prev;
    saved[0] = kept_r, saved[1] = kept_z, saved[2] = kept_n, saved[3] = u_n;
  }

  // da and du from dh; they differ in the gate n.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V*, const V* saved, const V* prev, V* da, V* du,
                                      V* dprev) {
    using namespace elementary;
    const V dh = dstate[0], h_prev = prev[0], r = saved[0], z = saved[1], n = saved[2], u_n = saved[3];
    da[2] = (dh * sigmoid_rest(z)) * tanh_slope(n);
    da[1] = (dh * (h_prev - tanh_of(n))) * sigmoid_slope(z);
    da[0] = (da[2] * u_n) * sigmoid_slope(r);
    du[0] = da[0], du[1] = da[1], du[2] = da[2] * sigmoid_of(r);
    dprev[0] = dh * sigmoid_of(z);
  }
};

}  // namespace rnncore::RNNCORE_ISA

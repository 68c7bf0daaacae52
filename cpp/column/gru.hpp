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

  // h; saved are the gates and u_n.
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V* prev, V* state, V* saved) {
    const V h_prev = prev[0], u_n = u[2];
    const V r = elementary::sigmoid(a[0] + u[0]), z = elementary::sigmoid(a[1] + u[1]);
    const V n = elementary::tanh(a[2] + r * u_n);
    state[0] = (1 - z) * n + z * h_prev;
    saved[0] = r, saved[1] = z, saved[2] = n, saved[3] = u_n;
  }

  // da and du from dh; they differ in the gate n.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V*, const V* saved, const V* prev, V* da, V* du,
                                      V* dprev) {
    const V dh = dstate[0], h_prev = prev[0], r = saved[0], z = saved[1], n = saved[2], u_n = saved[3];
    da[2] = (dh * (1 - z)) * (1 - n * n);
    da[1] = (dh * (h_prev - n)) * (z * (1 - z));
    da[0] = (da[2] * u_n) * (r * (1 - r));
    du[0] = da[0], du[1] = da[1], du[2] = da[2] * r;
    dprev[0] = dh * z;
  }
};

}  // namespace rnncore::RNNCORE_ISA

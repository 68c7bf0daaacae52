// Long short-term memory: c_t = f c_{t-1} + i g, h_t = o tanh(c_t).
//
// Its gates are i = sigmoid(z_i), f = sigmoid(z_f), g = tanh(z_g), o = sigmoid(z_o) with z = a + u.
#pragma once

#include "../problem.hpp"
#include "elementary.hpp"

namespace rnncore::RNNCORE_ISA {

struct Lstm {
  static constexpr CellShape shape{"lstm", 4, 2, 5, false, 0};
  static constexpr bool splits = false, passes = false;

  // h and c; saved is what is kept of the gates and of tanh(c).
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V* prev, V* state, V* saved) {
    using namespace elementary;
    const V c_prev = prev[1];
    const auto [i, kept_i] = sigmoid_and_kept(a[0] + u[0]);
    const auto [f, kept_f] = sigmoid_and_kept(a[1] + u[1]);
    const auto [g, kept_g] = tanh_and_kept(a[2] + u[2]);
    const auto [o, kept_o] = sigmoid_and_kept(a[3] + u[3]);
    const V c = f * c_prev + i * g;
    const auto [tanh_c, kept_c] = tanh_and_kept(c);
    state[0] = o * tanh_c, state[1] = c;
    saved[0] = kept_i, saved[1] = kept_f, saved[2] = kept_g, saved[3] = kept_o, saved[4] = kept_c;
  }

  // dz from dh and from dc, which is complete once the way through h is added.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V*, const V* saved, const V* prev, V* da, V*, V* dprev) {
    using namespace elementary;
    const V dh = dstate[0], c_prev = prev[1];
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3], tanh_c = saved[4];
    const V dc = dstate[1] + (dh * sigmoid_of(o)) * tanh_slope(tanh_c);
    da[0] = (dc * tanh_of(g)) * sigmoid_slope(i);
    da[1] = (dc * c_prev) * sigmoid_slope(f);
    da[2] = (dc * sigmoid_of(i)) * tanh_slope(g);
    da[3] = (dh * tanh_of(tanh_c)) * sigmoid_slope(o);
    dprev[1] = dc * sigmoid_of(f);
  }
};

}  // namespace rnncore::RNNCORE_ISA

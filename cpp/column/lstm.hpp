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

  // h and c; saved are the gates and tanh(c).
  template <class V>
  static RNNCORE_INLINE void forward(const V* a, const V* u, const V* prev, V* state, V* saved) {
    const V c_prev = prev[1];
    const V i = elementary::sigmoid(a[0] + u[0]), f = elementary::sigmoid(a[1] + u[1]);
    const V g = elementary::tanh(a[2] + u[2]), o = elementary::sigmoid(a[3] + u[3]);
    const V c = f * c_prev + i * g;
    const V tanh_c = elementary::tanh(c);
    state[0] = o * tanh_c, state[1] = c;
    saved[0] = i, saved[1] = f, saved[2] = g, saved[3] = o, saved[4] = tanh_c;
  }

  // dz from dh and from dc, which is complete once the way through h is added.
  template <class V>
  static RNNCORE_INLINE void backward(const V* dstate, const V*, const V* saved, const V* prev, V* da, V*, V* dprev) {
    const V dh = dstate[0], c_prev = prev[1];
    const V i = saved[0], f = saved[1], g = saved[2], o = saved[3], tanh_c = saved[4];
    const V dc = dstate[1] + (dh * o) * (1 - tanh_c * tanh_c);
    da[0] = (dc * g) * (i * (1 - i));
    da[1] = (dc * c_prev) * (f * (1 - f));
    da[2] = (dc * i) * (1 - g * g);
    da[3] = (dh * tanh_c) * (o * (1 - o));
    dprev[1] = dc * f;
  }
};

}  // namespace rnncore::RNNCORE_ISA

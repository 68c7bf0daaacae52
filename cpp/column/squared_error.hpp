// Half the squared error: J_t = sum_v (y_v - l_v)^2 / 2, dy = y - l.
#pragma once

#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::squared_error {

// The loss of a row, in which y is replaced by dy.
template <class Real>
Real loss(Real* y, Index V, const Real* label) {
  Real lane[16] = {};
  for (Index v = 0; v < V; v += 16)
    for (Index i = 0; i < min_of(V - v, 16); ++i) {
      const Real dy = y[v + i] - label[v + i];
      y[v + i] = dy;
      lane[i] = lane[i] + dy * dy;
    }
  return linear::fold(lane) * Real(0.5);
}

}  // namespace rnncore::RNNCORE_ISA::squared_error

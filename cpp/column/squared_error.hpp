// Half the squared error: J_t = sum_v (y_v - l_v)^2 / 2, dy = y - l.
#pragma once

#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::squared_error {

// The loss of a row, in which y is replaced by dy.
template <class Real>
Real loss(Real* y, Index V, const Real* label) {
  using Lane = Vector<Real>;
  Lane sum[linear::lane_vectors<Real>] = {};
  for (Index v = 0; v < V; v += 16)
    for (Index i = 0; i < linear::lane_vectors<Real>; ++i) {
      const Index at = v + i * lanes<Real>;
      const Lane dy = up_to(V, load<Lane>(y + at), at, 0) - load_up_to<Lane>(V - at, label + at);
      store(y + at, dy);
      sum[i] = sum[i] + dy * dy;
    }
  return linear::fold<Real>(sum) * Real(0.5);
}

}  // namespace rnncore::RNNCORE_ISA::squared_error

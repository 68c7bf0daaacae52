// The softmax. A row lies in whole sixteens of numbers, the sixteen lanes of every sum.
#pragma once

#include "elementary.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::softmax {

// The larger of each two, NaN if either is.
template <class V>
RNNCORE_INLINE V larger(V m, V y) {
  return y > m ? y : (y != y ? y : m);
}

// M = max y.
template <class Real>
Real row_max(const Real* y, Index V) {
  using Lane = Vector<Real>;
  Lane m = splat<Lane>(-__builtin_inf());
  for (Index v = 0; v < V; v += lanes<Real>) m = larger(m, up_to<Lane>(V, load<Lane>(y + v), v, -__builtin_inf()));
  return fold_lanes<lanes<Real> / 2>(m, larger<Lane>);
}

// e_v = exp(y_v - M); returns their sum s. Beyond V, e is +0. It is not computed as exp(-Inf): a product on the way
// would be subnormal, for which some processors take a hundred times as long.
template <class Real>
Real exponentials(const Real* y, Index V, Real M, Real* e) {
  using Lane = Vector<Real>;
  Lane sum[linear::lane_vectors<Real>] = {};
  for (Index v = 0; v < V; v += 16) {
    RNNCORE_UNROLL for (int i = 0; i < linear::lane_vectors<Real>; ++i) {
      const Index at = v + i * lanes<Real>;
      const Lane x = up_to(V, load<Lane>(y + at), at, M) - splat<Lane>(M);
      const Lane terms = up_to<Lane>(V, elementary::exp(x), at, 0);
      store(e + at, terms);
      sum[i] = sum[i] + terms;
    }
  }
  return linear::fold<Real>(sum);
}

// p = e / s, as e * (1/s).
template <class Real>
void normalise(Real* e, Index V, Real s) {
  const Vector<Real> scale = splat<Vector<Real>>(1 / s);
  for (Index v = 0; v < V; v += lanes<Real>) store(e + v, load<Vector<Real>>(e + v) * scale);
}

// p_v = exp(y_v - M) / s, in place.
template <class Real>
void softmax(Real* y, Index V) {
  normalise(y, V, exponentials(y, V, row_max(y, V), y));
}

// The sum of the e of a row but for that at c. Beyond V, e is +0.
template <class Real>
Real others(Real* e, Index V, Index c) {
  Vector<Real> sum[linear::lane_vectors<Real>] = {};
  const Real own = e[c];
  e[c] = 0;
  for (Index v = 0; v < V; v += 16) {
    RNNCORE_UNROLL for (int i = 0; i < linear::lane_vectors<Real>; ++i) {
      sum[i] = sum[i] + load<Vector<Real>>(e + v + i * lanes<Real>);
    }
  }
  e[c] = own;
  return linear::fold<Real>(sum);
}

}  // namespace rnncore::RNNCORE_ISA::softmax

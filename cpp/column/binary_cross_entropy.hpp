// V questions with the answers yes and no: J_t = sum_v log(1 + e^y_v) - l_v y_v, dy = sigmoid(y) - l.
//
// With a = |y|, J_t is the sum of log(1 + e^-a) and of a times the probability of what y is against: terms without
// overflow, of one sign, so that none cancels another.
#pragma once

#include "elementary.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::binary_cross_entropy {

// The loss of a vector of y, which is replaced by dy.
template <class V>
RNNCORE_INLINE V loss_of_vector(V& y, V label) {
  const V zero = splat<V>(0), other = 1 - label;
  const V minus = from_bits<V>(bits(y) | bits(splat<V>(-RealOf<V>(0))));  // -|y|
  const V against = y > 0 ? other : label;
  const V far = against == 0 ? zero : against * -minus;
  const V terms = elementary::log1p(elementary::exp(minus)) + far;
  const Integers<V> likely = label > RealOf<V>(0.5);
  const V s = elementary::sigmoid(likely ? -y : y);
  y = likely ? other - s : s - label;
  return terms;
}

// The loss of a row, in which y is replaced by dy. Beyond V both are +0: of y = 0 there, not of -Inf, see softmax.hpp.
template <class Real>
Real loss(Real* y, Index V, const Real* label) {
  using Lane = Vector<Real>;
  Lane sum[linear::lane_vectors<Real>] = {};
  for (Index v = 0; v < V; v += 16)
    for (Index i = 0; i < linear::lane_vectors<Real>; ++i) {
      const Index at = v + i * lanes<Real>;
      Lane row = up_to(V, load<Lane>(y + at), at, 0);
      sum[i] = sum[i] + up_to(V, loss_of_vector(row, load_up_to<Lane>(V - at, label + at)), at, 0);
      store(y + at, up_to(V, row, at, 0));
    }
  return linear::fold<Real>(sum);
}

}  // namespace rnncore::RNNCORE_ISA::binary_cross_entropy

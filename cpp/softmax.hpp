// Softmax and its cross-entropy, a row at a time.
//
// Rows lie in whole sixteens of numbers: the sixteen lanes of every sum.
#pragma once

#include "elementary.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::softmax {

using linear::Index;

constexpr Index whole(Index V) { return (V + 15) / 16 * 16; }

// M = max y, NaN if any y is.
template <class Real>
Real row_max(const Real* y, Index V) {
  Real M = y[0];
  for (Index v = 1; v < V; ++v) M = y[v] > M ? y[v] : y[v] != y[v] ? y[v] : M;
  return M;
}

// e_v = exp(y_v - M); returns their sum s. Beyond V, y becomes -Inf and e +0.
template <class Real>
Real exponentials(Real* y, Index V, Real M, Real* e) {
  using Lane = Vector<Real>;
  constexpr int vectors = 16 / lanes<Real>;
  for (Index v = V; v < whole(V); ++v) y[v] = -__builtin_inf();
  Lane sum[vectors] = {};
  for (Index v = 0; v < V; v += 16) {
    for (int i = 0; i < vectors; ++i) {
      const Index at = v + i * lanes<Real>;
      const Lane terms = elementary::exp(load<Lane>(y + at) - splat<Lane>(M));
      store(e + at, terms);
      sum[i] = sum[i] + terms;
    }
  }
  Real lane[16];
  memcpy(lane, sum, sizeof(lane));
  return linear::fold(lane);
}

template <class Real>
Real log_of(Real s) {
  return elementary::log(splat<Vector<Real>>(s))[0];
}

// p_v = exp(y_v - M) / s, in place.
template <class Real>
void softmax(Real* y, Index V) {
  const Real s = exponentials(y, V, row_max(y, V), y), scale = 1 / s;
  for (Index v = 0; v < V; ++v) y[v] = y[v] * scale;
}

// Replaces y by dy = p - label and returns the loss, log s + (M - y_label). Label -1: no loss, dy = +0.
template <class Real>
Real cross_entropy(Real* y, Index V, int64_t label) {
  if (label < 0) {
    for (Index v = 0; v < V; ++v) y[v] = 0;
    return 0;
  }
  const Real M = row_max(y, V), y_label = y[label];
  const Real s = exponentials(y, V, M, y), scale = 1 / s;
  for (Index v = 0; v < V; ++v) y[v] = y[v] * scale;
  y[label] = y[label] - 1;
  return log_of(s) + (M - y_label);
}

// The same for a distribution over classes, leaving out of the loss what has no weight: an impossible
// class may have y = -Inf. A row of zeros: no loss. e is room for a row.
template <class Real>
Real cross_entropy(Real* y, Index V, const Real* label, Real* e) {
  bool labelled = false;
  for (Index v = 0; v < V; ++v) labelled |= label[v] != 0;
  if (!labelled) return cross_entropy(y, V, int64_t{-1});
  const Real M = row_max(y, V), s = exponentials(y, V, M, e), scale = 1 / s, log_s = log_of(s);
  Real lane[16] = {};
  for (Index v = 0; v < V; ++v) {
    if (label[v] != 0) lane[v % 16] = lane[v % 16] + label[v] * (log_s + (M - y[v]));
    y[v] = e[v] * scale - label[v];
  }
  return linear::fold(lane);
}

}  // namespace rnncore::RNNCORE_ISA::softmax

// Softmax and its cross-entropy.
//
// A row lies in whole sixteens of numbers, the sixteen lanes of every sum. Vectors run along a row, or, if
// there are few classes, across rows: both add the same numbers in the same order.
#pragma once

#include "../problem.hpp"
#include "elementary.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::softmax {

using linear::Rows;

constexpr Index few = tuning::classes_across_rows;  // half of the lanes of a sum, the other half of which is +0 then

constexpr Index whole(Index V) { return (V + 15) / 16 * 16; }

// The larger of each two, NaN if either is.
template <class V>
RNNCORE_INLINE V larger(V m, V y) {
  return y > m ? y : (y != y ? y : m);
}

// M = max y. Beyond V, y becomes -Inf.
template <class Real>
Real row_max(Real* y, Index V) {
  using Lane = Vector<Real>;
  for (Index v = V; v < whole(V); ++v) y[v] = -__builtin_inf();
  Lane m = load<Lane>(y);
  for (Index v = lanes<Real>; v < V; v += lanes<Real>) m = larger(m, load<Lane>(y + v));
  return fold_lanes<lanes<Real> / 2>(m, larger<Lane>);
}

// e_v = exp(y_v - M); returns their sum s. Beyond V, where y is -Inf, e is +0.
template <class Real>
Real exponentials(const Real* y, Index V, Real M, Real* e) {
  using Lane = Vector<Real>;
  Lane sum[linear::lane_vectors<Real>] = {};
  for (Index v = 0; v < V; v += 16) {
    RNNCORE_UNROLL for (int i = 0; i < linear::lane_vectors<Real>; ++i) {
      const Index at = v + i * lanes<Real>;
      const Lane terms = elementary::exp(load<Lane>(y + at) - splat<Lane>(M));
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

// What a loss needs of up to a vector of rows: loss = log s + gap, gap = M - y_label.
template <class Real>
struct Terms {
  Real s[lanes<Real>], gap[lanes<Real>];
};

// p in place of y for rows of few classes, a row a lane.
template <class Real>
void across_rows(Rows<Real> y, Index count, Index V, const int64_t* labels, Terms<Real>& terms) {
  using Row = Vector<Real>;
  Real at[few][lanes<Real>] = {};
  for (Index r = 0; r < count; ++r)
    for (Index v = 0; v < V; ++v) at[v][r] = y(r)[v];
  Row M = load<Row>(at[0]), lane[few] = {};
  for (Index v = 1; v < V; ++v) M = larger(M, load<Row>(at[v]));
  for (Index r = 0; r < count; ++r) terms.gap[r] = M[r] - y(r)[labels[r] < 0 ? 0 : labels[r]];
  for (Index v = 0; v < V; ++v) store(at[v], lane[v] = elementary::exp(load<Row>(at[v]) - M));
  for (Index half = few / 2; half >= 1; half /= 2)
    for (Index l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  store(terms.s, lane[0]);
  const Row scale = 1 / lane[0];
  for (Index v = 0; v < V; ++v) store(at[v], load<Row>(at[v]) * scale);
  for (Index r = 0; r < count; ++r)
    for (Index v = 0; v < V; ++v) y(r)[v] = at[v][r];
}

// p in place of y, a row after the other. A row without a label is left as it is.
template <class Real>
void along_rows(Rows<Real> y, Index count, Index V, const int64_t* labels, Terms<Real>& terms) {
  for (Index r = 0; r < count; ++r) {
    if (labels[r] < 0) continue;
    const Real M = row_max(y(r), V);
    terms.gap[r] = M - y(r)[labels[r]];
    terms.s[r] = exponentials(y(r), V, M, y(r));
    normalise(y(r), V, terms.s[r]);
  }
}

// Up to a vector of rows: y is replaced by dy = p - label, and loss = log s + (M - y_label). A row with
// the label -1 has loss +0 and dy = +0.
template <class Real>
void cross_entropy(Rows<Real> y, Index count, Index V, const int64_t* labels, Real* losses) {
  Terms<Real> terms = {};
  if (V <= few)
    across_rows(y, count, V, labels, terms);
  else
    along_rows(y, count, V, labels, terms);
  store(losses, elementary::log(load<Vector<Real>>(terms.s)) + load<Vector<Real>>(terms.gap));
  for (Index r = 0; r < count; ++r) {
    if (labels[r] >= 0) {
      y(r)[labels[r]] = y(r)[labels[r]] - 1;
    } else {
      losses[r] = 0;
      for (Index v = 0; v < V; ++v) y(r)[v] = 0;
    }
  }
}

// One row with a distribution over classes as label; the loss, sum_v l_v (log s + (M - y_v)), leaves out
// what has no weight: an impossible class may have y = -Inf. A row of zeros: no loss. e is scratch for a row.
template <class Real>
Real cross_entropy(Real* y, Index V, const Real* label, Real* e) {
  bool labelled = false;
  for (Index v = 0; v < V; ++v) labelled |= label[v] != 0;
  if (!labelled) {
    for (Index v = 0; v < V; ++v) y[v] = 0;
    return 0;
  }
  const Real M = row_max(y, V), s = exponentials(y, V, M, e), log_s = elementary::log(splat<Vector<Real>>(s))[0];
  normalise(e, V, s);
  Real lane[16] = {};
  for (Index v = 0; v < V; ++v) {
    if (label[v] != 0) lane[v % 16] = lane[v % 16] + label[v] * (log_s + (M - y[v]));
    y[v] = e[v] - label[v];
  }
  return linear::fold(lane);
}

// Rows of y into losses and dy. address(i) is the number that the i-th row has among labels and losses, e scratch for a
// row.
template <class Real, class Address>
void cross_entropy(Rows<Real> y, Index rows, Index V, const Labels<Real>& labels, Address address, Real* e,
                   Real* losses) {
  if (!labels.classes) {
    for (Index i = 0; i < rows; ++i)
      losses[address(i)] = cross_entropy(y(i), V, labels.distributions + address(i) * V, e);
    return;
  }
  for (Index i = 0; i < rows; i += lanes<Real>) {
    const Index count = rows - i < lanes<Real> ? rows - i : lanes<Real>;
    int64_t classes[lanes<Real>];
    Real found[lanes<Real>];
    for (Index r = 0; r < count; ++r) classes[r] = labels.classes[address(i + r)];
    cross_entropy(y.from(i), count, V, classes, found);
    for (Index r = 0; r < count; ++r) losses[address(i + r)] = found[r];
  }
}

}  // namespace rnncore::RNNCORE_ISA::softmax

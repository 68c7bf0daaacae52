// The cross-entropy of the softmax: J_t = -log p[label], and the famous gradient, dy = p - label.
//
// Where the net is nearly certain, and right, both would cancel: p is near 1. There the sum of the other e, which does
// not cancel, says how far from 1 it is. Vectors run along a row, or, if there are few classes, across rows: both add
// the same numbers in the same order.
#pragma once

#include "../problem.hpp"
#include "softmax.hpp"

namespace rnncore::RNNCORE_ISA::cross_entropy {

using linear::Rows;

constexpr Index few = tuning::classes_across_rows;  // half of the lanes of a sum, the other half of which is +0 then

// Of up to a vector of rows: loss = log s + gap, gap = M - y_label. Where the net is certain, the sum of the others is
// at least 0, and log s is log1p of it; elsewhere it is -1.
template <class Real>
struct Terms {
  Real s[lanes<Real>], gap[lanes<Real>], others[lanes<Real>];

  Terms() : s{}, gap{} { fill(others, lanes<Real>, Real(-1)); }
  bool certain(Index r) const { return others[r] >= 0; }
  // What is nearly 1 - p of the label.
  Real rest(Index r) const { return others[r] * (1 / s[r]); }
  Vector<Real> log_s() const {
    using Row = Vector<Real>;
    const Row logs = elementary::log(load<Row>(s)), rest = load<Row>(others);
    bool any = false;
    for (Index r = 0; r < lanes<Real>; ++r) any |= certain(r);
    return any ? (rest >= 0 ? elementary::log1p(rest) : logs) : logs;
  }
};

// The sum in lanes of few numbers, those beyond being +0.
template <class Row>
RNNCORE_INLINE Row sum_of_few(Row (&lane)[few]) {
  for (Index half = few / 2; half >= 1; half /= 2)
    for (Index l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

// p in place of y for rows of few classes, a row a lane.
template <class Real>
void across_rows(Rows<Real> y, Index count, Index V, const int64_t* labels, Terms<Real>& terms) {
  using Row = Vector<Real>;
  Real at[few][lanes<Real>] = {};
  for (Index r = 0; r < count; ++r)
    for (Index v = 0; v < V; ++v) at[v][r] = y(r)[v];
  Row M = load<Row>(at[0]), lane[few] = {}, rest[few] = {};
  for (Index v = 1; v < V; ++v) M = softmax::larger(M, load<Row>(at[v]));
  bool any = false;
  for (Index v = 0; v < V; ++v) store(at[v], lane[v] = elementary::exp(load<Row>(at[v]) - M));
  for (Index r = 0; r < count; ++r) {
    if (labels[r] < 0) continue;
    terms.gap[r] = M[r] - y(r)[labels[r]];
    any |= at[labels[r]][r] == 1;
  }
  if (any) {
    Real others[few][lanes<Real>];
    copy(&at[0][0], few * lanes<Real>, &others[0][0]);
    for (Index r = 0; r < count; ++r)
      if (labels[r] >= 0) others[labels[r]][r] = 0;
    for (Index v = 0; v < V; ++v) rest[v] = load<Row>(others[v]);
    const Row sum = sum_of_few(rest);
    for (Index r = 0; r < count; ++r)
      if (labels[r] >= 0 && at[labels[r]][r] == 1) terms.others[r] = sum[r];
  }
  const Row s = sum_of_few(lane), scale = 1 / s;
  store(terms.s, s);
  for (Index v = 0; v < V; ++v) store(at[v], load<Row>(at[v]) * scale);
  for (Index r = 0; r < count; ++r)
    for (Index v = 0; v < V; ++v) y(r)[v] = at[v][r];
}

// p in place of y, a row after the other. A row without a label is left as it is.
template <class Real>
void along_rows(Rows<Real> y, Index count, Index V, const int64_t* labels, Terms<Real>& terms) {
  for (Index r = 0; r < count; ++r) {
    if (labels[r] < 0) continue;
    const Real M = softmax::row_max(y(r), V);
    terms.gap[r] = M - y(r)[labels[r]];
    terms.s[r] = softmax::exponentials(y(r), V, M, y(r));
    if (y(r)[labels[r]] == 1) terms.others[r] = softmax::others(y(r), V, labels[r]);
    softmax::normalise(y(r), V, terms.s[r]);
  }
}

// Up to a vector of rows: y is replaced by dy = p - label, and loss = log s + (M - y_label). A row with the label -1
// has loss +0 and dy = +0.
template <class Real>
void class_loss(Rows<Real> y, Index count, Index V, const int64_t* labels, Real* losses) {
  Terms<Real> terms;
  if (V <= few)
    across_rows(y, count, V, labels, terms);
  else
    along_rows(y, count, V, labels, terms);
  store(losses, terms.log_s() + load<Vector<Real>>(terms.gap));
  for (Index r = 0; r < count; ++r) {
    if (labels[r] >= 0) {
      Real& dy = y(r)[labels[r]];
      dy = terms.certain(r) ? 0 - terms.rest(r) : dy - 1;
    } else {
      losses[r] = 0;
      fill(y(r), V, Real(0));
    }
  }
}

// One row with a distribution over classes as label; the loss, sum_v l_v (log s + (M - y_v)), leaves out
// what has no weight: an impossible class may have y = -Inf. A row of zeros: no loss. e is scratch for a row.
template <class Real>
Real distribution_loss(Real* y, Index V, const Real* label, Real* e) {
  Index c = 0;  // the likeliest, of equals the first
  for (Index v = 1; v < V; ++v) c = label[v] > label[c] ? v : c;
  if (!(label[c] > 0)) {
    fill(y, V, Real(0));
    return 0;
  }
  Terms<Real> terms;
  const Real M = softmax::row_max(y, V);
  terms.s[0] = softmax::exponentials(y, V, M, e);
  if (e[c] == 1 && label[c] > Real(0.5)) terms.others[0] = softmax::others(e, V, c);
  const Real log_s = terms.log_s()[0];
  softmax::normalise(e, V, terms.s[0]);
  Real lane[16] = {};
  for (Index v = 0; v < V; ++v) {
    if (label[v] != 0) lane[v % 16] = lane[v % 16] + label[v] * (log_s + (M - y[v]));
    y[v] = e[v] - label[v];
  }
  if (terms.certain(0)) y[c] = (1 - label[c]) - terms.rest(0);
  return linear::fold(lane);
}

// Rows of y into losses and dy. address(i) is the number that the i-th row has among labels and losses, e scratch for a
// row.
template <class Real, class Address>
void loss(Rows<Real> y, Index rows, Index V, const Labels<Real>& labels, Address address, Real* e, Real* losses) {
  if (!labels.classes) {
    for (Index i = 0; i < rows; ++i) losses[address(i)] = distribution_loss(y(i), V, labels.reals + address(i) * V, e);
    return;
  }
  for (Index i = 0; i < rows; i += lanes<Real>) {
    const Index count = min_of(rows - i, lanes<Real>);
    int64_t classes[lanes<Real>];
    Real found[lanes<Real>];
    for (Index r = 0; r < count; ++r) classes[r] = labels.classes[address(i + r)];
    class_loss(y.from(i), count, V, classes, found);
    for (Index r = 0; r < count; ++r) losses[address(i + r)] = found[r];
  }
}

}  // namespace rnncore::RNNCORE_ISA::cross_entropy

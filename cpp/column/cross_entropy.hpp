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

// log s of up to a vector of rows. others: where the net is certain, the sum of the other e, of which log s is log1p;
// elsewhere -1.
template <class Row>
RNNCORE_INLINE Row log_of_sum(Row s, Row others) {
  const Row logs = elementary::log(s);
  bool any = false;
  for (int r = 0; r < lanes<RealOf<Row>>; ++r) any |= others[r] >= 0;
  return any ? (others >= 0 ? elementary::log1p(others) : logs) : logs;
}

// The sum in lanes of few numbers, those beyond being +0.
template <class Row>
RNNCORE_INLINE Row sum_of_few(Row (&lane)[few]) {
  for (Index half = few / 2; half >= 1; half /= 2)
    for (Index l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

// Losses of rows of few classes, a row a lane; y is replaced by dy.
template <class Real>
Vector<Real> across_rows(Rows<Real> y, Index count, Index V, const int64_t* labels) {
  using Row = Vector<Real>;
  constexpr int columns = lanes<Real> < few ? lanes<Real> : static_cast<int>(few);  // that are loaded together
  Real rows[lanes<Real>][few] = {}, classes[lanes<Real>] = {};
  for (Index r = 0; r < count; ++r) {
    classes[r] = static_cast<Real>(labels[r]);
    memcpy(rows[r], y(r), sizeof(rows[r]));
  }
  const Row label = load<Row>(classes);
  Row at[few], e[few] = {}, lane[few] = {}, other[few] = {}, y_label = {}, e_label = {};
  for (Index v = 0; v < few; v += columns) load_columns<Real, columns>(rows[0] + v, few, at + v);
  Row M = at[0];
  for (Index v = 1; v < V; ++v) M = softmax::larger(M, at[v]);
  for (Index v = 0; v < V; ++v) {
    const Integers<Row> is_label = label == static_cast<Real>(v);
    lane[v] = e[v] = elementary::exp(at[v] - M);
    y_label = is_label ? at[v] : y_label, e_label = is_label ? e[v] : e_label;
    other[v] = is_label ? splat<Row>(0) : e[v];
  }
  const Row s = sum_of_few(lane), scale = 1 / s, others = e_label == 1 ? sum_of_few(other) : splat<Row>(-1);
  for (Index v = 0; v < V; ++v) {
    const Row p = e[v] * scale, dy_label = others >= 0 ? 0 - others * scale : p - 1;
    at[v] = label == static_cast<Real>(v) ? dy_label : p;
  }
  for (Index v = 0; v < few; v += columns)
    store_columns<Real, columns>(at + v, count, [&](Index r) { return y(r) + v; });
  return log_of_sum(s, others) + (M - y_label);
}
// Compiled in loops.cpp, as along_rows is.
extern template Vector<float> across_rows(Rows<float>, Index, Index, const int64_t*);
extern template Vector<double> across_rows(Rows<double>, Index, Index, const int64_t*);

// Losses of rows, one after the other; y is replaced by dy. A row without a label is left as it is.
template <class Real>
Vector<Real> along_rows(Rows<Real> y, Index count, Index V, const int64_t* labels) {
  using Row = Vector<Real>;
  Row s = {}, gap = {}, others = splat<Row>(-1);
  for (Index r = 0; r < count; ++r) {
    if (labels[r] < 0) continue;
    Real* const e = y(r);
    Real& dy = e[labels[r]];
    const Real M = softmax::row_max(e, V);
    gap[r] = M - dy;
    s[r] = softmax::exponentials(e, V, M, e);
    if (dy == 1) others[r] = softmax::others(e, V, labels[r]);
    softmax::normalise(e, V, s[r]);
    dy = others[r] >= 0 ? 0 - others[r] * (1 / s[r]) : dy - 1;
  }
  return log_of_sum(s, others) + gap;
}
extern template Vector<float> along_rows(Rows<float>, Index, Index, const int64_t*);
extern template Vector<double> along_rows(Rows<double>, Index, Index, const int64_t*);

// Up to a vector of rows: y is replaced by dy = p - label, and loss = log s + (M - y_label). A row with the label -1
// has loss +0 and dy = +0.
template <class Real>
void class_loss(Rows<Real> y, Index count, Index V, const int64_t* labels, Real* losses) {
  store(losses, V <= few ? across_rows(y, count, V, labels) : along_rows(y, count, V, labels));
  for (Index r = 0; r < count; ++r) {
    if (labels[r] >= 0) continue;
    losses[r] = 0;
    fill(y(r), V, Real(0));
  }
}

// The likeliest class of a distribution, of equals the first.
template <class Real>
Index likeliest(const Real* label, Index V) {
  Index c = 0;
  Real most = label[0];
  for (Index v = 1; v < V; ++v) {
    const bool is_more = label[v] > most;
    c = is_more ? v : c, most = is_more ? label[v] : most;
  }
  return c;
}

// One row with a distribution over classes as label; the loss, sum_v l_v (log s + (M - y_v)), leaves out
// what has no weight: an impossible class may have y = -Inf. A row of zeros: no loss. e is scratch for a row.
template <class Real>
Real distribution_loss(Real* y, Index V, const Real* label, Real* e) {
  using Lane = Vector<Real>;
  const Index c = likeliest(label, V);
  if (!(label[c] > 0)) {
    fill(y, V, Real(0));
    return 0;
  }
  const Real M = softmax::row_max(y, V), s = softmax::exponentials(y, V, M, e);
  const Real others = e[c] == 1 && label[c] > Real(0.5) ? softmax::others(e, V, c) : Real(-1);
  const Real log_s = log_of_sum(splat<Lane>(s), splat<Lane>(others))[0];
  softmax::normalise(e, V, s);
  Lane sum[linear::lane_vectors<Real>] = {};
  for (Index v = 0; v < V; v += 16)
    for (Index i = 0; i < linear::lane_vectors<Real>; ++i) {
      const Index at = v + i * lanes<Real>;
      const Lane l = load_up_to<Lane>(V - at, label + at), below = M - up_to(V, load<Lane>(y + at), at, M);
      sum[i] = sum[i] + (l != 0 ? l * (log_s + below) : splat<Lane>(0));
      store(y + at, load<Lane>(e + at) - l);
    }
  if (others >= 0) y[c] = (1 - label[c]) - others * (1 / s);
  return linear::fold<Real>(sum);
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

// The output layer: from h to y, to the loss, and back to dh, and the gradients of its weights.
//
// It knows nothing of time: steps are rows.
#pragma once

#include "binary_cross_entropy.hpp"
#include "cross_entropy.hpp"
#include "squared_error.hpp"
#include "trace.hpp"

namespace rnncore::RNNCORE_ISA::head {

using layer::Trace;
using linear::Panels;

// Rows of y into losses and dy, times their weights: +0 where a weight is 0. address(i) is the number that the i-th row
// has among labels, weights and losses, e scratch for a row.
template <class Real, class Address>
void apply_loss(Rows<Real> y, Index rows, Index V, const Labels<Real>& labels, Address address, Real* e, Real* losses) {
  if (labels.loss == Loss::cross_entropy) cross_entropy::loss(y, rows, V, labels, address, e, losses);
  for (Index i = 0; labels.loss != Loss::cross_entropy && i < rows; ++i) {
    const Real* const label = labels.reals + address(i) * V;
    losses[address(i)] = labels.loss == Loss::squared_error ? squared_error::loss(y(i), V, label)
                                                            : binary_cross_entropy::loss(y(i), V, label);
  }
  for (Index i = 0; labels.weights && i < rows; ++i) {
    const Real weight = labels.weights[address(i)];
    Real& loss = losses[address(i)];
    loss = weight == 0 ? 0 : loss * weight;
    for (Index v = 0; v < V; ++v) y(i)[v] = weight == 0 ? 0 : y(i)[v] * weight;
  }
}

// What the output layer reads, (N, ld): by rows, or in the order of places.
template <class Real>
struct Read {
  const Real* h;
  Index ld;
  bool by_row;

  template <class Some>
  Rows<const Real> of(const Some& rows) const {
    return by_row ? rows.by_row(h, ld) : rows.by_rank(h, ld);
  }
};

template <class Real>
struct Head {
  Index V, H, ldV;  // H: as many numbers as it reads
  Read<Real> read;
  bool y_is_kept;  // for the way back, in the order of places; else y is of a span only
  Limits limits;
  Panels<Real> W_hy, W_hy_back;  // W_hy_back: transposed
  Real* y;                       // (N, ldV), or (threads, rows, ldV): y_t, then dy_t
  Real* e;                       // (threads, ldV): scratch, a row of the softmax

  // count: how many rows there are
  Head(Arena& arena, const Net& net, const Real* flat, Index count, Read<Real> read, Limits limits, Ways ways)
      : V(net.V),
        H(net.W()),
        ldV(linear::padded<Real>(V)),
        read(read),
        y_is_kept(ways.forward && ways.back),
        limits(limits) {
    const bool forward = ways.forward, back = ways.back && ways.dy;
    const Index rows = y_is_kept ? count : limits.threads * limits.rows;
    const linear::Use use{count, limits.spans, limits.threads};
    W_hy = linear::fit_panels<Real>(arena, forward ? V : 0, H, use);
    W_hy_back = linear::fit_panels<Real>(arena, back ? H : 0, V, use);
    give(head_of(net, flat));
    y = arena.take<Real>(forward ? rows * ldV : 0);
    e = arena.take<Real>(forward ? limits.threads * ldV : 0);
  }

  // Takes parameters, which are read once they are packed only where panels are not.
  void give(const HeadArrays<const Real>& arrays) {
    W_hy.weights = {arrays.b_y, arrays.W_hy, H, true};
    W_hy_back.weights = {nullptr, arrays.W_hy, H, false};
  }
  void pack(int part, int parts) const { linear::pack(W_hy, part, parts), linear::pack(W_hy_back, part, parts); }

  Rows<Real> y_of(const Span& span, const Share& share) const {
    return y_is_kept ? span.by_rank(y, ldV) : Rows<Real>{y + share.area() * limits.rows * ldV, ldV};
  }

  // y_t = b_y + W_hy h_t for the rows of a span.
  void forward(const Span& span, const Share& share, Look& look) const {
    const Index i = share.from(span.count), end = share.to(span.count);
    linear::product(read.of(span).from(i), end - i, W_hy, y_of(span, share).from(i), look);
  }

  // Losses, and y replaced by dy.
  void loss(const Span& span, const Share& share, const Labels<Real>& labels, Real* losses) const {
    const Index i = share.from(span.count), end = share.to(span.count);
    apply_loss(
        y_of(span, share).from(i), end - i, V, labels, [&](Index k) { return span.address(i + k); },
        e + share.thread * ldV, losses);
  }

  // dh_t as far as it comes through y_t: W_hy^T dy_t. dy: as the loss left it, or the user's own.
  void backward(const Span& span, const Share& share, const Real* own_dy, Rows<Real> dh, Look& look) const {
    const Index i = share.from(span.count), end = share.to(span.count);
    const Rows<const Real> dy = own_dy ? span.by_address(own_dy, V) : Rows<const Real>(span.by_rank(y, ldV));
    linear::product(dy.from(i), end - i, W_hy_back, dh.from(i), look);
  }
};

// The sums for the gradients of the output layer's weights: of W_hy in the gradients themselves.
template <class Real>
struct Sums {
  const Head<Real>& head;
  Index V, H;
  Real *dW_hy = nullptr, *db_y;  // (V, H) in place; (ldV)

  // wanted: false makes an empty one
  Sums(Arena& arena, const Head<Real>& head, bool wanted)
      : head(head), V(head.V), H(head.H), db_y(arena.take<Real>(wanted ? head.ldV : 0)) {
    if (arena.at && wanted) begin({0, 0, H, 0, 0});
  }

  // Where the gradients go.
  void place(const HeadArrays<Real>& grads) { dW_hy = grads.W_hy; }

  // Whether db_y is a shard's: that of the first hidden units. Others may be empty, and begin there as well.
  static bool has_bias(const Shard& shard) { return shard.j0 == 0 && shard.j1 > 0; }

  // The sum that is only added to begins with +0.
  void begin(const Shard& shard) const {
    if (has_bias(shard)) fill(db_y, head.ldV, Real(0));
  }

  // The sums of a shard go on from those of the steps after these.
  void go_on(const Shard& shard, const HeadArrays<const Real>& later) const {
    const Index j0 = shard.j0, count = shard.j1 - j0;
    for (Index v = 0; v < V; ++v) copy(later.W_hy + v * H + j0, count, dW_hy + v * H + j0);
    if (has_bias(shard)) copy(later.b_y, V, db_y);
  }

  // dW_hy = sum dy_t h_t^T, db_y: some blocks of a chunk, for the hidden units [j0, j1).
  void weight_gradients(const SumRows& rows, Blocks blocks, const Shard& shard, const Real* own_dy, bool first,
                        const linear::Copies<Real>& scratch, Look& look) const {
    const Index j0 = shard.j0, count = shard.j1 - j0;
    if (count == 0) return;
    const bool before = rows.has_block_before;
    const Rows<const Real> dy = own_dy ? rows.by_address(own_dy, V) : rows.by_rank(head.y, head.ldV);
    const Rows<const Real> h = head.read.of(rows).columns_from(j0);
    linear::outer_sum<Real>({dy, V, before && !(own_dy && rows.rows)}, {h, count, before}, blocks, first, dW_hy + j0, H,
                            scratch, look);
    if (has_bias(shard)) linear::row_sum(dy, V, blocks, db_y);
  }

  // The gradients of a shard that do not lie in place. begun: whether any row came.
  void take(bool begun, const Shard& shard, const HeadArrays<Real>& grads) const {
    const Index j0 = shard.j0, count = shard.j1 - j0;
    for (Index v = 0; v < V && !begun; ++v) fill(grads.W_hy + v * H + j0, count, Real(0));
    if (!has_bias(shard)) return;
    if (begun)
      copy(db_y, V, grads.b_y);
    else
      fill(grads.b_y, V, Real(0));
  }
};

}  // namespace rnncore::RNNCORE_ISA::head

// The gradients of the weights of a layer in one direction: sums over all of its steps.
#pragma once

#include "look.hpp"
#include "resets.hpp"

namespace rnncore::RNNCORE_ISA::layer {

// The sums for the gradients of the weights: in the gradients themselves, but those of W_xh where its rows are not
// whole vectors.
template <class Real>
struct Sums {
  const Sizes<Real>& n;
  const Trace<Real>& trace;
  const GateGradients<Real>& gates;
  Inputs<Real> inputs;
  bool xh_in_place;
  Real *dW_xh = nullptr, *dW_hh = nullptr;  // (X, ldG), the input first, or (G, X) in place; (G, H) in place
  Real *db_x = nullptr, *db_h = nullptr;    // (ldG) each; db_x is db_h unless the recurrent part has a bias of its own
  Real* token_sums = nullptr;               // (a block, ldG)
  Index* slots = nullptr;                   // (threads, X)
  Real* saved = nullptr;                    // rows of h that are zeros meanwhile

  // steps: how many are summed; threads: 0 makes an empty one
  Sums(Arena& arena, const Trace<Real>& trace, const GateGradients<Real>& gates, Inputs<Real> inputs, Index steps,
       int threads)
      : n(trace.n),
        trace(trace),
        gates(gates),
        inputs(inputs),
        xh_in_place(inputs.vectors && n.X >= 2 * lanes<Real> && (n.X % lanes<Real> == 0 || is_worth_filling(steps))) {
    if (threads == 0) return;
    dW_xh = arena.take<Real>(xh_in_place ? 0 : n.X * n.ldG);
    db_h = arena.take<Real>(n.ldG);
    db_x = n.shape().own_recurrent_bias ? arena.take<Real>(n.ldG) : db_h;
    token_sums = arena.take<Real>(inputs.tokens ? linear::block * n.ldG : 0);
    slots = arena.take<Index>(inputs.tokens ? threads * n.X : 0);
    if (threads == 1 && trace.resets) saved = arena.take<Real>(ZerosInPlace<Real>::most * n.ldH);
    if (!arena.at) return;
    begin({0, 0, n.H, 0, n.G});
    if (inputs.tokens) fill(slots, threads * n.X, Index{-1});
  }

  // Where the gradients go.
  void place(const LayerArrays<Real>& grads) {
    if (xh_in_place) dW_xh = grads.W_xh;
    dW_hh = grads.W_hh;
  }

  // What is only added to begins with +0, of a shard.
  void begin(const Shard& shard) const {
    const Index g0 = shard.g0, count = (shard.g1 == n.G ? n.ldG : shard.g1) - g0;
    fill(db_h + g0, count, Real(0)), fill(db_x + g0, count, Real(0));
    for (Index x = 0; inputs.tokens && x < n.X; ++x) fill(dW_xh + x * n.ldG + g0, count, Real(0));
  }

  // The sums of a shard go on from those of the steps after these.
  void go_on(const Shard& shard, const LayerArrays<const Real>& later) const {
    const Index g0 = shard.g0, count = shard.g1 - g0;
    if (xh_in_place)
      copy(later.W_xh + g0 * n.X, count * n.X, dW_xh + g0 * n.X);
    else
      linear::transpose(later.W_xh + g0 * n.X, n.X, count, n.X, dW_xh + g0, n.ldG);
    copy(later.W_hh + g0 * n.H, count * n.H, dW_hh + g0 * n.H);
    if (n.shape().own_recurrent_bias) copy(later.b_x + g0, count, db_x + g0);
    copy(later.b_h + g0, count, db_h + g0);
  }

  // dW_xh = sum da_t x_t^T, dW_hh = sum du_t h_{t-1}^T, db_x, db_h: some blocks of a chunk. first: whether they are the
  // first that come.
  void weight_gradients(const SumRows& rows, Blocks blocks, const Shard& shard, bool first,
                        const linear::Copies<Real>& scratch, Look& look) const {
    const Index g0 = shard.g0, count = shard.g1 - g0, before = n.G_before_reset(), end = shard.g1;
    const Rows<const Real> da = gates.of(gates.da, rows), du = gates.of(gates.du, rows);
    const bool gates_before = rows.has_block_before && gates.all;
    const auto recurrent = [&](Index from, Index to, Rows<const Real> operand) {
      if (from < to)
        linear::outer_sum<Real>({du.columns_from(from), to - from, gates_before}, {operand, n.H, rows.has_block_before},
                                blocks, first, dW_hh + from * n.H, n.H, scratch, look);
    };
    if (inputs.vectors) {
      const linear::Factor<Real> x{rows.by_read(inputs.vectors, n.X), n.X, rows.has_block_before && !rows.rows};
      const linear::Factor<Real> by_gate{da.columns_from(g0), count, gates_before};
      if (xh_in_place)
        linear::outer_sum(by_gate, x, blocks, first, dW_xh + g0 * n.X, n.X, scratch, look);
      else
        linear::outer_sum(x, by_gate, blocks, first, dW_xh + g0, n.ldG, scratch, look);
    } else {
      token_gradients(rows, blocks, shard, da);
    }
    {
      const Rows<Real> h{trace.h + rows.row0 * n.ldH, n.ldH};
      ZerosInPlace<Real> zeros(n.ldH, saved);
      const bool in_place = rows.resets && zeros.take(rows.resets, rows.count, h);
      recurrent(g0, min_of(end, before), in_place ? h : rows.by_row_before(trace.h, n.ldH, blocks));
    }
    if (n.shape().gates_after_reset)
      recurrent(max_of(g0, before), end, rows.by_row(trace.tape, n.tape_row()).columns_from(n.q_at()));
    linear::row_sum(du.columns_from(g0), count, blocks, db_h + g0);
    if (n.shape().own_recurrent_bias) linear::row_sum(da.columns_from(g0), count, blocks, db_x + g0);
  }

  // The gradients of a shard that do not lie in place. begun: whether any row came.
  void take(bool begun, const Shard& shard, const LayerArrays<Real>& grads) const {
    const Index g0 = shard.g0, count = shard.g1 - g0;
    if (!begun) fill(grads.W_xh + g0 * n.X, count * n.X, Real(0)), fill(grads.W_hh + g0 * n.H, count * n.H, Real(0));
    if (begun && !xh_in_place) linear::transpose(dW_xh + g0, n.ldG, n.X, count, grads.W_xh + g0 * n.X, n.X);
    if (n.shape().own_recurrent_bias) copy(db_x + g0, count, grads.b_x + g0);
    copy(db_h + g0, count, grads.b_h + g0);
  }

 private:
  // Whether sums of whole vectors, in place, take less time than to transpose dW_xh, which the others need.
  bool is_worth_filling(Index steps) const {
    const Index filled = linear::divide_up(n.X, lanes<Real>) * lanes<Real>;
    return steps <= n.X && static_cast<double>(filled) <= tuning::most_filling * static_cast<double>(n.X);
  }

  void token_gradients(const SumRows& rows, Blocks blocks, const Shard& shard, Rows<const Real> da) const {
    const linear::TokenSums<Real> scratch{slots + shard.thread * n.X, token_sums + shard.g0, n.ldG};
    const Rows<const int64_t> tokens = rows.by_read(inputs.tokens, 1);
    for (Index k = blocks.count; k-- > 0;) {
      const Index from = blocks.ends[k], count = blocks.ends[k + 1] - from;
      linear::token_sum(da.columns_from(shard.g0).from(from), shard.g1 - shard.g0, tokens.from(from), count, scratch,
                        dW_xh + shard.g0);
    }
  }
};

}  // namespace rnncore::RNNCORE_ISA::layer

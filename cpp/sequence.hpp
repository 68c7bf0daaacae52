// Time: the loop forward, the loop back, and the gradients of the weights.
//
// A sequence b has the steps t < lengths[b]; what lies beyond does not exist: it is not read, and results
// are +0 there. Rows r = t*B + b of the grid of steps are never renumbered; lists name those that exist.
#pragma once

#include "softmax.hpp"
#include "work.hpp"

namespace rnncore::RNNCORE_ISA::sequence {

// What one thread takes of a pass forward and back: some sequences [b0, b1) of the batch, or, where there are
// too few for all threads, one of `parts` of the work on all of them, meeting the others at every step.
struct Share {
  int shard;
  Index b0, b1;
  int part, parts;

  Index from(Index count) const { return count * part / parts; }
  Index to(Index count) const { return count * (part + 1) / parts; }
};

// A share of the hidden units, in whole panels of weights.
struct Units {
  linear::PanelRange panels;
  Index begin, end;
};

// What one thread takes of the weights' gradients: what belongs to the gates [g0, g1), that is rows of dW_hh, columns
// of dW_xh, which lies with the input first, and numbers of the biases; and the columns [j0, j1) of dW_hy.
struct Shard {
  int thread;
  Index j0, j1, g0, g1;
};

// One call: its arguments, its memory, and its passes over chunks of time. Once the weights are packed, two passes
// suffice for any number of threads: forward and back over shares of the sequences, then the gradients of the weights
// over shards of them. One thread takes both a chunk at a time, while the chunk is warm.
template <class Real>
struct Call {
  using V = Vector<Real>;
  using Step = cells::Step<Real>;
  using Fields = cells::Fields<const Real>;

  const Net<Real>& net;
  const Batch<Real>& batch;
  const Machine& machine;
  Work<Real> work;
  Labels<Real> labels{};
  Real* losses = nullptr;
  Outputs<Real> outputs{};
  OutputGradients<Real> given{};
  Gradients<Real> grads{};
  Real* tape = work.tape;        // going forward
  const Real* kept = work.tape;  // going back
  Index next_pass = 0, next_weight_pass = 0;
  bool stopped = false;

  ChunkRows rows_of(Index chunk, Index b0, Index b1, int shard) const {
    const Index t0 = chunk * work.chunk, t1 = t0 + work.chunk < batch.T ? t0 + work.chunk : batch.T;
    return {batch.B, batch.lengths, t0, t1, b0, b1, work.lists + shard * work.list_size()};
  }
  Index chunks() const { return work.chunk ? linear::divide_up(batch.T, work.chunk) : 0; }

  // h_t and y_t, step by step. On the tape h_t lies where row r of the next step would.
  void forward(const ChunkRows& rows, const Share& share) const {
    input_part(rows, share);
    meet(share);
    Step step = forward_step(rows);
    const Panels<Real>& W = work.cell.shape.late ? work.W_late : work.W_hh;
    const Units units = units_of(W, share);
    for (Index t = rows.t0; t < rows.t1; ++t) {
      const ChunkRows now = rows.of_step(t);
      if (rows.rows) step = forward_step(now);
      go_to(step, now, t, tape);
      if (work.cell.shape.late) step_early(step, now, t);
      step_forward(step, W, units, share.shard, t % 2 != 0);
      meet(share);
    }
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<const Real> h = rows.of<const Real>(work.h, work.ldH, -batch.B);
    linear::product(h.from(i), end - i, work.W_hy, rows.of(work.y, work.ldV, work.y_r0(rows)).from(i));
  }

  // The new states: the recurrent part of a panel's units, then the cell of these, some rows after the other.
  void step_forward(Step& step, const Panels<Real>& W, const Units& units, int shard, bool from_last) const {
    const bool late = work.cell.shape.late;
    const Rows<const Real> operand =
        late ? Rows<const Real>(step.kept.rows.columns_from(work.tape_row() - work.P)) : step.h_prev;
    const Index first = step.first, last = step.last;
    Real* const room = work.u + shard * work.room;
    for (Index i = units.panels.begin; i < units.panels.end; ++i) {
      const Index p = units.panels.at(i, from_last), column = W.column(p), width = W.column(p + 1) - column;
      step.begin = W.begin(p) * lanes<Real>, step.end = end_of(W, p);
      for (step.first = first; step.first < last; step.first = step.last) {
        step.last = last - step.first > room_rows ? step.first + room_rows : last;
        linear::product_panel(operand.from(step.first), step.last - step.first, W, p, Rows<Real>{room, width});
        (late ? step.u_late : step.u) = Rows<const Real>{room - step.first * width - column, width};
        work.cell.forward(step);
      }
    }
  }

  // Where gates are late: the recurrent part of the others, and what the late ones read.
  void step_early(Step& step, const ChunkRows& rows, Index t) const {
    const Rows<Real> u = rows.of(work.u_early, work.ldA, t * batch.B);
    linear::product(step.h_prev.from(step.first), step.last - step.first, work.W_hh, u.from(step.first));
    step.u = u;
    step.begin = 0, step.end = net.H;
    work.cell.reset(step);
  }

  // a_t = b + W_xh x_t for the rows of a chunk. A token k stands for the k-th column of W_xh.
  void input_part(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> a = rows.of(work.a, work.ldA, rows.t0 * batch.B);
    if (batch.vectors) return linear::product(rows.of(batch.vectors, net.X, 0).from(i), end - i, work.W_xh, a.from(i));
    for (Index n = i; n < end; ++n) {
      const int64_t token = batch.tokens[rows.row(n)];
      if (work.W_xh.N > 0)
        add_column(work.W_xh.at, work.W_xh.column(1), token, a(n));
      else
        gather_column(token, a(n));
    }
  }

  // The table of columns begins with the bias.
  static void add_column(const Real* table, Index width, Index token, Real* a) {
    const Real* const column = table + (token + 1) * width;
    for (Index j = 0; j < width; j += lanes<Real>) store(a + j, load<V>(table + j) + load<V>(column + j));
  }

  // The same from W_xh itself, which lies by rows.
  void gather_column(Index token, Real* a) const {
    const Index gates = work.cell.shape.gates;
    const Real *const column = net.W_xh + token, *const b = work.cell.shape.apart ? net.b_x : net.b_h;
    for (Index j = 0; j < net.H; j += lanes<Real>)
      for (Index gate = 0; gate < gates; ++gate, a += lanes<Real>)
        for (Index l = 0; l < lanes<Real> && j + l < net.H; ++l) {
          const Index n = gate * net.H + j + l;
          a[l] = b[n] + column[n * net.X];
        }
  }

  // Waits for those who share the sequences.
  void meet(const Share& share) const {
    if (share.parts > 1) machine.meet();
  }

  // The share of the units whose panels are the thread's.
  Units units_of(const Panels<Real>& W, const Share& share) const {
    const linear::PanelRange panels{share.from(W.count), share.to(W.count)};
    return {panels, W.begin(panels.begin) * lanes<Real>, end_of(W, panels.end - 1)};
  }
  // Where the units of a panel end.
  Index end_of(const Panels<Real>& W, Index p) const {
    const Index end = W.begin(p + 1) * lanes<Real>;
    return end < net.H ? end : net.H;
  }

  // What the steps of a chunk have in common: both ways, forward and back.
  Step any_step(const ChunkRows& rows) const {
    Step step{};
    step.H = net.H;
    step.h_prev = rows.of<const Real>(work.h, work.ldH, 0);
    return step;
  }
  Step forward_step(const ChunkRows& rows) const {
    Step step = any_step(rows);
    step.a = rows.of<const Real>(work.a, work.ldA, rows.t0 * batch.B);
    step.h = rows.of(work.h, work.ldH, -batch.B), step.kept = work.fields(rows.of(tape, work.tape_row(), 0));
    return step;
  }
  Step backward_step(const ChunkRows& rows, const Units& units) const {
    Step step = any_step(rows);
    step.begin = units.begin, step.end = units.end;
    step.h_now = rows.of<const Real>(work.h, work.ldH, -batch.B);
    step.kept_now = work.fields(rows.of(kept, work.tape_row(), 0));
    step.dh = rows.of<const Real>(work.dh, work.ldH, rows.t0 * batch.B);
    step.da = rows.of(work.da, work.ldG, work.da_r0(rows)), step.du = rows.of(work.du, work.ldG, work.da_r0(rows));
    return step;
  }

  // The rows of step t, and what the step before it left on the tape.
  void go_to(Step& step, const ChunkRows& rows, Index t, const Real* on_tape) const {
    step.first = rows.first(t), step.last = rows.first(t + 1);
    step.kept_prev = work.fields(rows.of(on_tape, work.tape_row(), t > 0 ? batch.B : 0));
    step.others_prev =
        t > 0 ? step.kept_prev : Fields::apart(rows.of<const Real>(work.others, work.others_row(), 0), work.P);
  }

  // Losses, and y replaced by dy.
  void cross_entropy(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    softmax::cross_entropy(
        rows.of(work.y, work.ldV, work.y_r0(rows)).from(i), end - i, net.V, labels.classes, labels.distributions,
        [&](Index n) { return rows.row(i + n); }, work.e + share.shard * work.ldV, losses);
  }

  // dy, as the loss left it on the tape or as the caller gave it.
  Rows<const Real> dy(const ChunkRows& rows) const {
    if (given.dy) return rows.of(given.dy, net.V, 0);
    return rows.of<const Real>(work.y, work.ldV, work.y_r0(rows));
  }
  bool has_dy() const { return given.dy || work.y_whole; }

  // da_t and du_t, step by step back: dh_t = W_hy^T dy_t + carried + the caller's own.
  void backward(const ChunkRows& rows, const Share& share) const {
    output_part(rows, share);
    meet(share);
    const Units units = units_of(work.W_hh_back, share);
    Step step = backward_step(rows, units);
    for (Index t = rows.t1; t-- > rows.t0;) {
      const ChunkRows now = rows.of_step(t);
      if (rows.rows) step = backward_step(now, units);
      go_to(step, now, t, kept);
      const Rows<Real> carried = now.of(work.step, work.ldH, t * batch.B);
      take_carried(now, step, units, carried);
      step_backward(step, now, t);
      meet(share);
      linear::product<Real>(step.du.from(step.first), step.last - step.first, work.W_hh_back, carried.from(step.first),
                            units.panels, t % 2 != 0);
      for (Index n = step.first; work.cell.passes && n < step.last; ++n) add(step.dprev(n), units, carried(n));
    }
    if (grads.dinputs) input_gradients(rows, share);
  }

  // To dh_t, as output_part left it, what comes through h_{t+1} and what is the caller's own.
  void take_carried(const ChunkRows& rows, const Step& step, const Units& units, Rows<const Real> carried) const {
    const Rows<Real> dh = rows.of(work.dh, work.ldH, rows.t0 * batch.B);
    for (Index n = step.first; n < step.last; ++n) {
      add(carried(n), units, dh(n));
      if (given.dh) add_own(given.dh + rows.row(n) * net.H, units, dh(n));
    }
  }

  // da_t, du_t and dJ by the states before, as far as it does not come through u.
  void step_backward(Step& step, const ChunkRows& rows, Index t) const {
    step.dothers = cells::Fields<Real>::apart(rows.of(work.dothers, work.others_row(), t * batch.B), work.P);
    step.dprev = rows.of(work.dprev, work.ldH, t * batch.B);
    if (work.cell.shape.late) {
      work.cell.reset_backward(step);
      const Rows<Real> dq = rows.of(work.dq, work.ldH, t * batch.B);
      linear::product<Real>(step.du.columns_from(work.cell.early() * net.H).from(step.first), step.last - step.first,
                            work.W_late_back, dq.from(step.first));
      step.dq = dq;
    }
    work.cell.backward(step);
  }

  // dh_t as far as it comes through y_t: W_hy^T dy_t, or nothing, which is -0 as above.
  void output_part(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> dh = rows.of(work.dh, work.ldH, rows.t0 * batch.B);
    if (has_dy()) return linear::product(dy(rows).from(i), end - i, work.W_hy_back, dh.from(i));
    for (Index n = i; n < end; ++n) fill(dh(n), work.ldH, Real(-0.0));
  }

  void add(const Real* from, const Units& units, Real* to) const {
    for (Index j = units.begin; j < units.end; j += lanes<Real>) store(to + j, load<V>(to + j) + load<V>(from + j));
  }
  void add_own(const Real* own, const Units& units, Real* dh) const {
    for (Index j = units.begin; j < units.end; ++j) dh[j] = dh[j] + own[j];
  }

  // dJ by the last states before the first step back: the caller's dstate, or -0, the number to add when
  // nothing is to be added, because x + -0 is x for every x, and -0 + +0 would not be -0.
  void begin_backward(Index b0, Index b1) const {
    fill(work.step + b0 * work.ldH, (b1 - b0) * work.ldH, Real(-0.0));
    fill(work.dothers + b0 * work.others_row(), (b1 - b0) * work.others_row(), Real(-0.0));
    if (given.dstate) each_state(b0, b1, [&](Real* state, Index at) { copy(given.dstate + at, net.H, state); });
  }
  void end_backward(Index b0, Index b1) const {
    each_state(b0, b1, [&](const Real* state, Index at) { copy(state, net.H, grads.dstate + at); });
    for (Index b = b0; b < b1 && !given.dstate; ++b) {
      if ((batch.lengths ? batch.lengths[b] : batch.T) > 0) continue;
      for (Index s = 0; s < work.cell.shape.states; ++s) fill(grads.dstate + (s * batch.B + b) * net.H, net.H, Real(0));
    }
  }
  // What is carried back of each state of each sequence, and its place in an array (S, B, H).
  template <class Visit>
  void each_state(Index b0, Index b1, Visit visit) const {
    for (Index b = b0; b < b1; ++b) {
      visit(work.step + b * work.ldH, b * net.H);
      for (Index s = 0; s < work.other_states(); ++s)
        visit(work.dothers + b * work.others_row() + s * work.P, ((s + 1) * batch.B + b) * net.H);
    }
  }

  // dW_xh = sum da_t x_t^T, dW_hh = sum du_t h_{t-1}^T, dW_hy = sum dy_t h_t^T, db_x, db_h, db_y: a chunk's
  // blocks, from the last to the first, for a shard.
  void weight_gradients(const ChunkRows& rows, const Shard& shard, bool& first) const {
    if (batch.B <= linear::block) return sum_block(rows, 0, rows.count(), shard, first);
    for (Index n = linear::RowBlocks{batch.B}.per_step(); n-- > 0;) {
      const Index r = rows.t0 * batch.B + n * linear::block, next = r + linear::block;
      const Index end = rows.t1 * batch.B;
      sum_block(rows, rows.not_before(r), rows.not_before(next < end ? next : end), shard, first);
    }
  }

  // One block: the numbers [i, end) of the list.
  void sum_block(const ChunkRows& rows, Index i, Index end, const Shard& shard, bool& first) const {
    if (i == end) return;
    const Index count = end - i, g0 = shard.g0, g1 = shard.g1, j0 = shard.j0, gates = g1 - g0;
    const Index ldG = work.ldG, ldH = work.ldH, early = work.cell.early() * net.H;
    const bool before = rows.t0 > 0, da_before = before && work.da_whole;  // whether the arrays hold the block before
    const Rows<const Real> da = rows.of<const Real>(work.da, ldG, work.da_r0(rows)).from(i),
                           du = rows.of<const Real>(work.du, ldG, work.da_r0(rows)).from(i);
    const auto recurrent = [&](Index from, Index to, Rows<const Real> operand) {
      if (from < to)
        linear::outer_sum<Real>({du.columns_from(from), to - from, da_before}, {operand, net.H, before}, count, first,
                                work.dW_hh + from * ldH, ldH);
    };
    if (batch.vectors)
      linear::outer_sum<Real>({rows.of(batch.vectors, net.X, 0).from(i), net.X, before},
                              {da.columns_from(g0), gates, da_before}, count, first, work.dW_xh + g0, ldG);
    else
      linear::token_sum(da.columns_from(g0), gates, rows.of(batch.tokens, 1, 0).from(i), count,
                        work.slots + shard.thread * net.X, work.token_sums + g0, work.dW_xh + g0, ldG);
    recurrent(g0, g1 < early ? g1 : early, rows.of<const Real>(work.h, ldH, 0).from(i));
    if (work.cell.shape.late)
      recurrent(g0 > early ? g0 : early, g1,
                rows.of(kept, work.tape_row(), 0).from(i).columns_from(work.tape_row() - work.P));
    linear::row_sum(du.columns_from(g0), gates, count, work.db_h + g0);
    if (work.cell.shape.apart) linear::row_sum(da.columns_from(g0), gates, count, work.db_x + g0);
    if (has_dy() && j0 < shard.j1) {
      const Rows<const Real> h = rows.of<const Real>(work.h, ldH, -batch.B).from(i).columns_from(j0);
      linear::outer_sum<Real>({dy(rows).from(i), net.V, before}, {h, shard.j1 - j0, before}, count, first,
                              work.dW_hy + j0, ldH);
      if (j0 == 0) linear::row_sum(dy(rows).from(i), net.V, count, work.db_y);
    }
    first = false;
  }

  // dx_t = W_xh^T da_t.
  void input_gradients(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> dx = rows.of(work.dx, work.ldX, rows.t0 * batch.B).from(i);
    const Rows<const Real> da = rows.of<const Real>(work.da, work.ldG, work.da_r0(rows));
    linear::product(da.from(i), end - i, work.W_xh_back, dx);
    for (Index n = i; n < end; ++n) copy(dx(n - i), net.X, grads.dinputs + rows.row(n) * net.X);
  }

  // The sums of a shard, out of their padded rows. Those of a matrix were not begun if no row came.
  void take_gradients(const Shard& shard) const {
    const Index g0 = shard.g0, gates = shard.g1 - g0, j0 = shard.j0, columns = shard.j1 - j0;
    const bool none = rows_total() == 0;
    if (none)
      fill(grads.dW_xh + g0 * net.X, gates * net.X, Real(0));
    else
      linear::transpose(work.dW_xh + g0, work.ldG, net.X, gates, grads.dW_xh + g0 * net.X, net.X);
    take_rows(none, work.dW_hh + g0 * work.ldH, gates, net.H, grads.dW_hh + g0 * net.H);
    take_rows(none || !has_dy(), work.dW_hy + j0, net.V, columns, grads.dW_hy + j0);
    if (work.cell.shape.apart) copy(work.db_x + g0, gates, grads.db_x + g0);
    copy(work.db_h + g0, gates, grads.db_h + g0);
    if (j0 == 0 && columns > 0) copy(work.db_y, net.V, grads.db_y);
  }
  // So many numbers of each row of sums of hidden units.
  void take_rows(bool none, const Real* sums, Index rows, Index columns, Real* to) const {
    for (Index i = 0; i < rows; ++i, sums += work.ldH, to += net.H)
      if (none)
        fill(to, columns, Real(0));
      else
        copy(sums, columns, to);
  }
  Index rows_total() const {
    Index count = batch.lengths ? 0 : batch.T * batch.B;
    for (Index b = 0; batch.lengths && b < batch.B; ++b) count += batch.lengths[b];
    return count;
  }

  // What forward gives, out of its padded rows.
  void take_outputs(const ChunkRows& rows, const Share& share) const {
    const Rows<Real> y = rows.of(work.y, work.ldV, work.y_r0(rows)), h = rows.of(work.h, work.ldH, -batch.B);
    for (Index i = share.from(rows.count()); i < share.to(rows.count()); ++i) {
      copy(y(i), net.V, outputs.y + rows.row(i) * net.V);
      copy(h(i), net.H, outputs.h + rows.row(i) * net.H);
    }
  }
  // The last states (S, B, H): of a sequence without steps, the initial ones.
  void take_state(Real* last) const {
    for (Index b = 0; b < batch.B; ++b) {
      const Index length = batch.lengths ? batch.lengths[b] : batch.T;
      copy(work.h + (length * batch.B + b) * work.ldH, net.H, last + b * net.H);
      const Fields others = length ? work.fields(Rows<const Real>{tape, work.tape_row()})
                                   : Fields::apart({work.others, work.others_row()}, work.P);
      const Index row = length ? (length - 1) * batch.B + b : b;
      for (Index s = 0; s < work.other_states(); ++s)
        for (Index j = 0; j < net.H; j += lanes<Real>)
          copy(others.at(row, s, j), net.H - j < lanes<Real> ? net.H - j : lanes<Real>,
               last + ((s + 1) * batch.B + b) * net.H + j);
    }
  }

  // Forward and back over a share of the sequences; by one thread alone, with the weights' gradients.
  void pass(const Share& share) {
    const int shard = share.shard;
    for (Index chunk = 0; has_forward() && chunk < chunks(); ++chunk) {
      if (stop(share, chunk > 0)) return;
      const ChunkRows rows = rows_of(chunk, share.b0, share.b1, shard);
      forward(rows, share);
      if (losses)
        cross_entropy(rows, share);
      else
        take_outputs(rows, share);
      meet(share);
    }
    if (!has_back()) return;
    if (share.part == 0) begin_backward(share.b0, share.b1);
    bool first = true;
    for (Index chunk = chunks(); chunk-- > 0;) {
      if (stop(share, chunks() > 1)) return;
      const ChunkRows rows = rows_of(chunk, share.b0, share.b1, shard);
      backward(rows, share);
      if (machine.threads == 1) weight_gradients(rows, {0, 0, net.H, 0, work.G}, first);
      meet(share);
    }
    if (share.part == 0) end_backward(share.b0, share.b1);
    if (machine.threads == 1) take_gradients({0, 0, net.H, 0, work.G});
  }

  // The weights' gradients for a shard.
  void weight_pass(const Shard& shard) {
    bool first = true;
    for (Index chunk = chunks(); chunk-- > 0;) {
      if (stop({shard.thread, 0, 0, 0, 1}, true)) return;
      weight_gradients(rows_of(chunk, 0, batch.B, shard.thread), shard, first);
    }
    take_gradients(shard);
  }

  // Work is cut into more pieces than there are threads, and who is free takes the next: a thread that the
  // machine keeps waiting then holds up one piece.
  static Index pieces_of(Index count, Index at_least, int threads) {
    const Index most = count / at_least < 4 * threads ? count / at_least : 4 * threads;
    return most < threads ? threads : most;
  }

  void take_passes(int shard) {
    const Index B = batch.B, pieces = pieces_of(B, 64, machine.threads);
    if (work.shares_units) return pass({shard, 0, B, shard, machine.threads});
    for (Index n; (n = __atomic_fetch_add(&next_pass, 1, __ATOMIC_RELAXED)) < pieces;)
      pass({shard, begin_of_piece(n, pieces), begin_of_piece(n + 1, pieces), 0, 1});
  }
  // The first sequence of the n-th piece: pieces have as many steps, as nearly as whole sequences allow.
  Index begin_of_piece(Index n, Index pieces) const {
    if (n == pieces || !batch.lengths) return batch.B * n / pieces;
    const Index wanted = rows_total() * n / pieces;
    Index b = 0;
    for (Index steps = 0; b < batch.B && steps + batch.lengths[b] / 2 < wanted; ++b) steps += batch.lengths[b];
    return b;
  }
  void take_weight_passes(int shard) {
    const Index vectors = linear::divide_up(work.G, lanes<Real>), wanted = pieces_of(vectors, 4, machine.threads);
    const Index pieces = wanted < vectors ? wanted : vectors;
    for (Index n; (n = __atomic_fetch_add(&next_weight_pass, 1, __ATOMIC_RELAXED)) < pieces;)
      weight_pass({shard, cut(net.H, n, pieces), cut(net.H, n + 1, pieces), cut(work.G, n, pieces),
                   cut(work.G, n + 1, pieces)});
  }
  // Where the n-th piece of so many numbers begins, at a whole vector.
  static Index cut(Index numbers, Index n, Index pieces) {
    const Index at = linear::divide_up(numbers, lanes<Real>) * n / pieces * lanes<Real>;
    return at < numbers ? at : numbers;
  }

  void take_all(int shard) {
    work.pack(net, shard, machine.threads);
    machine.meet();
    take_passes(shard);
    if (!has_back()) return;
    machine.meet();
    take_weight_passes(shard);
  }

  bool has_forward() const { return outputs.y || losses; }
  bool has_back() const { return grads.dstate; }

  // Whether to give up; now and then the calling thread asks the user. Those who share sequences must agree.
  bool stop(const Share& share, bool ask) {
    if (share.shard == 0 && ask && machine.interrupted()) __atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
    meet(share);
    return __atomic_load_n(&stopped, __ATOMIC_RELAXED);
  }

  bool run() {
    if (machine.threads == 1) {
      work.pack(net, 0, 1);
      pass({0, 0, batch.B, 0, 1});
    } else {
      machine.parallel(machine.threads, [](void* call, int shard) { static_cast<Call*>(call)->take_all(shard); }, this);
    }
    return !stopped;
  }
};

// What does not exist is +0.
template <class Real>
void clear_padding(const Batch<Real>& batch, Index n, Real* rows) {
  if (batch.lengths) fill(rows, batch.T * batch.B * n, Real(0));
}

// Nor does what lies beyond n numbers in rows of `width`.
template <class Real>
void clear_margin(Index n, Index width, Index rows, Real* at) {
  for (Index r = 0; n < width && r < rows; ++r) fill(at + r * width + n, width - n, Real(0));
}

template <class Real>
bool forward(const Net<Real>& net, const Batch<Real>& batch, const Outputs<Real>& outputs, const Machine& machine) {
  const Directions go{true, false, false, false, machine.threads};
  Call<Real> call{net, batch, machine, allocate<Work<Real>>(machine, net, batch, go)};
  call.outputs = outputs;
  call.tape = outputs.tape;
  clear_padding(batch, net.V, outputs.y);
  clear_padding(batch, net.H, outputs.h);
  clear_padding(batch, call.work.tape_row(), outputs.tape);
  clear_margin(net.H, call.work.P, batch.T * batch.B * call.work.cell.shape.kept(), outputs.tape);
  const bool done = call.run();
  call.take_state(outputs.last);
  return done;
}

template <class Real>
bool backward(const Net<Real>& net, const Batch<Real>& batch, const Real* h, const Real* tape,
              const OutputGradients<Real>& given, const Gradients<Real>& grads, const Machine& machine) {
  const Directions go{false, true, given.dy != nullptr, grads.dinputs != nullptr, machine.threads};
  Call<Real> call{net, batch, machine, allocate<Work<Real>>(machine, net, batch, go)};
  call.kept = tape;
  call.given = given;
  call.grads = grads;
  Work<Real>::put_rows(h, batch.T * batch.B, net.H, call.work.h + batch.B * call.work.ldH, call.work.ldH);
  if (grads.dinputs) clear_padding(batch, net.X, grads.dinputs);
  return call.run();
}

// J: the losses of all rows r = t*B + b, in float64, in sixteen lanes.
template <class Real>
double total(const Real* losses, Index rows) {
  double lane[16] = {};
  for (Index r = 0; r < rows; ++r) lane[r % 16] = lane[r % 16] + static_cast<double>(losses[r]);
  return linear::fold(lane);
}

template <class Real>
bool bptt(const Net<Real>& net, const Batch<Real>& batch, const Labels<Real>& labels, double* loss, Real* losses,
          Real* last, const Gradients<Real>& grads, const Machine& machine) {
  const Directions go{true, true, true, grads.dinputs != nullptr, machine.threads};
  Call<Real> call{net, batch, machine, allocate<Work<Real>>(machine, net, batch, go)};
  call.labels = labels;
  call.losses = losses;
  call.grads = grads;
  clear_padding(batch, 1, losses);
  if (grads.dinputs) clear_padding(batch, net.X, grads.dinputs);
  const bool done = call.run();
  call.take_state(last);
  *loss = total(losses, batch.T * batch.B);
  return done;
}

// Padded rows for one step.
template <class Real>
struct StepRoom {
  Index ldV;
  Real *y, *e;
  Index* list;
  StepRoom(Arena& arena, Index B, Index V) : ldV(linear::padded<Real>(V)) {
    y = arena.take<Real>(B * ldV), e = arena.take<Real>(ldV), list = arena.take<Index>(B + 2);
  }
};

template <class Real>
bool cross_entropy(const Batch<Real>& batch, Index V, const Real* y, const Labels<Real>& labels, Real* losses, Real* dy,
                   const Machine& machine) {
  const StepRoom<Real> room = allocate<StepRoom<Real>>(machine, batch.B, V);
  clear_padding(batch, 1, losses);
  clear_padding(batch, V, dy);
  for (Index t = 0; t < batch.T; ++t) {
    const ChunkRows rows(batch.B, batch.lengths, t, t + 1, 0, batch.B, room.list);
    const Rows<Real> of_step = rows.of(room.y, room.ldV, t * batch.B);
    for (Index i = 0; i < rows.count(); ++i) copy(y + rows.row(i) * V, V, of_step(i));
    softmax::cross_entropy(
        of_step, rows.count(), V, labels.classes, labels.distributions, [&](Index i) { return rows.row(i); }, room.e,
        losses);
    for (Index i = 0; i < rows.count(); ++i) copy(of_step(i), V, dy + rows.row(i) * V);
  }
  return true;
}

}  // namespace rnncore::RNNCORE_ISA::sequence

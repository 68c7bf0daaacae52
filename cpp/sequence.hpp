// Time: the loop forward, the loop back, and the gradients of the weights.
//
// A sequence b has the steps t < lengths[b]; what lies beyond does not exist: it is not read, and results
// are +0 there. Rows r = t*B + b of the grid of steps are never renumbered; lists name those that exist.
#pragma once

#include "rnn.hpp"
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

// One call: its arguments, its memory, and its passes over chunks of time. Two passes suffice for any
// number of threads: forward and back over shares of the sequences, then the gradients of the weights
// over shards of the hidden units. One thread takes both a chunk at a time, while the chunk is warm.
template <class Real>
struct Call {
  using V = Vector<Real>;

  const Net<Real>& net;
  const Batch<Real>& batch;
  const Machine& machine;
  Work<Real> work;
  Labels<Real> labels{};
  Real* losses = nullptr;
  Outputs<Real> outputs{};
  OutputGradients<Real> given{};
  Gradients<Real> grads{};
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
    const Rows<const Real> h_prev = rows.of<const Real>(work.h, work.ldH, 0);
    const Rows<Real> h = rows.of(work.h, work.ldH, -batch.B), a = rows.of(work.part, work.ldH, rows.t0 * batch.B);
    const Units units = units_of(work.W_hh, share);
    for (Index t = rows.t0; t < rows.t1; ++t) {
      const Index i = rows.first(t), end = rows.first(t + 1);
      const Rows<Real> u = step_rows(rows, t);
      linear::product(h_prev.from(i), end - i, work.W_hh, u, units.panels, t % 2 != 0);
      for (Index n = i; n < end; ++n)
        for (Index j = units.begin; j < units.end; j += lanes<Real>)
          store(h(n) + j, rnn::forward(load<V>(a(n) + j), load<V>(u(n - i) + j)));
      meet(share);
    }
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    linear::product<Real>(h.from(i), end - i, work.W_hy, rows.of(work.y, work.ldV, work.y_r0(rows)).from(i));
  }

  // a_t = b_h + W_xh x_t for the rows of a chunk. A token k stands for the k-th column of W_xh.
  void input_part(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> a = rows.of(work.part, work.ldH, rows.t0 * batch.B).from(i);
    if (batch.vectors) return linear::product(rows.of(batch.vectors, net.X, 0).from(i), end - i, work.W_xh, a);
    for (Index n = i; n < end; ++n) {
      const Real* column = net.W_xh + batch.tokens[rows.row(n)];
      for (Index j = 0; j < net.H; ++j) a(n - i)[j] = net.b_h[j] + column[j * net.X];
    }
  }

  // Waits for those who share the sequences.
  void meet(const Share& share) const {
    if (share.parts > 1) machine.meet();
  }

  // A share of the hidden units, in whole panels of the recurrent weights.
  struct Units {
    linear::PanelRange panels;
    Index begin, end;
  };
  Units units_of(const Panels<Real>& W, const Share& share) const {
    const linear::PanelRange panels{share.from(W.count()), share.to(W.count())};
    const Index end = W.begin(panels.end) * lanes<Real>;
    return {panels, W.begin(panels.begin) * lanes<Real>, end < net.H ? end : net.H};
  }

  // The rows of one step in the room for a step, (B, ldH).
  Rows<Real> step_rows(const ChunkRows& rows, Index t) const {
    const Index i = rows.first(t);
    if (!rows.rows) return {work.step, work.ldH};
    return {work.step - t * batch.B * work.ldH, work.ldH, rows.rows + i};
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

  // dz_t, step by step back: dh_t = W_hy^T dy_t + carried + the caller's own.
  void backward(const ChunkRows& rows, const Share& share) const {
    const Rows<Real> dh = rows.of(work.part, work.ldH, rows.t0 * batch.B),
                     dz = rows.of(work.dz, work.ldH, work.dz_r0(rows));
    const Rows<const Real> h = rows.of<const Real>(work.h, work.ldH, -batch.B);
    output_part(rows, share);
    meet(share);
    const Units units = units_of(work.W_hh_back, share);
    for (Index t = rows.t1; t-- > rows.t0;) {
      const Index i = rows.first(t), end = rows.first(t + 1);
      const Rows<Real> carried = step_rows(rows, t);
      for (Index n = i; n < end; ++n) {
        add(carried(n - i), units, dh(n));
        if (given.dh) add_own(given.dh + rows.row(n) * net.H, units, dh(n));
        for (Index j = units.begin; j < units.end; j += lanes<Real>)
          store(dz(n) + j, rnn::backward(load<V>(dh(n) + j), load<V>(h(n) + j)));
      }
      meet(share);
      linear::product<Real>(dz.from(i), end - i, work.W_hh_back, carried, units.panels, t % 2 != 0);
    }
    if (grads.dinputs) input_gradients(rows, share);
  }

  // dh_t as far as it comes through y_t: W_hy^T dy_t, or nothing, which is -0 as above.
  void output_part(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> dh = rows.of(work.part, work.ldH, rows.t0 * batch.B);
    if (has_dy()) return linear::product(dy(rows).from(i), end - i, work.W_hy_back, dh.from(i));
    for (Index n = i; n < end; ++n) fill(dh(n), work.ldH, Real(-0.0));
  }

  void add(const Real* carried, const Units& units, Real* dh) const {
    for (Index j = units.begin; j < units.end; j += lanes<Real>) store(dh + j, load<V>(dh + j) + load<V>(carried + j));
  }
  void add_own(const Real* own, const Units& units, Real* dh) const {
    for (Index j = units.begin; j < units.end; ++j) dh[j] = dh[j] + own[j];
  }

  // The carried gradient before the first step back: the caller's dstate, or -0, the number to add when
  // nothing is to be added, because x + -0 is x for every x, and -0 + +0 would not be -0.
  void begin_backward(Index b0, Index b1) const {
    for (Index b = b0; b < b1; ++b) {
      fill(work.step + b * work.ldH, work.ldH, Real(-0.0));
      if (given.dstate) copy(given.dstate + b * net.H, net.H, work.step + b * work.ldH);
    }
  }
  void end_backward(Index b0, Index b1) const {
    for (Index b = b0; b < b1; ++b) {
      const bool empty = (batch.lengths ? batch.lengths[b] : batch.T) == 0;
      if (empty && !given.dstate)
        fill(grads.dstate + b * net.H, net.H, Real(0));
      else
        copy(work.step + b * work.ldH, net.H, grads.dstate + b * net.H);
    }
  }

  // dW_xh = sum dz_t x_t^T, dW_hh = sum dz_t h_{t-1}^T, dW_hy = sum dy_t h_t^T, db_h, db_y: a chunk's
  // blocks, from the last to the first, for the hidden units [j0, j1).
  void weight_gradients(const ChunkRows& rows, Index j0, Index j1, int shard, bool& first) const {
    if (batch.B <= linear::block) return sum_block(rows, 0, rows.count(), j0, j1, shard, first);
    for (Index n = linear::RowBlocks{batch.B}.per_step(); n-- > 0;) {
      const Index r = rows.t0 * batch.B + n * linear::block, next = r + linear::block;
      const Index end = rows.t1 * batch.B;
      sum_block(rows, rows.not_before(r), rows.not_before(next < end ? next : end), j0, j1, shard, first);
    }
  }

  // One block: the numbers [i, end) of the list.
  void sum_block(const ChunkRows& rows, Index i, Index end, Index j0, Index j1, int shard, bool& first) const {
    if (i == end) return;
    const Index count = end - i, J = j1 - j0, ldH = work.ldH;
    const Rows<const Real> dz = rows.of<const Real>(work.dz, ldH, work.dz_r0(rows)).from(i),
                           h_prev = rows.of<const Real>(work.h, ldH, 0).from(i).columns_from(j0);
    if (batch.vectors)
      linear::outer_sum(rows.of(batch.vectors, net.X, 0).from(i), net.X, dz.columns_from(j0), J, count, first,
                        work.dW_xh + j0, ldH);
    else
      linear::token_sum(dz.columns_from(j0), J, rows.of(batch.tokens, 1, 0).from(i), count, work.slots + shard * net.X,
                        work.token_sums + j0, work.dW_xh + j0, ldH);
    linear::outer_sum(dz, net.H, h_prev, J, count, first, work.dW_hh + j0, ldH);
    linear::row_sum(dz.columns_from(j0), J, count, work.db_h + j0);
    if (has_dy()) {
      const Rows<const Real> h = rows.of<const Real>(work.h, ldH, -batch.B).from(i).columns_from(j0);
      linear::outer_sum(dy(rows).from(i), net.V, h, J, count, first, work.dW_hy + j0, ldH);
      if (j0 == 0) linear::row_sum(dy(rows).from(i), net.V, count, work.db_y);
    }
    first = false;
  }

  // dx_t = W_xh^T dz_t.
  void input_gradients(const ChunkRows& rows, const Share& share) const {
    const Index i = share.from(rows.count()), end = share.to(rows.count());
    const Rows<Real> dx = rows.of(work.dx, work.ldX, rows.t0 * batch.B).from(i);
    const Rows<const Real> dz = rows.of<const Real>(work.dz, work.ldH, work.dz_r0(rows));
    linear::product(dz.from(i), end - i, work.W_xh_back, dx);
    for (Index n = i; n < end; ++n) copy(dx(n - i), net.X, grads.dinputs + rows.row(n) * net.X);
  }

  // The sums, out of their padded rows. Those of a matrix were not begun if no row came.
  void take_gradients() const {
    const Index ldH = work.ldH;
    const bool none = rows_total() == 0, no_dy = none || !has_dy();
    if (none && batch.vectors) fill(work.dW_xh, net.X * ldH, Real(0));
    linear::transpose(work.dW_xh, ldH, net.X, net.H, grads.dW_xh, net.X);
    for (Index i = 0; i < net.H; ++i) take_row(none, work.dW_hh + i * ldH, grads.dW_hh + i * net.H);
    for (Index v = 0; v < net.V; ++v) take_row(no_dy, work.dW_hy + v * ldH, grads.dW_hy + v * net.H);
    copy(work.db_h, net.H, grads.db_h);
    copy(work.db_y, net.V, grads.db_y);
  }
  void take_row(bool none, const Real* sum, Real* to) const {
    if (none)
      fill(to, net.H, Real(0));
    else
      copy(sum, net.H, to);
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
  void take_state(Real* last) const {
    for (Index b = 0; b < batch.B; ++b) {
      const Index length = batch.lengths ? batch.lengths[b] : batch.T;
      copy(work.h + (length * batch.B + b) * work.ldH, net.H, last + b * net.H);
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
      if (machine.threads == 1) weight_gradients(rows, 0, net.H, shard, first);
      meet(share);
    }
    if (share.part == 0) end_backward(share.b0, share.b1);
  }

  // The weights' gradients for the hidden units [j0, j1).
  void weight_pass(Index j0, Index j1, int shard) {
    bool first = true;
    for (Index chunk = chunks(); chunk-- > 0;) {
      if (stop({shard, 0, 0, 0, 1}, true)) return;
      weight_gradients(rows_of(chunk, 0, batch.B, shard), j0, j1 < net.H ? j1 : net.H, shard, first);
    }
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
      pass({shard, B * n / pieces, B * (n + 1) / pieces, 0, 1});
  }
  void take_weight_passes(int shard) {
    const Index vectors = linear::divide_up(net.H, lanes<Real>), pieces = pieces_of(vectors, 4, machine.threads);
    for (Index n; (n = __atomic_fetch_add(&next_weight_pass, 1, __ATOMIC_RELAXED)) < pieces;) {
      const Index v0 = vectors * n / pieces, v1 = vectors * (n + 1) / pieces;
      if (v0 < v1) weight_pass(v0 * lanes<Real>, v1 * lanes<Real>, shard);
    }
  }

  void take_all(int shard) {
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
    if (machine.threads == 1)
      pass({0, 0, batch.B, 0, 1});
    else
      machine.parallel(machine.threads, [](void* call, int shard) { static_cast<Call*>(call)->take_all(shard); }, this);
    if (has_back() && !stopped) take_gradients();
    return !stopped;
  }
};

// What does not exist is +0.
template <class Real>
void clear_padding(const Batch<Real>& batch, Index n, Real* rows) {
  if (batch.lengths) fill(rows, batch.T * batch.B * n, Real(0));
}

template <class Real>
bool forward(const Net<Real>& net, const Batch<Real>& batch, const Outputs<Real>& outputs, const Machine& machine) {
  const Directions go{true, false, false, false, machine.threads};
  Call<Real> call{net, batch, machine, allocate<Work<Real>>(machine, net, batch, go)};
  call.outputs = outputs;
  clear_padding(batch, net.V, outputs.y);
  clear_padding(batch, net.H, outputs.h);
  const bool done = call.run();
  call.take_state(outputs.last);
  return done;
}

template <class Real>
bool backward(const Net<Real>& net, const Batch<Real>& batch, const Real* h, const OutputGradients<Real>& given,
              const Gradients<Real>& grads, const Machine& machine) {
  const Directions go{false, true, given.dy != nullptr, grads.dinputs != nullptr, machine.threads};
  Call<Real> call{net, batch, machine, allocate<Work<Real>>(machine, net, batch, go)};
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

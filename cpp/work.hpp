// The memory of one call: the tape, the packed weights and the sums of the gradients.
//
// The tape lies in rows of padded length, so that the kernels see whole vectors only. Time is cut into
// chunks of as many steps as a block of the gradients' sums has: what lives for a chunk stays in the cache.
#pragma once

#include "cells.hpp"
#include "kernels.hpp"

namespace rnncore::RNNCORE_ISA {

using linear::Index;
using linear::Panels;
using linear::Rows;

template <class Real>
void copy(const Real* from, Index count, Real* to) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(Real));
}

template <class Real>
void fill(Real* to, Index count, Real value) {
  for (Index i = 0; i < count; ++i) to[i] = value;
}

// Hands out parts of one piece of memory. Without memory it only counts what is asked for.
struct Arena {
  char* at = nullptr;
  size_t used = 0;

  template <class T>
  T* take(Index count) {
    T* part = at ? reinterpret_cast<T*>(at + used) : nullptr;
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return part;
  }
};

// Makes Parts(arena, arguments...) twice: once to learn the size, once for good.
template <class Parts, class... Arguments>
Parts allocate(const Machine& machine, const Arguments&... arguments) {
  Arena counting;
  (void)Parts(counting, arguments...);
  Arena arena{static_cast<char*>(machine.reserve(counting.used + 1))};
  return Parts(arena, arguments...);
}

// The rows r = t*B + b that exist of the steps [t0, t1) and the sequences [b0, b1), ascending in r. Those
// of step t are the numbers [first(t), first(t + 1)) of the list.
struct ChunkRows {
  Index B, t0, t1;
  Index* rows;  // null: they lie one after the other, and the i-th is row base + i
  Index base;
  Index* offset;

  // room: (t1 - t0) * (b1 - b0 + 1) + 1 numbers
  ChunkRows(Index B, const int64_t* lengths, Index t0, Index t1, Index b0, Index b1, Index* room)
      : B(B), t0(t0), t1(t1), rows(room + (t1 - t0 + 1)), base(t0 * B), offset(room) {
    const bool all = !lengths && b0 == 0 && b1 == B;
    Index count = 0;
    for (Index t = t0; t < t1; ++t) {
      offset[t - t0] = count;
      if (all) count += B;
      for (Index b = b0; !all && b < b1; ++b)
        if (!lengths || t < lengths[b]) rows[count++] = t * B + b;
    }
    offset[t1 - t0] = count;
    if (all) rows = nullptr;
  }

  Index first(Index t) const { return offset[t - t0]; }
  Index count() const { return first(t1); }
  Index row(Index i) const { return rows ? rows[i] : base + i; }
  // The number in the list of the first row that is not before r.
  Index not_before(Index r) const {
    if (!rows) return r - base;
    Index i = 0;
    while (i < count() && rows[i] < r) ++i;
    return i;
  }
  // These rows of a matrix whose first row belongs to row r0 of the grid.
  template <class Real>
  Rows<Real> of(Real* at, Index stride, Index r0) const {
    if (rows) return {at - r0 * stride, stride, rows};
    return {at + (base - r0) * stride, stride};
  }
  // The same, but of step t alone: its rows, if they lie one after the other, are found without the list.
  ChunkRows of_step(Index t) const {
    ChunkRows step = *this;
    const Index i = first(t), last = first(t + 1) - 1;
    if (rows && i <= last && rows[last] - rows[i] == last - i) step.rows = nullptr, step.base = rows[i] - i;
    return step;
  }
};

struct Directions {
  bool forward, back, dy, dinputs;
  int threads;
};

// Fewer sequences than this for each thread, and as many hidden units: then threads share the units. A tile of
// rows is half empty then, and meeting at a step, about a microsecond, costs little of the time of a step.
constexpr Index worth_a_share = 3, worth_meeting = 256;

// The rows of a step that go through the product and the cell together: what the one leaves to the other then stays in
// the L1 cache.
constexpr Index room_rows = 64;

template <class Real>
struct Work {
  const cells::Cell<Real>& cell;
  Index T, B, X, H, V, G, P;      // G: rows of W_hh; P: tape_width
  Index chunk;                    // steps
  Index ldX, ldH, ldV, ldA, ldG;  // ldA: of a, whole vectors of each gate; ldG: of da and du
  bool y_whole, da_whole;         // kept for all steps, or for a chunk of them
  bool shares_units;              // rather than sequences, among threads
  Index room;                     // numbers, for a thread

  Real* h;           // (T + 1, B, ldH): the initial state, then h_t
  Real* others;      // (B, S - 1, P): the initial ones of the other states
  Real *a, *dh;      // (chunk, B, ldA): a_t; (chunk, B, ldH): dh_t, in a if rows are as long
  Real* step;        // (B, ldH): going back, dJ/dh_t as it comes through h_{t+1}
  Real* dothers;     // (B, S - 1, P): the same for the other states
  Real* tape;        // (T, B, K P), if it is our own; see fields
  Real* y;           // (T or chunk, B, ldV): y_t, then dy_t
  Real* e;           // (threads, ldV): room for a row of the softmax
  Real* u;           // (threads, room): recurrent parts, of a panel
  Real* u_early;     // (B, ldA): of a step, if there are late gates
  Real *da, *du;     // (T or chunk, B, ldG); du is da unless the cell splits
  Real *dprev, *dq;  // (B, ldH)
  Real* dx;          // (chunk, B, ldX)
  Panels<Real> W_xh{}, W_hh{}, W_late{}, W_hy{};                      // going forward
  Panels<Real> W_xh_back{}, W_hh_back{}, W_late_back{}, W_hy_back{};  // transposed
  Real *dW_xh, *dW_hh, *dW_hy;  // the sums: (X, ldG), the input first; (G, ldH); (V, ldH)
  Real *db_x, *db_h, *db_y;     // (ldG) (ldG) (ldV); db_x is db_h unless the cell has it apart
  Real* token_sums;             // (a block, ldG)
  Index* slots;                 // (threads, X)
  Index* lists;                 // (threads, ...): room for ChunkRows

  Work(Arena& arena, const Net<Real>& net, const Batch<Real>& batch, Directions go)
      : cell(cells::table<Real>[net.cell]), T(batch.T), B(batch.B), X(net.X), H(net.H), V(net.V) {
    const Index whole = linear::RowBlocks{B}.steps(), H_whole = linear::divide_up(H, lanes<Real>) * lanes<Real>;
    G = cell.shape.gates * H, P = tape_width(H);
    chunk = whole < T ? whole : T;
    ldX = linear::padded<Real>(X), ldH = linear::padded<Real>(H), ldV = linear::padded<Real>(V);
    ldA = linear::padded<Real>(cell.shape.gates * H_whole), ldG = linear::padded<Real>(G);
    y_whole = go.forward && go.back, da_whole = go.threads > 1;
    shares_units = go.threads > 1 && B < worth_a_share * go.threads && H >= worth_meeting && cell.shape.late == 0;
    h = arena.take<Real>((T + 1) * B * ldH);
    others = arena.take<Real>(B * others_row());
    lists = arena.take<Index>(go.threads * list_size());
    tape = arena.take<Real>(y_whole ? T * B * tape_row() : 0);
    if (go.forward) take_forward(arena, batch, go);
    if (go.back) take_back(arena, batch, go);
    if (arena.at) put_state(batch.state);
  }

  Index list_size() const { return chunk * (B + 1) + 1; }
  Index tape_row() const { return cell.shape.kept() * P; }
  Index other_states() const { return cell.shape.states - 1; }
  Index others_row() const { return other_states() * P; }
  // What the tape keeps, in its rows: our own tape has it as it is read, but for what a product reads too.
  template <class R>
  cells::Fields<R> fields(Rows<R> rows) const {
    return y_whole && !cell.shape.late ? cells::Fields<R>::together(rows, cell.shape.kept())
                                       : cells::Fields<R>::apart(rows, P);
  }
  Index y_r0(const ChunkRows& rows) const { return y_whole ? 0 : rows.t0 * B; }
  Index da_r0(const ChunkRows& rows) const { return da_whole ? 0 : rows.t0 * B; }

  // Packs the weights, or one of several parts of them, before anything is multiplied.
  void pack(const Net<Real>& net, int part, int parts) const {
    const auto take = [&](const Panels<Real>& W, const Real* acc, const Real* from, Index stride, bool transposed) {
      linear::pack<Real>(W, {W.count * part / parts, W.count * (part + 1) / parts}, acc, from, stride, transposed);
    };
    const bool apart = cell.shape.apart;
    const Index early = cell.early() * H;
    const Real* const late = net.W_hh + early * H;
    take(W_xh, apart ? net.b_x : net.b_h, net.W_xh, X, true);
    take(W_hh, apart ? net.b_h : nullptr, net.W_hh, H, true);
    take(W_late, apart ? net.b_h + early : nullptr, late, H, true);
    take(W_hy, net.b_y, net.W_hy, H, true);
    take(W_xh_back, nullptr, net.W_xh, X, false);
    take(W_hh_back, nullptr, net.W_hh, H, false);
    take(W_late_back, nullptr, late, H, false);
    take(W_hy_back, nullptr, net.W_hy, H, false);
  }

  // Rows of n numbers into padded ones; the rest +0.
  static void put_rows(const Real* from, Index rows, Index n, Real* to, Index ld) {
    for (Index r = 0; r < rows; ++r) copy(from + r * n, n, to + r * ld), fill(to + r * ld + n, ld - n, Real(0));
  }

  // The other states, (S - 1, B, H), side by side.
  void put_others(const Real* from, Real* to) const {
    for (Index s = 0; s < other_states(); ++s)
      for (Index b = 0; b < B; ++b) copy(from + (s * B + b) * H, H, to + b * others_row() + s * P);
  }

 private:
  void put_state(const Real* state) {
    fill(others, B * others_row(), Real(0));
    if (!state) return fill(h, B * ldH, Real(0));
    put_rows(state, B, H, h, ldH);
    put_others(state + B * H, others);
  }

  static Panels<Real> take_panels(Arena& arena, Index N, Index K, int gates, Index width) {
    return {arena.take<Real>(Panels<Real>::size(N, K, gates)), N, K, gates, width};
  }
  static Panels<Real> fit_panels(Arena& arena, Index N, Index K, Index rows, int gates = 1) {
    return take_panels(arena, N, K, gates, Panels<Real>::best_width(rows, gates));
  }

  // W_xh for tokens is one panel, that is a table of its columns, if it is not much larger than what is read of it.
  Panels<Real> take_input_panels(Arena& arena, const Batch<Real>& batch) const {
    if (batch.vectors) return fit_panels(arena, H, X, T * B, cell.shape.gates);
    const Index columns = X <= 4 * batch.tokens_ahead ? H : 0;
    return take_panels(arena, columns, X, cell.shape.gates, linear::divide_up(H, lanes<Real>));
  }

  void take_forward(Arena& arena, const Batch<Real>& batch, Directions go) {
    const CellShape& shape = cell.shape;
    a = arena.take<Real>(chunk * B * ldA);
    y = arena.take<Real>((y_whole ? T : chunk) * B * ldV);
    e = arena.take<Real>(go.threads * ldV);
    W_xh = take_input_panels(arena, batch);
    W_hh = fit_panels(arena, H, H, B, cell.early());
    W_late = fit_panels(arena, shape.late ? H : 0, H, B, shape.late ? shape.late : 1);
    W_hy = fit_panels(arena, V, H, T * B);
    room = (B < room_rows ? B : room_rows) * (shape.late ? W_late : W_hh).widest();
    u = arena.take<Real>(go.threads * room);
    u_early = arena.take<Real>(shape.late ? B * ldA : 0);
  }

  void take_back(Arena& arena, const Batch<Real>& batch, Directions go) {
    const CellShape& shape = cell.shape;
    const Index rows = (da_whole ? T : chunk) * B, early = cell.early() * H;
    dh = go.forward && ldA == ldH ? a : arena.take<Real>(chunk * B * ldH);
    step = arena.take<Real>(B * ldH);
    dothers = arena.take<Real>(B * others_row());
    da = arena.take<Real>(rows * ldG);
    du = cell.splits ? arena.take<Real>(rows * ldG) : da;
    dprev = arena.take<Real>(cell.passes ? B * ldH : 0);
    dq = arena.take<Real>(shape.late ? B * ldH : 0);
    dx = arena.take<Real>(go.dinputs ? chunk * B * ldX : 0);
    W_xh_back = fit_panels(arena, go.dinputs ? X : 0, G, T * B);
    W_hh_back = fit_panels(arena, H, early, B);
    W_late_back = fit_panels(arena, shape.late ? H : 0, G - early, B);
    W_hy_back = fit_panels(arena, go.dy ? H : 0, V, T * B);
    Real* const sums = arena.take<Real>(X * ldG + (G + V) * ldH + 2 * ldG + ldV);
    token_sums = arena.take<Real>(batch.tokens ? linear::block * ldG : 0);
    slots = arena.take<Index>(batch.tokens ? go.threads * X : 0);
    if (!arena.at) return;
    dW_xh = sums, dW_hh = dW_xh + X * ldG, dW_hy = dW_hh + G * ldH;
    db_h = dW_hy + V * ldH, db_y = db_h + ldG, db_x = shape.apart ? db_y + ldV : db_h;
    fill(db_h, 2 * ldG + ldV, Real(0));
    if (batch.tokens) fill(dW_xh, X * ldG, Real(0));
    if (batch.tokens) fill(slots, go.threads * X, Index{-1});
  }
};

}  // namespace rnncore::RNNCORE_ISA

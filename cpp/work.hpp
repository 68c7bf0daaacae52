// The memory of one call: the tape, the packed weights and the sums of the gradients.
//
// The tape lies in rows of padded length, so that the kernels see whole vectors only. Time is cut into
// chunks of as many steps as a block of the gradients' sums has: what lives for a chunk stays in the cache.
#pragma once

#include "kernels.hpp"
#include "linear.hpp"

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
  Index* rows;  // null: every row of these steps exists, and the i-th is row t0*B + i
  Index* offset;

  // room: (t1 - t0) * (b1 - b0 + 1) + 1 numbers
  ChunkRows(Index B, const int64_t* lengths, Index t0, Index t1, Index b0, Index b1, Index* room)
      : B(B), t0(t0), t1(t1), rows(room + (t1 - t0 + 1)), offset(room) {
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
  Index row(Index i) const { return rows ? rows[i] : t0 * B + i; }
  // The number in the list of the first row that is not before r.
  Index not_before(Index r) const {
    if (!rows) return r - t0 * B;
    Index i = 0;
    while (i < count() && rows[i] < r) ++i;
    return i;
  }
  // These rows of a matrix whose first row belongs to row r0 of the grid.
  template <class Real>
  Rows<Real> of(Real* at, Index stride, Index r0) const {
    if (rows) return {at - r0 * stride, stride, rows};
    return {at + (t0 * B - r0) * stride, stride};
  }
};

struct Directions {
  bool forward, back, dy, dinputs;
  int threads;
};

// Fewer sequences than this for each thread, and as many hidden units: then threads share the units. A tile of
// rows is half empty then, and meeting at a step, about a microsecond, costs little of the time of a step.
constexpr Index worth_a_share = 3, worth_meeting = 256;

template <class Real>
struct Work {
  Index T, B, X, H, V;
  Index chunk;  // steps
  Index ldX, ldH, ldV;
  bool y_whole, dz_whole;  // kept for all steps, or for a chunk of them
  bool shares_units;       // rather than sequences, among threads

  Real* h;                                       // (T + 1, B, ldH): the initial state, then h_t
  Real* part;                                    // (chunk, B, ldH): a_t going forward, dh_t going back
  Real* step;                                    // (B, ldH): u_t going forward, the carried gradient going back
  Real* y;                                       // (T or chunk, B, ldV): y_t, then dy_t
  Real* e;                                       // (threads, ldV): room for a row of the softmax
  Real* dz;                                      // (T or chunk, B, ldH)
  Real* dx;                                      // (chunk, B, ldX)
  Panels<Real> W_xh, W_hh, W_hy;                 // going forward
  Panels<Real> W_xh_back, W_hh_back, W_hy_back;  // transposed
  Real *dW_xh, *dW_hh, *dW_hy, *db_h, *db_y;     // the sums: (X, ldH), the input first; (H, ldH); (V, ldH)
  Real* token_sums;                              // (a block, ldH)
  Index* slots;                                  // (threads, X)
  Index* lists;                                  // (threads, ...): room for ChunkRows

  Work(Arena& arena, const Net<Real>& net, const Batch<Real>& batch, Directions go)
      : T(batch.T), B(batch.B), X(net.X), H(net.H), V(net.V) {
    const Index whole = linear::RowBlocks{B}.steps();
    chunk = whole < T ? whole : T;
    ldX = linear::padded<Real>(X), ldH = linear::padded<Real>(H), ldV = linear::padded<Real>(V);
    y_whole = go.forward && go.back, dz_whole = go.threads > 1;
    shares_units = go.threads > 1 && B < worth_a_share * go.threads && H >= worth_meeting;
    h = arena.take<Real>((T + 1) * B * ldH);
    part = arena.take<Real>(chunk * B * ldH);
    step = arena.take<Real>(B * ldH);
    lists = arena.take<Index>(go.threads * list_size());
    if (go.forward) take_forward(arena, net, batch, go);
    if (go.back) take_back(arena, net, batch, go);
    if (!arena.at) return;
    if (batch.state)
      put_rows(batch.state, B, H, h, ldH);
    else
      fill(h, B * ldH, Real(0));
  }

  Index list_size() const { return chunk * (B + 1) + 1; }
  Index y_r0(const ChunkRows& rows) const { return y_whole ? 0 : rows.t0 * B; }
  Index dz_r0(const ChunkRows& rows) const { return dz_whole ? 0 : rows.t0 * B; }

  // Rows of n numbers into padded ones; the rest +0.
  static void put_rows(const Real* from, Index rows, Index n, Real* to, Index ld) {
    for (Index r = 0; r < rows; ++r) copy(from + r * n, n, to + r * ld), fill(to + r * ld + n, ld - n, Real(0));
  }

 private:
  static Panels<Real> take_panels(Arena& arena, Index N, Index K, Index rows) {
    return {arena.take<Real>(Panels<Real>::size(N, K)), N, K, Panels<Real>::best_width(rows)};
  }

  void take_forward(Arena& arena, const Net<Real>& net, const Batch<Real>& batch, Directions go) {
    y = arena.take<Real>((y_whole ? T : chunk) * B * ldV);
    e = arena.take<Real>(go.threads * ldV);
    W_xh = take_panels(arena, batch.vectors ? H : 0, X, T * B);
    W_hh = take_panels(arena, H, H, B);
    W_hy = take_panels(arena, V, H, T * B);
    if (!arena.at) return;
    linear::pack(W_xh, net.b_h, net.W_xh, X, true);
    linear::pack<Real>(W_hh, nullptr, net.W_hh, H, true);
    linear::pack(W_hy, net.b_y, net.W_hy, H, true);
  }

  void take_back(Arena& arena, const Net<Real>& net, const Batch<Real>& batch, Directions go) {
    dz = arena.take<Real>((dz_whole ? T : chunk) * B * ldH);
    dx = arena.take<Real>(go.dinputs ? chunk * B * ldX : 0);
    W_xh_back = take_panels(arena, go.dinputs ? X : 0, H, T * B);
    W_hh_back = take_panels(arena, H, H, B);
    W_hy_back = take_panels(arena, go.dy ? H : 0, V, T * B);
    Real* const sums = arena.take<Real>((X + H + V + 1) * ldH + ldV);
    token_sums = arena.take<Real>(batch.tokens ? linear::block * ldH : 0);
    slots = arena.take<Index>(batch.tokens ? go.threads * X : 0);
    if (!arena.at) return;
    dW_xh = sums, dW_hh = dW_xh + X * ldH, dW_hy = dW_hh + H * ldH, db_h = dW_hy + V * ldH, db_y = db_h + ldH;
    fill(db_h, ldH + ldV, Real(0));
    if (batch.tokens) fill(dW_xh, X * ldH, Real(0));
    if (batch.tokens) fill(slots, go.threads * X, Index{-1});
    linear::pack<Real>(W_xh_back, nullptr, net.W_xh, X, false);
    linear::pack<Real>(W_hh_back, nullptr, net.W_hh, H, false);
    linear::pack<Real>(W_hy_back, nullptr, net.W_hy, H, false);
  }
};

}  // namespace rnncore::RNNCORE_ISA

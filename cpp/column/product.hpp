// Products in the one order of additions that every column keeps.
//
// Vector lanes run across outputs, never along a sum, so a sum's order does not depend on the width of
// the vectors; register tiles of M rows by N vectors keep the fma units busy meanwhile.
#pragma once

#include "look.hpp"
#include "tiles.hpp"

namespace rnncore::RNNCORE_ISA::linear {

// out[r, n] (+)= sum over `terms` k of A[r, k] w[k, n] for `tiles` times M rows and N vectors: one block of
// every sum. With starts the sums begin there; without, they are added to out. The weights of the next block follow
// these; a large layer's lie far away, and each of the first N tiles prefetches its part of them, unless a tile is all
// there is: it reads on from these, which the processor foresees. Weights of the next term are `step` numbers on; there
// is one at least.
template <class Real, int M, int N>
void product_tile(Rows<const Real> A, Index tiles, const Real* starts, const Real* weights, Index step, Index terms,
                  Rows<Real> out) {
  using V = Vector<Real>;
  for (Index r = 0; r < tiles * M; r += M) {
    const Rows<const Real> from = A.listed(r);
    const Real* a[M];
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) a[m] = from.by_list(m);
    V row[N], acc[M][N];
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) row[n] = starts ? load<V>(starts + n * lanes<Real>) : V{};
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) { RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = row[n]; }
    const Index part = tiles > 1 && r < N * M ? N + r / M : 0;  // 0: prefetches what is near already
    [[maybe_unused]] const Real* const ahead = weights + part * terms * lanes<Real>;
    const Real* w = weights;
    Index k = 0;
    do {
      if constexpr (M > 1) prefetch_for_later(ahead + k * lanes<Real>);
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) row[n] = load<V>(w + n * lanes<Real>);
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
        const V factor = splat<V>(a[m][k]);
        RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = fma(factor, row[n], acc[m][n]);
      }
      w += step;
    } while (++k < terms);
    const Rows<Real> sums = out.listed(r);
    Real* to[M];
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) to[m] = sums.by_list(m);
    if (!starts) add_rows(to, acc);
    store_rows(acc, to);
  }
}

template <class Real>
using ProductTile = void (*)(Rows<const Real>, Index, const Real*, const Real*, Index, Index, Rows<Real>);
template <class Real, int M, int N>
constexpr ProductTile<Real> product_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return product_tile<Real, M, N>;
  else
    return nullptr;
}
template <class Real>
constexpr ProductTile<Real> product_tiles[tile_side][tile_side] = RNNCORE_TILES(product_tile);

// Continues the chains of M rows and a vector of outputs over whole squares of weights, a square of each block in turn.
template <class Real, int M, int blocks>
RNNCORE_INLINE void chain_squares(const Real* const (&a)[M], const Real* w, Index stride, Index terms,
                                  Vector<Real> (&chain)[blocks][M]) {
  using V = Vector<Real>;
  for (Index k = 0; k < terms; k += lanes<Real>, w += lanes<Real>) {
    RNNCORE_UNROLL for (int b = 0; b < blocks; ++b) {
      V square[lanes<Real>];
      load_columns(w + b * block, stride, square);
      RNNCORE_UNROLL for (int c = 0; c < lanes<Real>; ++c) {
        RNNCORE_UNROLL for (int m = 0; m < M; ++m) chain[b][m] =
            fma(splat<V>(a[m][k + b * block + c]), square[c], chain[b][m]);
      }
    }
  }
}

// Continues the chains of one block over its last terms, fewer than a vector has lanes.
template <class Real, int M>
RNNCORE_INLINE void chain_rest(const Real* const (&a)[M], const Real* w, Index stride, Index terms,
                               Vector<Real> (&chain)[M]) {
  using V = Vector<Real>;
  Real rest[lanes<Real> * lanes<Real>] = {};
  for (Index i = 0; i < lanes<Real>; ++i)
    memcpy(rest + i * lanes<Real>, w + i * stride, static_cast<size_t>(terms) * sizeof(Real));
  V square[lanes<Real>];
  load_columns(rest, lanes<Real>, square);
  RNNCORE_UNROLL for (int c = 0; c < lanes<Real>; ++c) {
    if (c == terms) break;
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) chain[m] = fma(splat<V>(a[m][c]), square[c], chain[m]);
  }
}

// Adds blocks of `terms` terms each, which begin with the k-th, to the sums of M rows and the vector of outputs that
// begins with the n-th.
template <class Real, int M, int blocks>
RNNCORE_INLINE void add_blocks(Rows<const Real> A, const Weights<Real>& W, Index n, Index k, Index terms,
                               Vector<Real> (&sum)[M]) {
  using V = Vector<Real>;
  const Real *a[M], *w = W.W + n * W.stride + k;
  V chain[blocks][M] = {};
  RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
    a[m] = A(m) + k;
    if (k == 0 && W.acc) chain[0][m] = load<V>(W.acc + n);
  }
  const Index rest = blocks > 1 ? 0 : terms % lanes<Real>, whole = terms - rest;
  chain_squares<Real, M, blocks>(a, w, W.stride, whole, chain);
  if (rest) {
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) a[m] += whole;
    chain_rest(a, w + whole, W.stride, rest, chain[0]);
  }
  RNNCORE_UNROLL for (int b = 0; b < blocks; ++b) {
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) sum[m] = k + b == 0 ? chain[b][m] : sum[m] + chain[b][m];
  }
}

// A panel's product of M rows with weights where they lie, output by output: squares of them are turned in registers.
template <class Real, int M>
void product_by_output(Rows<const Real> A, const Panels<Real>& W, Index p, Rows<Real> out) {
  constexpr int in_turns = M <= tuning::rows_in_turns ? tuning::blocks_in_turns : 1;
  const bool turns = in_turns > 1 && (tuning::far_in_turns || !are_far<Real>(W.N, W.K, W.gates));
  each_vector(W, p, [&](Index n, Index, Index at) {
    Vector<Real> sum[M] = {};
    Index k = 0;
    for (; turns && k + in_turns * block <= W.K; k += in_turns * block)
      add_blocks<Real, M, in_turns>(A, W.weights, n, k, block, sum);
    for (; k < W.K; k += block) add_blocks<Real, M, 1>(A, W.weights, n, k, min_of(block, W.K - k), sum);
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) store(out(m) + at, sum[m]);
  });
}

template <class Real>
using PanelOfFewRows = void (*)(Rows<const Real>, const Panels<Real>&, Index, Rows<Real>);
template <class Real>
constexpr PanelOfFewRows<Real> panels_by_output[] = {product_by_output<Real, 1>, product_by_output<Real, 2>,
                                                     product_by_output<Real, 3>, product_by_output<Real, 4>};

// A block of a panel's terms, of which the next one's weights are `step` numbers on.
template <class Real>
RNNCORE_INLINE void product_block(Rows<const Real> A, const Tiling& tiling, Index N, const Real* starts,
                                  const Real* weights, Index step, Index terms, Rows<Real> out) {
  const Index later = tiling.large * tiling.M;
  product_tiles<Real>[tiling.M - 1][N - 1](A, tiling.large, starts, weights, step, terms, out);
  if (tiling.small)
    product_tiles<Real>[tiling.M - 2][N - 1](A.from(later), tiling.small, starts, weights, step, terms,
                                             out.from(later));
}

// A panel's product with weights that are not packed: few rows read them where they lie, if all outputs of the panel
// exist; else a block is laid out at a time.
template <class Real>
void unpacked_panel(Rows<const Real> A, Index rows, const Panels<Real>& W, Index p, Rows<Real> out, int thread) {
  const bool in_place = rows <= tuning::rows_in_place && W.begin(p + 1) * lanes<Real> <= W.N;
  if (in_place && W.weights.by_output) return panels_by_output<Real>[rows - 1](A, W, p, out);
  const bool as_rows = in_place && W.gates == 1;
  const Index width = W.column(p + 1) - W.column(p), N = width / lanes<Real>;
  const Tiling tiling(rows, N);
  Real *const starts = W.at + thread * W.room, *const laid_out = starts + width;
  lay_out_starts(W, p, starts);
  for (Index k = 0; k < W.K; k += block) {
    const Index terms = min_of(block, W.K - k);
    if (!as_rows) lay_out_rows(W, p, k, terms, laid_out);
    const Real* const given = W.weights.W + k * W.weights.stride + W.begin(p) * lanes<Real>;
    product_block(A.columns_from(k), tiling, N, k == 0 ? starts : nullptr, as_rows ? given : laid_out,
                  as_rows ? W.weights.stride : width, terms, out);
  }
}

// out[r, n] = acc[n] + sum_k A[r, k] W[n, k], k ascending, for the n of one panel, the first of them in out's column 0.
// The first block's chain continues from acc; each later one starts from +0 and is added when it is whole.
template <class Real>
void product_panel(Rows<const Real> A, Index rows, const Panels<Real>& W, Index p, Rows<Real> out, int thread) {
  if (!W.packed) return unpacked_panel(A, rows, W, p, out, thread);
  const Index width = W.column(p + 1) - W.column(p), N = width / lanes<Real>;
  const Real* const w = W.panel(p);
  const Tiling tiling(rows, N);
  for (Index k = 0; k < W.K; k += block)
    product_block(A.columns_from(k), tiling, N, k == 0 ? w : nullptr, w + (k + 1) * width, width,
                  min_of(block, W.K - k), out);
}

// The same for some of the panels. They may be walked from the last: who takes turns meets those that are still in
// the cache.
template <class Real>
void product(Rows<const Real> A, Index rows, const Panels<Real>& W, Rows<Real> out, PanelRange panels, bool from_last,
             Look& look) {
  if (rows == 0) return;
  for (Index i = panels.begin; i < panels.end; ++i) {
    const Index p = panels.at(i, from_last);
    product_panel(A, rows, W, p, out.columns_from(W.column(p)), look.thread());
    if (!look.after(2.0 * static_cast<double>(rows * W.K * (W.column(p + 1) - W.column(p))))) return;
  }
}

template <class Real>
void product(Rows<const Real> A, Index rows, const Panels<Real>& W, Rows<Real> out, Look& look) {
  product(A, rows, W, out, {0, W.count}, false, look);
}

}  // namespace rnncore::RNNCORE_ISA::linear

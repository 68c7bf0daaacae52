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

// The columns k, k + 1, ... of a vector of outputs, as many as a vector has lanes, or those that are left.
template <class Real>
RNNCORE_INLINE void load_terms(const Real* from, Index stride, Index left, Vector<Real>* square) {
  if (left >= lanes<Real>) return load_columns(from, stride, square);
  Real rest[lanes<Real> * lanes<Real>] = {};
  for (Index i = 0; i < lanes<Real>; ++i)
    memcpy(rest + i * lanes<Real>, from + i * stride, static_cast<size_t>(left) * sizeof(Real));
  load_columns(rest, lanes<Real>, square);
}

// A panel's product of M rows with weights where they lie, output by output: squares of them are turned in registers.
template <class Real, int M>
void product_by_output(Rows<const Real> A, const Panels<Real>& W, Index p, Rows<Real> out) {
  using V = Vector<Real>;
  const Weights<Real>& weights = W.weights;
  each_vector(W, p, [&](Index n, Index, Index at) {
    V sum[M] = {}, chain[M];
    for (Index k0 = 0; k0 < W.K; k0 += block) {
      const Index end = min_of(k0 + block, W.K);
      const V start = k0 == 0 && weights.acc ? load<V>(weights.acc + n) : V{};
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) chain[m] = start;
      for (Index k = k0; k < end; k += lanes<Real>) {
        V square[lanes<Real>];
        load_terms(weights.W + n * weights.stride + k, weights.stride, end - k, square);
        RNNCORE_UNROLL for (int c = 0; c < lanes<Real>; ++c) {
          if (k + c == end) break;
          RNNCORE_UNROLL for (int m = 0; m < M; ++m) chain[m] = fma(splat<V>(A(m)[k + c]), square[c], chain[m]);
        }
      }
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) sum[m] = k0 == 0 ? chain[m] : sum[m] + chain[m];
    }
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

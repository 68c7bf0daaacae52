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
// there is: it reads on from these, which the processor foresees.
template <class Real, int M, int N>
void product_tile(Rows<const Real> A, Index tiles, const Real* starts, const Real* weights, Index terms,
                  Rows<Real> out) {
  using V = Vector<Real>;
  for (Index r = 0; r < tiles * M; r += M) {
    const Real* a[M];
    V acc[M][N];
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
      a[m] = A(r + m);
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = starts ? load<V>(starts + n * lanes<Real>) : V{};
    }
    const Real* w = weights;
    const Index part = tiles > 1 && r < N * M ? N + r / M : 0;  // 0: prefetches what is near already
    [[maybe_unused]] const Real* const ahead = weights + part * terms * lanes<Real>;
    for (Index k = 0; k < terms; ++k, w += N * lanes<Real>) {
      if constexpr (M > 1) prefetch_for_later(ahead + k * lanes<Real>);
      V row[N];
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) row[n] = load<V>(w + n * lanes<Real>);
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
        const V factor = splat<V>(a[m][k]);
        RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = fma(factor, row[n], acc[m][n]);
      }
    }
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
      Real* const to = out(r + m);
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) {
        const V sum = acc[m][n];
        store(to + n * lanes<Real>, starts ? sum : load<V>(to + n * lanes<Real>) + sum);
      }
    }
  }
}

template <class Real>
using ProductTile = void (*)(Rows<const Real>, Index, const Real*, const Real*, Index, Rows<Real>);
template <class Real, int M, int N>
constexpr ProductTile<Real> product_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return product_tile<Real, M, N>;
  else
    return nullptr;
}
template <class Real>
constexpr ProductTile<Real> product_tiles[tile_side][tile_side] = RNNCORE_TILES(product_tile);

// out[r, n] = acc[n] + sum_k A[r, k] W[n, k], k ascending, for the n of one panel, the first of them in out's column 0.
// The first block's chain continues from acc; each later one starts from +0 and is added when it is whole.
template <class Real>
void product_panel(Rows<const Real> A, Index rows, const Panels<Real>& W, Index p, Rows<Real> out, int thread) {
  const Index width = W.column(p + 1) - W.column(p), N = width / lanes<Real>;
  Real* const w = W.packed ? W.panel(p) : W.at + thread * W.room;
  const Tiling tiling(rows, N);
  const Index later = tiling.large * tiling.M;
  if (!W.packed) lay_out_starts(W, p, w);
  for (Index k = 0; k < W.K; k += block) {
    const Index terms = W.K - k < block ? W.K - k : block;
    Real* const weights = w + (W.packed ? k + 1 : 1) * width;
    if (!W.packed) lay_out_rows(W, p, k, terms, tuning::terms_ahead, weights);
    const Rows<const Real> a = A.columns_from(k);
    const Real* const starts = k == 0 ? w : nullptr;
    product_tiles<Real>[tiling.M - 1][N - 1](a, tiling.large, starts, weights, terms, out);
    if (tiling.small)
      product_tiles<Real>[tiling.M - 2][N - 1](a.from(later), tiling.small, starts, weights, terms, out.from(later));
  }
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

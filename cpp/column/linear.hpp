// Products in the one order of additions that every column keeps.
//
// Vector lanes run across outputs, never along a sum, so a sum's order does not depend on the width of
// the vectors; register tiles of M rows by N vectors keep the fma units busy meanwhile.
#pragma once

#include "look.hpp"
#include "panels.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using tuning::tile_registers;
using tuning::tile_side;

constexpr Index block = 128;  // terms in one chain of fma; see docs/arithmetic.md

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

// Blocks of the gradients' sums: the k-th has the rows [ends[k], ends[k + 1]).
struct Blocks {
  const Index* ends;
  Index count;
  Index rows() const { return ends[count] - ends[0]; }
};

// How far ahead of the numbers that an outer tile reads it prefetches; not at all: 0.
struct Ahead {
  Index D, E;
};

// out[i, j] (+)= sum over rows r of D[r, i] E[r, j] for `tiles` times M numbers i and N vectors of j: the sum of each
// block of rows, from the last block to the first. The i-th row is the i-th in memory.
template <class Real, int M, int N>
void outer_tile(Rows<const Real> D, Index tiles, Rows<const Real> E, Blocks blocks, Ahead ahead, bool begin, Real* out,
                Index stride) {
  using V = Vector<Real>;
  for (Index i = 0; i < tiles * M; i += M, out += M * stride) {
    bool first = begin;
    if (!first) {  // the sums of a large layer lie far away
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) prefetch<N * vector_bytes>(out + m * stride);
    }
    for (Index k = blocks.count; k-- > 0; first = false) {
      V acc[M][N];
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) { RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = V{}; }
      for (Index r = blocks.ends[k]; r < blocks.ends[k + 1]; ++r) {
        const Real *d = D.at + r * D.stride + i, *e = E.at + r * E.stride;
        prefetch<1>(d + ahead.D);
        if (ahead.E && i == 0) prefetch<N * vector_bytes>(e + ahead.E);
        V row[N];
        RNNCORE_UNROLL for (int n = 0; n < N; ++n) row[n] = load<V>(e + n * lanes<Real>);
        RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
          const V factor = splat<V>(d[m]);
          RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = fma(factor, row[n], acc[m][n]);
        }
      }
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
        RNNCORE_UNROLL for (int n = 0; n < N; ++n) {
          Real* to = out + m * stride + n * lanes<Real>;
          store(to, first ? acc[m][n] : load<V>(to) + acc[m][n]);
        }
      }
    }
  }
}

// The tiles by size: of all M up to tile_side that leave N vectors within the registers.
template <class Real>
using ProductTile = void (*)(Rows<const Real>, Index, const Real*, const Real*, Index, Rows<Real>);
template <class Real>
using OuterTile = void (*)(Rows<const Real>, Index, Rows<const Real>, Blocks, Ahead, bool, Real*, Index);

template <class Real, int M, int N>
constexpr ProductTile<Real> product_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return product_tile<Real, M, N>;
  else
    return nullptr;
}
template <class Real, int M, int N>
constexpr OuterTile<Real> outer_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return outer_tile<Real, M, N>;
  else
    return nullptr;
}

#define RNNCORE_TILES_OF(kind, M)                                                              \
  {kind##_or_none<Real, M, 1>(),  kind##_or_none<Real, M, 2>(),  kind##_or_none<Real, M, 3>(), \
   kind##_or_none<Real, M, 4>(),  kind##_or_none<Real, M, 5>(),  kind##_or_none<Real, M, 6>(), \
   kind##_or_none<Real, M, 7>(),  kind##_or_none<Real, M, 8>(),  kind##_or_none<Real, M, 9>(), \
   kind##_or_none<Real, M, 10>(), kind##_or_none<Real, M, 11>(), kind##_or_none<Real, M, 12>()}
#define RNNCORE_TILES(kind)                                                                                      \
  {RNNCORE_TILES_OF(kind, 1), RNNCORE_TILES_OF(kind, 2),  RNNCORE_TILES_OF(kind, 3),  RNNCORE_TILES_OF(kind, 4), \
   RNNCORE_TILES_OF(kind, 5), RNNCORE_TILES_OF(kind, 6),  RNNCORE_TILES_OF(kind, 7),  RNNCORE_TILES_OF(kind, 8), \
   RNNCORE_TILES_OF(kind, 9), RNNCORE_TILES_OF(kind, 10), RNNCORE_TILES_OF(kind, 11), RNNCORE_TILES_OF(kind, 12)}

template <class Real>
constexpr ProductTile<Real> product_tiles[tile_side][tile_side] = RNNCORE_TILES(product_tile);
template <class Real>
constexpr OuterTile<Real> outer_tiles[tile_side][tile_side] = RNNCORE_TILES(outer_tile);

#undef RNNCORE_TILES
#undef RNNCORE_TILES_OF

// So many things in tiles of at most so many, N vectors wide: `large` tiles of M, then `small` ones of M - 1.
struct Tiling {
  Index large, small, M;
  Tiling(Index things, Index N) : large(1), small(0), M(things) {
    const Index fit = tile_registers / static_cast<int>(N), most = fit < tile_side ? fit : tile_side;
    if (things <= most) return;
    const Index tiles = divide_up(things, most);
    M = divide_up(things, tiles);
    small = tiles * M - things, large = tiles - small;
  }
};

// out[r, n] = acc[n] + sum_k A[r, k] W[n, k], k ascending, for the n of one panel, the first of them in out's column 0;
// acc lies in the panel. The first block's chain continues from acc; each later one starts from +0 and is added when
// it is whole.
template <class Real>
void product_panel(Rows<const Real> A, Index rows, Panels<Real> W, Index p, Rows<Real> out) {
  const Index width = W.column(p + 1) - W.column(p), N = width / lanes<Real>;
  const Real* const w = W.panel(p);
  const Tiling tiling(rows, N);
  const Index later = tiling.large * tiling.M;
  for (Index k = 0; k < W.K; k += block) {
    const Index terms = W.K - k < block ? W.K - k : block;
    const Rows<const Real> a = A.columns_from(k);
    const Real *const starts = k == 0 ? w : nullptr, *const weights = w + (k + 1) * width;
    product_tiles<Real>[tiling.M - 1][N - 1](a, tiling.large, starts, weights, terms, out);
    if (tiling.small)
      product_tiles<Real>[tiling.M - 2][N - 1](a.from(later), tiling.small, starts, weights, terms, out.from(later));
  }
}

// The same for some of the panels. They may be walked from the last: who takes turns meets those that are still in
// the cache.
template <class Real>
void product(Rows<const Real> A, Index rows, Panels<Real> W, Rows<Real> out, PanelRange panels, bool from_last,
             Look& look) {
  if (rows == 0) return;
  for (Index i = panels.begin; i < panels.end; ++i) {
    const Index p = panels.at(i, from_last);
    product_panel(A, rows, W, p, out.columns_from(W.column(p)));
    if (!look.after(2.0 * static_cast<double>(rows * W.K * (W.column(p + 1) - W.column(p))))) return;
  }
}

template <class Real>
void product(Rows<const Real> A, Index rows, Panels<Real> W, Rows<Real> out, Look& look) {
  product(A, rows, W, out, {0, W.count}, false, look);
}

// Which block of the gradients' sums a row r = t*B + b of the grid of steps belongs to: up to 128
// sequences, a block is as many whole steps as fit into 128 rows; beyond, 128 sequences of one step.
struct RowBlocks {
  Index B;
  Index steps() const { return B <= block ? block / B : 1; }
  Index per_step() const { return divide_up(B, block); }
};

// What a sum of outer products reads: the first n numbers of some rows. If the array holds the block before too, the
// next sum reads that, and the processor does not foresee it.
template <class Real>
struct Factor {
  Rows<const Real> rows;
  Index n;
  bool holds_block_before;

  // How far away the same number of the block before lies, if a whole block is little enough to stay in the L2 cache.
  Index block_before(Index count) const {
    const bool prefetch = holds_block_before && count * n * Index{sizeof(Real)} <= tuning::prefetched_block_bytes;
    return prefetch ? -count * rows.stride : 0;
  }
};

// Scratch for sums over listed rows: `strip` holds a strip of D, `rows` a block's rows of E, `stride` apart.
template <class Real>
struct Gathered {
  Real *strip, *rows;
  Index stride;
  static Index strip_size() { return tuning::strip_bytes / Index{sizeof(Real)} + block * tuning::strip_tiles; }
};

// The rows of some blocks, no more than 128, so that the i-th is the i-th in memory: the tiles of the sums read rows so
// often that looking up where each lies would cost a fifth of the time.
template <class Real>
Rows<const Real> gather(Rows<const Real> rows, Blocks blocks, Index columns, Real* scratch, Index stride) {
  if (!rows.index) return rows;
  const Index from = blocks.ends[0], end = blocks.ends[blocks.count];
  Index i = from;
  while (i < end && rows.index[i] - rows.index[from] == i - from) ++i;
  if (i == end) return {rows.at + (rows.index[from] - from) * rows.stride, rows.stride};
  for (i = from; i < end; ++i) copy(rows(i), columns, scratch + (i - from) * stride);
  return {scratch - from * stride, stride};
}

// outer_sum for few i, panel by panel of the vectors of j.
template <class Real>
void outer_strip(Rows<const Real> D, Index I, const Factor<Real>& E, Blocks blocks, Ahead ahead, bool first, Real* out,
                 Index stride) {
  const Index vectors = divide_up(E.n, lanes<Real>), panels = divide_up(vectors, tile_registers / tuning::tile_rows);
  for (Index p = 0; p < panels; ++p) {
    const Index v0 = vectors * p / panels, N = vectors * (p + 1) / panels - v0, j0 = v0 * lanes<Real>;
    const Tiling tiling(I, N);
    const Index later = tiling.large * tiling.M;
    const Rows<const Real> e = E.rows.columns_from(j0);
    Real* const to = out + j0;
    outer_tiles<Real>[tiling.M - 1][N - 1](D, tiling.large, e, blocks, ahead, first, to, stride);
    if (tiling.small) {
      const OuterTile<Real> run = outer_tiles<Real>[tiling.M - 2][N - 1];
      run(D.columns_from(later), tiling.small, e, blocks, {ahead.D, 0}, first, to + later * stride, stride);
    }
  }
}

// out[i, j] = sum_r D[r, i] E[r, j], the gradient of a weight matrix, some blocks of rows r: in each an fma chain
// from +0, r ascending. The result starts as the first block that comes (the last in time, for the loop
// goes back) and the others are added. A strip of D, of tiles of any height, stays in the L2 cache for all of E.
template <class Real>
void outer_sum(const Factor<Real>& D, const Factor<Real>& E, Blocks blocks, bool first, Real* out, Index stride,
               const Gathered<Real>& scratch, Look& look) {
  constexpr Index tiles = tuning::strip_tiles, line = tuning::cache_line / Index{sizeof(Real)};
  const Index rows = blocks.rows(), fit = tuning::strip_bytes / (rows * Index{sizeof(Real)}) / tiles * tiles;
  const Index strip = fit ? fit : tiles, before = D.block_before(rows);
  const Ahead ahead{before ? before : line, E.block_before(rows)};  // or the line for the tiles to come
  const Factor<Real> e{gather(E.rows, blocks, E.n, scratch.rows, scratch.stride), E.n, E.holds_block_before};
  for (Index i = 0; i < D.n; i += strip) {
    const Index count = min_of(strip, D.n - i);
    const Rows<const Real> d = gather(D.rows.columns_from(i), blocks, count, scratch.strip, padded<Real>(count));
    outer_strip(d, count, e, blocks, ahead, first, out + i * stride, stride);
    if (!look.after(2.0 * static_cast<double>(rows * count * E.n))) return;
  }
}

// Scratch for token_sum: `slot` (one a token, kept at -1) finds a token's sum among `sums` (one a row, `stride` apart).
template <class Real>
struct TokenSums {
  Index* slot;
  Real* sums;
  Index stride;
};

// out[k, i] += sum of D[r, i] over the rows r of a block whose token is k: outer_sum with one-hot rows, laid out with
// the token first, in rows as long as those of the scratch.
template <class Real>
void token_sum(Rows<const Real> D, Index I, Rows<const int64_t> tokens, Index rows, TokenSums<Real> scratch,
               Real* out) {
  using V = Vector<Real>;
  Index used = 0, *const slot = scratch.slot;
  for (Index r = 0; r < rows; ++r) {
    const int64_t token = *tokens(r);
    const bool seen = slot[token] >= 0;
    if (!seen) slot[token] = used++;
    Real* sum = scratch.sums + slot[token] * scratch.stride;
    const Real* d = D(r);
    for (Index i = 0; i < I; i += lanes<Real>) store(sum + i, (seen ? load<V>(sum + i) : V{}) + load<V>(d + i));
  }
  for (Index r = 0; r < rows; ++r) {
    const int64_t token = *tokens(r);
    if (slot[token] < 0) continue;  // added before
    const Real* sum = scratch.sums + slot[token] * scratch.stride;
    Real* to = out + token * scratch.stride;
    for (Index i = 0; i < I; i += lanes<Real>) store(to + i, load<V>(to + i) + load<V>(sum + i));
    slot[token] = -1;
  }
}

// out[i] += sum_r D[r, i] over the rows of each block, N vectors of i: the gradient of a bias; plain additions.
template <class Real, int N>
void row_sum_tile(Rows<const Real> D, Blocks blocks, Real* out) {
  using V = Vector<Real>;
  for (Index k = blocks.count; k-- > 0;) {
    V sum[N] = {};
    for (Index r = blocks.ends[k]; r < blocks.ends[k + 1]; ++r) {
      const Real* d = D(r);
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) sum[n] = sum[n] + load<V>(d + n * lanes<Real>);
    }
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) store(out + n * lanes<Real>, load<V>(out + n * lanes<Real>) + sum[n]);
  }
}

template <class Real>
void row_sum(Rows<const Real> D, Index I, Blocks blocks, Real* out) {
  Index i = 0;
  for (; i + 8 * lanes<Real> <= I; i += 8 * lanes<Real>) row_sum_tile<Real, 8>(D.columns_from(i), blocks, out + i);
  for (; i + 3 * lanes<Real> <= I; i += 3 * lanes<Real>) row_sum_tile<Real, 3>(D.columns_from(i), blocks, out + i);
  for (; i + lanes<Real> <= I; i += lanes<Real>) row_sum_tile<Real, 1>(D.columns_from(i), blocks, out + i);
  for (; i < I; ++i)
    for (Index k = blocks.count; k-- > 0;) {
      Real sum = 0;
      for (Index r = blocks.ends[k]; r < blocks.ends[k + 1]; ++r) sum = sum + D(r)[i];
      out[i] = out[i] + sum;
    }
}

// Sixteen lanes of sums, in as many vectors as that takes.
template <class Real>
constexpr int lane_vectors = 16 / lanes<Real>;

// Sixteen lanes folded into their sum: 8, 4, 2, 1.
template <class Real>
RNNCORE_INLINE Real fold(Vector<Real> (&sum)[lane_vectors<Real>]) {
  using V = Vector<Real>;
  RNNCORE_UNROLL for (int half = lane_vectors<Real> / 2; half >= 1; half /= 2) {
    RNNCORE_UNROLL for (int i = 0; i < half; ++i) sum[i] = sum[i] + sum[i + half];
  }
  return fold_lanes<lanes<Real> / 2>(sum[0], [](V v, V w) { return v + w; });
}

template <class Real>
Real fold(const Real (&lane)[16]) {
  Vector<Real> sum[lane_vectors<Real>];
  memcpy(sum, lane, sizeof(sum));
  return fold<Real>(sum);
}

}  // namespace rnncore::RNNCORE_ISA::linear

// Products in the one order of additions that every column keeps.
//
// Vector lanes run across outputs, never along a sum, so a sum's order does not depend on the width of
// the vectors; register tiles of M rows by N vectors keep the fma units busy meanwhile.
#pragma once

#include "vector.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using Index = ptrdiff_t;

constexpr Index block = 128;  // terms in one chain of fma; see docs/arithmetic.md

// How many vectors of accumulators a tile may hold and leave registers for its operands.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_registers = 24;
#else
constexpr int tile_registers = 12;
#endif
constexpr int tile_side = 12;

// A leading dimension for rows of n numbers: whole vectors of every instruction set, and never a
// multiple of 4 KiB apart, where all rows would fall into the same few lines of the L1 cache.
template <class Real>
constexpr Index padded(Index n) {
  const Index line = 64 / static_cast<Index>(sizeof(Real)), page = 4096 / static_cast<Index>(sizeof(Real));
  const Index whole = (n + 15) / 16 * 16;
  return whole % page == 0 && whole != 0 ? whole + line : whole;
}

constexpr Index divide_up(Index n, Index by) { return (n + by - 1) / by; }

// Rows of a matrix: the i-th is the one with the number index[i], or simply i.
template <class Real>
struct Rows {
  Real* at;
  Index stride;
  const Index* index = nullptr;
  RNNCORE_INLINE Real* operator()(Index i) const { return at + (index ? index[i] : i) * stride; }

  // The rows from the i-th on, and the same rows from their j-th number on.
  Rows from(Index i) const { return index ? Rows{at, stride, index + i} : Rows{at + i * stride, stride}; }
  Rows columns_from(Index j) const { return {at + j, stride, index}; }
  operator Rows<const Real>() const { return {at, stride, index}; }
};

// A weight matrix (gates * N, K) as the products read it, with the number each sum starts from: in panels of vectors
// of outputs; a panel holds its starts, then for every k its row of weights. The gates of a unit lie side by side, a
// vector of units of the first gate, the same units of the second, and so on, so that a panel has all that the cell
// needs of its units.
template <class Real>
struct Panels {
  Real* at;
  Index N, K;
  int gates;
  Index vectors, count;  // of units; of panels

  // width: vectors of units that a panel has at most
  Panels(Real* at, Index N, Index K, int gates, Index width)
      : at(at), N(N), K(K), gates(gates), vectors(divide_up(N, lanes<Real>)), count(divide_up(vectors, width)) {}
  Panels() = default;

  // Panels differ by at most one vector, so that no tile is much narrower than the others.
  Index begin(Index panel) const { return panel == 0 ? 0 : panel == count ? vectors : vectors * panel / count; }
  Index column(Index panel) const { return begin(panel) * gates * lanes<Real>; }
  Real* panel(Index p) const { return at + column(p) * (K + 1); }
  Index widest() const { return divide_up(vectors, count ? count : 1) * gates * lanes<Real>; }

  static Index size(Index N, Index K, int gates) { return divide_up(N, lanes<Real>) * lanes<Real> * gates * (K + 1); }
  // The widest panel that leaves accumulators for as many rows as there are, up to six.
  static Index best_width(Index rows, int gates) {
    const Index fit = tile_registers / (rows < 1 ? 1 : rows < 6 ? rows : 6);
    const Index widest = (fit < tile_side ? fit : tile_side) / gates;
    return widest < 1 ? 1 : widest;
  }
};

// to[c * to_stride + r] = from[r * from_stride + c] for rows r and columns c.
template <class Real>
void transpose(const Real* from, Index from_stride, Index rows, Index columns, Real* to, Index to_stride) {
  constexpr Index side = lanes<Real>;
  const Index whole_rows = rows / side * side, whole_columns = columns / side * side;
  for (Index r = 0; r < whole_rows; r += side)
    for (Index c = 0; c < whole_columns; c += side) {
      Vector<Real> square[side];
      RNNCORE_UNROLL for (int i = 0; i < side; ++i) square[i] = load<Vector<Real>>(from + (r + i) * from_stride + c);
      rnncore::RNNCORE_ISA::transpose<side / 2>(square);
      RNNCORE_UNROLL for (int i = 0; i < side; ++i) store(to + (c + i) * to_stride + r, square[i]);
    }
  for (Index r = 0; r < rows; ++r)
    for (Index c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
}

// to[k * to_stride + n] = from[k * from_stride + n] for rows k and up to a vector of columns n.
template <class Real>
void copy_columns(const Real* from, Index from_stride, Index rows, Index columns, Real* to, Index to_stride) {
  if (columns < lanes<Real>)
    for (Index k = 0; k < rows; ++k)
      memcpy(to + k * to_stride, from + k * from_stride, static_cast<size_t>(columns) * sizeof(Real));
  else
    for (Index k = 0; k < rows; ++k) store(to + k * to_stride, load<Vector<Real>>(from + k * from_stride));
}

// Some of the panels.
struct PanelRange {
  Index begin, end;
  // The i-th of [begin, end), or, if so wanted, the i-th from the last.
  Index at(Index i, bool from_last) const { return from_last ? end - 1 - (i - begin) : i; }
};

// Packs weights with the starts acc (null: +0) of their sums, into some of the panels. Lanes beyond N hold +0.
template <class Real>
void pack(Panels<Real> to, PanelRange panels, const Real* acc, const Real* W, Index stride, bool transposed) {
  for (Index p = panels.begin; p < panels.end; ++p) {
    const Index width = to.column(p + 1) - to.column(p);
    Real* at = to.panel(p);
    for (Index unit = to.begin(p) * lanes<Real>; unit < to.begin(p + 1) * lanes<Real>; unit += lanes<Real>)
      for (Index gate = 0; gate < to.gates; ++gate, at += lanes<Real>) {
        const Index n = gate * to.N + unit, count = to.N - unit < lanes<Real> ? to.N - unit : lanes<Real>;
        if (count < lanes<Real>)
          for (Index k = 0; k <= to.K; ++k) store(at + k * width, Vector<Real>{});
        if (acc)
          memcpy(at, acc + n, static_cast<size_t>(count) * sizeof(Real));
        else
          store(at, Vector<Real>{});
        if (transposed)  // W[n * stride + k]
          transpose(W + n * stride, stride, count, to.K, at + width, width);
        else  // W[k * stride + n]
          copy_columns(W + n, stride, to.K, count, at + width, width);
      }
  }
}

// out[r, n] (+)= sum over `terms` k of A[r, k] w[k, n] for `tiles` times M rows and N vectors: one block of
// every sum. With starts the sums begin there; without, they are added to out. The weights of the next block follow
// these; a large layer's lie far away, and each of the first N tiles asks for its part of them, unless a tile is all
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
    const Index part = tiles > 1 && r < N * M ? N + r / M : 0;  // 0 asks for what is near
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

// How far from the numbers that an outer tile reads those lie that it asks the memory for; none: 0.
struct Ahead {
  Index D, E;
};

// out[i, j] (+)= sum over rows r of D[r, i] E[r, j] for `tiles` times M numbers i and N vectors of j.
template <class Real, int M, int N>
void outer_tile(Rows<const Real> D, Index tiles, Rows<const Real> E, Index rows, Ahead ahead, bool first, Real* out,
                Index stride) {
  using V = Vector<Real>;
  for (Index i = 0; i < tiles * M; i += M, out += M * stride) {
    V acc[M][N];
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
      if (!first) prefetch<N * vector_bytes>(out + m * stride);  // the sums of a large layer lie far away
      RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = V{};
    }
    for (Index r = 0; r < rows; ++r) {
      const Real *d = D(r) + i, *e = E(r);
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

// The tiles by size: of all M up to tile_side that leave N vectors within the registers.
template <class Real>
using ProductTile = void (*)(Rows<const Real>, Index, const Real*, const Real*, Index, Rows<Real>);
template <class Real>
using OuterTile = void (*)(Rows<const Real>, Index, Rows<const Real>, Index, Ahead, bool, Real*, Index);

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
void product(Rows<const Real> A, Index rows, Panels<Real> W, Rows<Real> out, PanelRange panels, bool from_last) {
  if (rows == 0) return;
  for (Index i = panels.begin; i < panels.end; ++i) {
    const Index p = panels.at(i, from_last);
    product_panel(A, rows, W, p, out.columns_from(W.column(p)));
  }
}

template <class Real>
void product(Rows<const Real> A, Index rows, Panels<Real> W, Rows<Real> out) {
  product(A, rows, W, out, {0, W.count}, false);
}

// Which block of the gradients' sums a row r = t*B + b of the grid of steps belongs to: up to 128
// sequences, a block is as many whole steps as fit into 128 rows; beyond, 128 sequences of one step.
struct RowBlocks {
  Index B;
  Index steps() const { return B <= block ? block / B : 1; }
  Index per_step() const { return divide_up(B, block); }
};

// What a sum of outer products reads: the first n numbers of some rows, which are one block of all. If the array holds
// the block before too, the next sum reads that, and the processor does not foresee it.
template <class Real>
struct Factor {
  Rows<const Real> rows;
  Index n;
  bool holds_block_before;

  // Where the same number of the block before lies, if a whole block is little enough to stay in the L2 cache.
  Index block_before(Index count) const {
    constexpr Index little = 256 << 10;
    const bool ask = holds_block_before && count * n * static_cast<Index>(sizeof(Real)) <= little;
    return ask ? -count * rows.stride : 0;
  }
};

// outer_sum for few i, panel by panel of the vectors of j.
template <class Real>
void outer_strip(Rows<const Real> D, Index I, Rows<const Real> E, Index J, Index rows, Ahead ahead, bool first,
                 Real* out, Index stride) {
  const Index vectors = divide_up(J, lanes<Real>), panels = divide_up(vectors, tile_registers / 6);
  for (Index p = 0; p < panels; ++p) {
    const Index v0 = vectors * p / panels, N = vectors * (p + 1) / panels - v0, j0 = v0 * lanes<Real>;
    const Tiling tiling(I, N);
    const Index later = tiling.large * tiling.M;
    const Rows<const Real> e = E.columns_from(j0);
    Real* const to = out + j0;
    outer_tiles<Real>[tiling.M - 1][N - 1](D, tiling.large, e, rows, ahead, first, to, stride);
    if (tiling.small) {
      const OuterTile<Real> run = outer_tiles<Real>[tiling.M - 2][N - 1];
      run(D.columns_from(later), tiling.small, e, rows, {ahead.D, 0}, first, to + later * stride, stride);
    }
  }
}

// out[i, j] = sum_r D[r, i] E[r, j], the gradient of a weight matrix, one block of rows r: an fma chain
// from +0, r ascending. The result starts as the first block that comes (the last in time, for the loop
// goes back) and the others are added. A strip of D, of tiles of any height, stays in the L2 cache for all of E.
template <class Real>
void outer_sum(const Factor<Real>& D, const Factor<Real>& E, Index rows, bool first, Real* out, Index stride) {
  constexpr Index tiles = 24, bytes = 64 << 10, line = 64 / static_cast<Index>(sizeof(Real));
  const Index fit = bytes / (rows * static_cast<Index>(sizeof(Real))) / tiles * tiles, strip = fit ? fit : tiles;
  const Index before = D.block_before(rows);
  const Ahead ahead{before ? before : line, E.block_before(rows)};  // or the line for the tiles to come
  for (Index i = 0; i < D.n; i += strip)
    outer_strip(D.rows.columns_from(i), D.n - i < strip ? D.n - i : strip, E.rows, E.n, rows, ahead, first,
                out + i * stride, stride);
}

// out[k, i] += sum of D[r, i] over a block's rows r whose token is k: outer_sum with one-hot rows, laid out
// with the token first. `slot` (one a token, kept at -1) finds a token's sum among `sums` (one a row).
template <class Real>
void token_sum(Rows<const Real> D, Index I, Rows<const int64_t> tokens, Index rows, Index* slot, Real* sums, Real* out,
               Index stride) {
  using V = Vector<Real>;
  Index used = 0;
  for (Index r = 0; r < rows; ++r) {
    const int64_t token = *tokens(r);
    const bool seen = slot[token] >= 0;
    if (!seen) slot[token] = used++;
    Real* sum = sums + slot[token] * stride;
    const Real* d = D(r);
    for (Index i = 0; i < I; i += lanes<Real>) store(sum + i, (seen ? load<V>(sum + i) : V{}) + load<V>(d + i));
  }
  for (Index r = 0; r < rows; ++r) {
    const int64_t token = *tokens(r);
    if (slot[token] < 0) continue;  // added before
    const Real* sum = sums + slot[token] * stride;
    Real* to = out + token * stride;
    for (Index i = 0; i < I; i += lanes<Real>) store(to + i, load<V>(to + i) + load<V>(sum + i));
    slot[token] = -1;
  }
}

// out[i] += sum_r D[r, i] over a block's rows, N vectors of i: the gradient of a bias; plain additions.
template <class Real, int N>
void row_sum_tile(Rows<const Real> D, Index rows, Real* out) {
  using V = Vector<Real>;
  V sum[N] = {};
  for (Index r = 0; r < rows; ++r) {
    const Real* d = D(r);
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) sum[n] = sum[n] + load<V>(d + n * lanes<Real>);
  }
  RNNCORE_UNROLL for (int n = 0; n < N; ++n) store(out + n * lanes<Real>, load<V>(out + n * lanes<Real>) + sum[n]);
}

template <class Real>
void row_sum(Rows<const Real> D, Index I, Index rows, Real* out) {
  Index i = 0;
  for (; i + 8 * lanes<Real> <= I; i += 8 * lanes<Real>) row_sum_tile<Real, 8>(D.columns_from(i), rows, out + i);
  for (; i + 3 * lanes<Real> <= I; i += 3 * lanes<Real>) row_sum_tile<Real, 3>(D.columns_from(i), rows, out + i);
  for (; i + lanes<Real> <= I; i += lanes<Real>) row_sum_tile<Real, 1>(D.columns_from(i), rows, out + i);
  for (; i < I; ++i) {
    Real sum = 0;
    for (Index r = 0; r < rows; ++r) sum = sum + D(r)[i];
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

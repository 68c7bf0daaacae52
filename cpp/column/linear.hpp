// Sums over rows: of outer products, the gradients of weights, and of the rows themselves, those of biases; and over
// lanes. product.hpp has the products.
#pragma once

#include "product.hpp"

namespace rnncore::RNNCORE_ISA::linear {

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

// A row of an outer tile: acc[m][n] += d[m] e[n].
template <class Real, int M, int N>
RNNCORE_INLINE void add_products(const Real* d, const Real* e, Vector<Real> (&acc)[M][N]) {
  using V = Vector<Real>;
  V row[N];
  RNNCORE_UNROLL for (int n = 0; n < N; ++n) row[n] = load<V>(e + n * lanes<Real>);
  RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
    const V factor = splat<V>(d[m]);
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = fma(factor, row[n], acc[m][n]);
  }
}

// out[i, j] (+)= sum over rows r of D[r, i] E[r, j] for `tiles` times M numbers i and N vectors of j: the sum of each
// block of rows, from the last block to the first. The i-th row is the i-th in memory. The sums of a large layer lie
// far away: they are prefetched, a line a row. The first tile prefetches the rows of E that are summed later.
template <class Real, int M, int N>
void outer_tile(Rows<const Real> D, Index tiles, Rows<const Real> E, Blocks blocks, Ahead ahead, bool begin, Real* out,
                Index stride) {
  using V = Vector<Real>;
  for (Index i = 0; i < tiles * M; i += M, out += M * stride, ahead.E = 0) {
    Real *line = out, *const end_of_lines = out + M * stride;  // what is to be prefetched, while a block is summed
    Real* sums[M];
    RNNCORE_UNROLL for (int m = 0; m < M; ++m) sums[m] = out + m * stride;
    bool first = begin;
    for (Index k = blocks.count; k-- > 0; first = false, line = end_of_lines) {
      V acc[M][N];
      RNNCORE_UNROLL for (int m = 0; m < M; ++m) { RNNCORE_UNROLL for (int n = 0; n < N; ++n) acc[m][n] = V{}; }
      const Index r = blocks.ends[k];
      Index lines = N, rows = blocks.ends[k + 1] - r;  // no block is empty
      const Real *d = D.at + r * D.stride + i, *e = E.at + r * E.stride;
      do {
        if (line != end_of_lines) {
          prefetch<vector_bytes>(line);
          line += lanes<Real>;
          if (--lines == 0) lines = N, line += stride - N * lanes<Real>;
        }
        prefetch<1>(d + ahead.D);
        prefetch<N * vector_bytes>(e + ahead.E);
        add_products<Real, M, N>(d, e, acc);
        d += D.stride, e += E.stride;
      } while (--rows > 0);
      if (!first) add_rows(sums, acc);
      store_rows(acc, sums);
    }
  }
}

template <class Real>
using OuterTile = void (*)(Rows<const Real>, Index, Rows<const Real>, Blocks, Ahead, bool, Real*, Index);
template <class Real, int M, int N>
constexpr OuterTile<Real> outer_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return outer_tile<Real, M, N>;
  else
    return nullptr;
}
template <class Real>
constexpr OuterTile<Real> outer_tiles[tile_side][tile_side] = RNNCORE_TILES(outer_tile);

#undef RNNCORE_TILES
#undef RNNCORE_TILES_OF

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
  // Whether tiles should rather read a copy: where rows lie so that many of them share the lines of the L1 cache, or
  // each on a page of its own, of which a processor keeps few at hand.
  bool is_scattered() const {
    const Index bytes = rows.stride * Index{sizeof(Real)};
    return bytes > tuning::chosen.far_row_bytes ||
           (bytes > tuning::near_row_bytes && bytes % (2 * tuning::cache_line) == 0);
  }
  // Whether whole vectors can be read of a row.
  bool has_padding() const { return n % lanes<Real> == 0 || rows.stride % lanes<Real> == 0; }
  // Whether rows lie one after the other. If they do not they are copied: to look up where each lies would cost a fifth
  // of the time.
  bool in_order(Blocks blocks) const {
    const Index from = blocks.ends[0], end = blocks.ends[blocks.count];
    Index i = from;
    while (rows.index && i < end && rows.index[i] - rows.index[from] == i - from) ++i;
    return !rows.index || i == end;
  }
  // Listed rows that lie one after the other, without the list.
  Rows<const Real> unlisted(Blocks blocks) const {
    const Index from = blocks.ends[0];
    return rows.index ? Rows<const Real>{rows.at + (rows.index[from] - from) * rows.stride, rows.stride} : rows;
  }
};

// The panels of vectors of j that outer sums run over: as wide as leaves registers for tiles of so many numbers i, or
// wider where there are fewer.
template <class Real>
struct OuterPanels {
  Cut cut;
  Index count;
  OuterPanels(Index I, Index J, Index height)
      : cut(divide_up(J, lanes<Real>), widest_for(I, J, height)), count(cut.count) {}
  static Index widest_for(Index I, Index J, Index height) {
    const Index vectors = divide_up(J, lanes<Real>), most = min_of(tile_side, tile_registers / min_of(I, height));
    return vectors == most + 1 && vectors * tuning::tile_rows <= tile_registers ? vectors : most;
  }
  Index column(Index p) const { return cut.begin(p) * lanes<Real>; }
  // The panel after the last that, from the p-th on, have so many columns.
  Index end_of(Index p, Index columns) const {
    Index end = p + 1;
    while (end < count && column(end + 1) - column(p) <= columns) ++end;
    return end;
  }
};

// Scratch for copies of what outer sums read: a strip of D, some panels of E.
template <class Real>
struct Copies {
  Real *strip, *panels;
  static constexpr Index size = sizeof(Real), columns = tuning::copied_bytes / (block * size);
  static Index strip_size(Index rows, Index widest) {
    return min_of(tuning::strip_bytes / size + block * (tuning::strip_tiles + 32), rows * (widest + 32));
  }
  static Index panels_size(Index rows, Index widest) {
    return rows * min_of(columns + tile_side * lanes<Real>, widest);
  }
};

// Copies some panels of E, one after the other, the rows of a panel next to each other. What lies `ahead` numbers on is
// prefetched, unless that is 0. Nothing beyond the last number of a row is read.
template <class Real>
void copy_panels(const Factor<Real>& E, Blocks blocks, const OuterPanels<Real>& panels, Index p0, Index p1, Index ahead,
                 Real* to) {
  for (Index p = p0; p < p1; ++p) {
    const Index j = panels.column(p), width = panels.column(p + 1) - j;
    for (Index r = blocks.ends[0]; r < blocks.ends[blocks.count]; ++r, to += width) {
      const Real* const e = E.rows(r) + j;
      if (j + width > E.n) copy_rows(e, 0, 1, E.n - j, to, 0);
      for (Index n = 0; j + width <= E.n && n < width; n += lanes<Real>) {
        if (ahead) prefetch_for_later(e + n + ahead);
        store(to + n, load<Vector<Real>>(e + n));
      }
    }
  }
}

template <class Real>
void copy_strip(Rows<const Real> D, Index I, Blocks blocks, Index ahead, Real* to, Index stride) {
  const Index from = blocks.ends[0], line = tuning::cache_line / Index{sizeof(Real)};
  for (Index r = from; r < blocks.ends[blocks.count]; ++r) {
    for (Index i = 0; ahead && i < I; i += line) prefetch_for_later(D(r) + i + ahead);
    copy_rows(D(r), 0, 1, I, to + (r - from) * stride, 0);
  }
}

// Copies numbers in whole vectors, if there are as many: the last of these overlaps the one before.
template <class Real>
void copy_row(const Real* from, Index count, Real* to) {
  if (count < lanes<Real>) return copy(from, count, to);
  for (Index n = 0; n + lanes<Real> <= count; n += lanes<Real>) store(to + n, load<Vector<Real>>(from + n));
  store(to + count - lanes<Real>, load<Vector<Real>>(from + count - lanes<Real>));
}

// out[i, j] = sum_r D[r, i] E[r, j], the gradient of a weight matrix, some blocks of rows r: in each an fma chain
// from +0, r ascending. The result starts as the first block that comes (the last in time, for the loop
// goes back) and the others are added. Rows of out are whole vectors, or have no padding.
template <class Real>
class OuterSum {
 public:
  OuterSum(const Factor<Real>& D, const Factor<Real>& E, Blocks blocks, bool first, Real* out, Index stride,
           const Copies<Real>& copies)
      : D(D),
        E(E),
        blocks(blocks),
        first(first),
        out(out),
        stride(stride),
        copies(copies),
        panels(D.n, E.n, height_for(blocks.rows())) {
    const Index rows = blocks.rows();
    strip = D.n <= tuning::strip_tiles ? tuning::strip_tiles : fitting_strip(rows);
    const bool few = rows <= tuning::few_rows;
    copies_D = !D.in_order(blocks) || (!few && panels.count > tuning::panels_worth_a_copy && D.is_scattered());
    copies_E =
        !E.in_order(blocks) || (!few && D.n > tuning::columns_worth_a_copy && E.is_scattered()) || !E.has_padding();
    before = {D.block_before(rows), E.block_before(rows)};
    const Index line = tuning::cache_line / Index{sizeof(Real)};
    ahead = {copies_D ? 0 : before.D ? before.D : line, copies_E ? 0 : before.E};  // or the next tiles' line
  }

  // A strip of D, of tiles of any height, stays in the L2 cache for all of E.
  void run(Look& look) const {
    for (Index p0 = 0, p1; p0 < panels.count; p0 = p1) {
      p1 = copies_E ? panels.end_of(p0, Copies<Real>::columns) : panels.count;
      if (copies_E) copy_panels(E, blocks, panels, p0, p1, before.E, copies.panels);
      for (Index i = 0; i < D.n; i += strip) {
        const Index I = min_of(strip, D.n - i);
        run_strip(i, I, p0, p1);
        const Index columns = panels.column(p1) - panels.column(p0);
        if (!look.after(2.0 * static_cast<double>(blocks.rows() * I * columns))) return;
      }
    }
  }

 private:
  // Sums of few rows take as long as it takes to write them: line after line, in tiles as low as fills registers.
  static constexpr Index lowest = tile_registers > tile_side ? tile_registers / tile_side : 1;
  static Index height_for(Index rows) { return rows <= tuning::few_rows ? lowest : tuning::outer_rows; }
  static Index fitting_strip(Index rows) {
    if (rows <= tuning::few_rows) return lowest;
    const Index fit = tuning::strip_bytes / (rows * Index{sizeof(Real)}) / tuning::strip_tiles;
    return max_of(1, fit) * tuning::strip_tiles;
  }

  void run_strip(Index i, Index I, Index p0, Index p1) const {
    const Index from = blocks.ends[0], rows = blocks.rows(), ld = rnncore::padded<Real>(I);
    Rows<const Real> d = D.unlisted(blocks).columns_from(i);
    if (copies_D) {
      copy_strip(D.rows.columns_from(i), I, blocks, before.D, copies.strip, ld);
      d = {copies.strip - from * ld, ld};
    }
    for (Index p = p0; p < p1; ++p) {
      const Index j = panels.column(p), width = panels.column(p + 1) - j;
      Rows<const Real> e = E.unlisted(blocks).columns_from(j);
      if (copies_E) e = {copies.panels + (j - panels.column(p0)) * rows - from * width, width};
      run_tiles(d, I, e, width / lanes<Real>, out + i * stride + j, E.n - j);
    }
  }

  // columns: how many there are from these on.
  void run_tiles(Rows<const Real> d, Index I, Rows<const Real> e, Index N, Real* to, Index columns) const {
    const Tiling tiling(I, N);
    const Index later = tiling.large * tiling.M;
    if (columns < N * lanes<Real> && stride % lanes<Real> != 0) return run_beside(tiling, d, I, e, to, columns);
    outer_tiles<Real>[tiling.M - 1][N - 1](d, tiling.large, e, blocks, ahead, first, to, stride);
    if (!tiling.small) return;
    const OuterTile<Real> run = outer_tiles<Real>[tiling.M - 2][N - 1];
    run(d.columns_from(later), tiling.small, e, blocks, {ahead.D, 0}, first, to + later * stride, stride);
  }

  // The last columns, where they do not fill vectors and rows have no padding: each tile is summed beside them.
  void run_beside(const Tiling& tiling, Rows<const Real> d, Index I, Rows<const Real> e, Real* to,
                  Index columns) const {
    Real tile[tile_registers * lanes<Real>] = {};
    const Index N = divide_up(columns, lanes<Real>), width = N * lanes<Real>;
    for (Index i = 0, M; i < I; i += M) {
      M = i < tiling.large * tiling.M ? tiling.M : tiling.M - 1;
      for (Index m = 0; !first && m < M; ++m) copy_row(to + (i + m) * stride, columns, tile + m * width);
      outer_tiles<Real>[M - 1][N - 1](d.columns_from(i), 1, e, blocks, {ahead.D, i ? 0 : ahead.E}, first, tile, width);
      for (Index m = 0; m < M; ++m) copy_row(tile + m * width, columns, to + (i + m) * stride);
    }
  }

  const Factor<Real>&D, &E;
  Blocks blocks;
  bool first, copies_D, copies_E;
  Real* out;
  Index stride, strip;
  const Copies<Real>& copies;
  OuterPanels<Real> panels;
  Ahead before, ahead;  // where the block before lies; what tiles prefetch, if they do not read copies
};

template <class Real>
void outer_sum(const Factor<Real>& D, const Factor<Real>& E, Blocks blocks, bool first, Real* out, Index stride,
               const Copies<Real>& copies, Look& look) {
  OuterSum<Real>(D, E, blocks, first, out, stride, copies).run(look);
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
// Compiled in loops.cpp.
extern template void row_sum(Rows<const float>, Index, Blocks, float*);
extern template void row_sum(Rows<const double>, Index, Blocks, double*);

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

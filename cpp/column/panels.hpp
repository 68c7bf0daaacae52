// Matrices as the kernels read them: rows with padding, and weights packed into panels.
#pragma once

#include "../tuning.hpp"
#include "arena.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using rnncore::padded;

constexpr Index block = 128;  // terms in one chain of fma; see docs/arithmetic.md

constexpr Index divide_up(Index n, Index by) { return (n + by - 1) / by; }

// So many vectors in as few panels as can be, of at most so many each. Panels differ by at most one vector, so that no
// tile is much narrower than the others.
struct Cut {
  Index vectors, count, least, larger;  // the first `larger` panels have one vector more than `least`

  Cut(Index vectors, Index most) : vectors(vectors), count(vectors > 0), least(vectors), larger(0) {
    if (vectors <= most) return;
    count = divide_up(vectors, most), least = vectors / count, larger = vectors - least * count;
  }
  Index begin(Index p) const { return p * least + min_of(p, larger); }
  Index widest() const { return least + (larger > 0); }
};

// The list of rows that follow each other.
constexpr int64_t first_numbers[tuning::tile_side] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

// Rows of a matrix: the i-th is the one with the number index[i], or simply i.
template <class Real>
struct Rows {
  Real* at;
  Index stride;
  const int64_t* index = nullptr;
  RNNCORE_INLINE Real* operator()(Index i) const { return at + (index ? index[i] : i) * stride; }

  // The rows from the i-th on, and the same rows from their j-th number on.
  Rows from(Index i) const { return index ? Rows{at, stride, index + i} : Rows{at + i * stride, stride}; }
  Rows columns_from(Index j) const { return {at + j, stride, index}; }
  // Those from the i-th on with a list in any case, for a tile: to look at it takes less than to ask whether there is
  // one.
  RNNCORE_INLINE Rows listed(Index i) const {
    return index ? Rows{at, stride, index + i} : Rows{at + i * stride, stride, first_numbers};
  }
  RNNCORE_INLINE Real* by_list(Index i) const { return at + index[i] * stride; }
  operator Rows<const Real>() const { return {at, stride, index}; }
};

// Weights where they lie: W[n * stride + k] for outputs n and terms k, or W[k * stride + n]; and the numbers acc[n]
// from which their sums start, or null: +0.
template <class Real>
struct Weights {
  const Real *acc = nullptr, *W = nullptr;
  Index stride = 0;
  bool by_output = false;
};

// A weight matrix (gates * N, K) as the products read it: in panels of vectors of outputs; a panel holds the starts of
// its sums, then for every k its row of weights. The gates of a unit lie side by side, a vector of units of the first
// gate, the same units of the second, and so on, so that a panel has all that the cell needs of its units.
//
// Weights that are used a few times only are not packed: each use lays out a block of a panel, which stays in the
// cache.
template <class Real>
struct Panels {
  Real* at;  // all panels, or, for each thread, room for a block
  Index N, K;
  int gates;
  Cut cut;      // of vectors of units
  Index count;  // of panels
  bool packed;
  Index room = 0;  // numbers for a thread
  Weights<Real> weights{};

  // width: vectors of units that a panel has at most
  Panels(Real* at, Index N, Index K, int gates, Index width, bool packed)
      : at(at), N(N), K(K), gates(gates), cut(divide_up(N, lanes<Real>), width), count(cut.count), packed(packed) {}
  Panels() : Panels(nullptr, 0, 0, 1, 1, true) {}

  Index begin(Index panel) const { return cut.begin(panel); }
  Index column(Index panel) const { return begin(panel) * gates * lanes<Real>; }
  Real* panel(Index p) const { return at + column(p) * (K + 1); }
  Index widest() const { return cut.widest() * gates * lanes<Real>; }

  // The widest panel that leaves accumulators for as many rows as there are, up to a tile's.
  static Index best_width(Index rows, int gates) {
    using namespace tuning;
    const Index fit = rows >= tile_rows ? tile_registers / tile_rows : tile_registers / max_of(rows, 1);
    return max_of(1, min_of(fit, tile_side) / gates);
  }
};

// to[c * to_stride + r] = from[r * from_stride + c] for rows r and columns c. The last square of columns overlaps the
// one before.
template <class Real>
void transpose(const Real* from, Index from_stride, Index rows, Index columns, Real* to, Index to_stride) {
  constexpr Index side = lanes<Real>;
  const Index whole_rows = columns < side ? 0 : rows / side * side;
  for (Index r = 0; r < whole_rows; r += side)
    for (Index first = 0; first < columns; first += side) {
      const Index c = min_of(first, columns - side);
      Vector<Real> square[side];
      load_columns(from + r * from_stride + c, from_stride, square);
      RNNCORE_UNROLL for (int i = 0; i < side; ++i) store(to + (c + i) * to_stride + r, square[i]);
    }
  for (Index r = whole_rows; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
}

// to[k * to_stride + n] = from[k * from_stride + n] for rows k and columns n, and +0 up to the end of a vector.
template <class Real>
void copy_rows(const Real* from, Index from_stride, Index rows, Index columns, Real* to, Index to_stride) {
  const Index whole = columns / lanes<Real> * lanes<Real>;
  const size_t rest = static_cast<size_t>(columns - whole) * sizeof(Real);
  for (Index k = 0; k < rows; ++k, from += from_stride, to += to_stride) {
    for (Index n = 0; n < whole; n += lanes<Real>) store(to + n, load<Vector<Real>>(from + n));
    if (!rest) continue;
    store(to + whole, Vector<Real>{});
    memcpy(to + whole, from + whole, rest);
  }
}

// Some of the panels.
struct PanelRange {
  Index begin, end;
  // The i-th of [begin, end), or, if so wanted, the i-th from the last.
  Index at(Index i, bool from_last) const { return from_last ? end - 1 - (i - begin) : i; }
};

// Calls f(n, count, at) for each vector of outputs of a panel, gate by gate of its units: the first of them, how many
// exist, and where in a row of the panel they lie.
template <class Real, class Function>
void each_vector(const Panels<Real>& panels, Index p, Function f) {
  const Index N = panels.N;
  Index at = 0;
  for (Index unit = panels.begin(p) * lanes<Real>; unit < panels.begin(p + 1) * lanes<Real>; unit += lanes<Real>)
    for (Index gate = 0; gate < panels.gates; ++gate, at += lanes<Real>)
      f(gate * N + unit, N - unit < lanes<Real> ? N - unit : lanes<Real>, at);
}

// The starts of a panel's sums. Lanes beyond N hold +0, here and in the rows.
template <class Real>
void lay_out_starts(const Panels<Real>& panels, Index p, Real* to) {
  each_vector(panels, p, [&](Index n, Index count, Index at) {
    store(to + at, Vector<Real>{});
    if (panels.weights.acc) memcpy(to + at, panels.weights.acc + n, static_cast<size_t>(count) * sizeof(Real));
  });
}

// Rows of a panel from the k-th on.
template <class Real>
void lay_out_rows(const Panels<Real>& panels, Index p, Index k, Index terms, Real* to) {
  const Weights<Real>& from = panels.weights;
  const Index width = panels.column(p + 1) - panels.column(p), first = panels.begin(p) * lanes<Real>;
  if (!from.by_output && panels.gates == 1)
    return copy_rows(from.W + k * from.stride + first, from.stride, terms, min_of(width, panels.N - first), to, width);
  each_vector(panels, p, [&](Index n, Index count, Index at) {
    if (!from.by_output) return copy_rows(from.W + k * from.stride + n, from.stride, terms, count, to + at, width);
    for (Index i = 0; count < lanes<Real> && i < terms; ++i) store(to + i * width + at, Vector<Real>{});
    transpose(from.W + n * from.stride + k, from.stride, count, terms, to + at, width);
  });
}

// Packs one of several parts of the panels, if they are to be packed.
template <class Real>
void pack(const Panels<Real>& panels, int part, int parts) {
  const Index begin = panels.count * part / parts, end = panels.count * (part + 1) / parts;
  for (Index p = begin; panels.packed && p < end; ++p) {
    Real* const at = panels.panel(p);
    lay_out_starts(panels, p, at);
    lay_out_rows(panels, p, 0, panels.K, at + panels.column(p + 1) - panels.column(p));
  }
}

template <class Real>
Panels<Real> take_panels(Arena& arena, Index N, Index K, int gates, Index width) {
  Panels<Real> panels(nullptr, N, K, gates, width, true);
  panels.at = arena.take<Real>(panels.column(panels.count) * (K + 1));
  return panels;
}
// How panels are used: by products of so many rows, so many times, by so many threads.
struct Use {
  Index rows, times;
  int threads;
};
// Whether weights lie beyond the L2 cache, or would leave too little of it.
template <class Real>
bool are_far(Index N, Index K, int gates) {
  return N * gates * K * Index{sizeof(Real)} > tuning::chosen.far_weights_bytes;
}
// Up to how many uses weights are not packed: few rows read them where they lie, in whole vectors.
template <class Real>
Index uses_worth_packing(Index N, Index K, Index rows, int gates) {
  if (rows > tuning::rows_in_place || N % lanes<Real> != 0) return tuning::uses_worth_packing;
  return are_far<Real>(N, K, gates) ? tuning::uses_of_far_weights : tuning::uses_in_place;
}
template <class Real>
Panels<Real> fit_panels(Arena& arena, Index N, Index K, Use use, int gates = 1) {
  const Index width = N > 0 ? Panels<Real>::best_width(use.rows, gates) : 1;
  if (use.times > uses_worth_packing<Real>(N, K, use.rows, gates)) return take_panels<Real>(arena, N, K, gates, width);
  const Index most = use.rows > tuning::rows_in_place ? max_of(1, tuning::block_vectors / gates) : width;
  Panels<Real> panels(nullptr, N, K, gates, min_of(width, most), false);
  panels.room = panels.widest() * (block + 1);
  panels.at = arena.take<Real>(use.threads * panels.room);
  return panels;
}

}  // namespace rnncore::RNNCORE_ISA::linear

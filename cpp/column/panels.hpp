// Matrices as the kernels read them: rows with padding, and weights packed into panels.
#pragma once

#include "../tuning.hpp"
#include "arena.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using rnncore::padded;

constexpr Index divide_up(Index n, Index by) { return (n + by - 1) / by; }

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
  // The widest panel that leaves accumulators for as many rows as there are, up to a tile's.
  static Index best_width(Index rows, int gates) {
    using namespace tuning;
    const Index fit = tile_registers / (rows < 1 ? 1 : rows < tile_rows ? rows : tile_rows);
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

template <class Real>
Panels<Real> take_panels(Arena& arena, Index N, Index K, int gates, Index width) {
  return {arena.take<Real>(Panels<Real>::size(N, K, gates)), N, K, gates, width};
}
// Panels for products of so many rows.
template <class Real>
Panels<Real> fit_panels(Arena& arena, Index N, Index K, Index rows, int gates = 1) {
  return take_panels<Real>(arena, N, K, gates, Panels<Real>::best_width(rows, gates));
}

// The part of the panels that is a thread's to pack.
template <class Real>
PanelRange part_of(const Panels<Real>& W, int part, int parts) {
  return {W.count * part / parts, W.count * (part + 1) / parts};
}

}  // namespace rnncore::RNNCORE_ISA::linear

// The cells that there are, and how each one's step runs over rows and their units.
#pragma once

#include "gru.hpp"
#include "gru_reset_before.hpp"
#include "linear.hpp"
#include "lstm.hpp"
#include "rnn.hpp"
#include "rnn_relu.hpp"

namespace rnncore::RNNCORE_ISA::cells {

using linear::Rows;

// Numbers of several kinds for each unit, in rows: at(n, k, j) is where the k-th kind lies for the vector of units that
// begins with the j-th.
template <class Real>
struct Fields {
  Rows<Real> rows;
  Index kind, unit;

  // One kind after the other, each in P numbers for all units.
  static Fields planar(Rows<Real> rows, Index P) { return {rows, P, 1}; }
  // All kinds of a vector of units side by side: what a step needs of far memory then comes in one run.
  static Fields interleaved(Rows<Real> rows, int kinds) { return {rows, lanes<Real>, kinds}; }

  RNNCORE_INLINE Real* at(Index n, Index k, Index j) const { return rows(n) + k * kind + j * unit; }
  operator Fields<const Real>() const { return {rows, kind, unit}; }
};

// One step: its rows, by their numbers [first, last) in a span, and of their units [begin, end), begin being the first
// of a vector. In a and u the gates of a unit lie side by side, as the panels have them (panels.hpp); in da and du one
// after the other, each for all units, as in W_hh.
template <class Real>
struct Step {
  Index first, last, begin, end;
  Index H;
  Rows<const Real> h_prev;         // the state h before
  Fields<const Real> others_prev;  // the other states before

  // forward
  Rows<const Real> a, u, u_after_reset;  // u: of the gates before the reset
  Rows<Real> h;                          // the new one
  Fields<Real> kept;                     // the other new states and what is saved

  // back
  Rows<const Real> h_now;                  // h and kept, as forward left them
  Fields<const Real> kept_now, kept_prev;  // kept_prev: of the step before, whose turn is next
  Rows<const Real> dh, dq;
  Fields<Real> dothers;      // gradients with respect to the other states: the new ones, then those before
  Rows<Real> da, du, dprev;  // dprev: with respect to h_prev, as far as it does not come through u
};

// The gates of a unit: all of a, and of u those before the reset, and those after it if they are there yet.
template <class Cell, class Real>
RNNCORE_INLINE void load_gates(const Step<Real>& step, Index n, Index j, bool all, Vector<Real>* a, Vector<Real>* u) {
  using V = Vector<Real>;
  constexpr int gates = Cell::shape.gates, before = Cell::shape.gates_before_reset(), after = gates - before;
  const Real *const a_n = step.a(n) + j * gates, *const u_n = step.u(n) + j * before;
  RNNCORE_UNROLL for (int g = 0; g < gates; ++g) a[g] = load<V>(a_n + g * lanes<Real>);
  RNNCORE_UNROLL for (int g = 0; g < before; ++g) u[g] = load<V>(u_n + g * lanes<Real>);
  if (!all) return;
  RNNCORE_UNROLL for (int g = 0; g < after; ++g) u[before + g] =
      load<V>(step.u_after_reset(n) + j * after + g * lanes<Real>);
}

// The states of a unit, h and the others.
template <class Cell, class Real>
RNNCORE_INLINE void load_states(Rows<const Real> h, const Fields<const Real>& others, Index n, Index j,
                                Vector<Real>* state) {
  state[0] = load<Vector<Real>>(h(n) + j);
  RNNCORE_UNROLL for (int k = 1; k < Cell::shape.states; ++k) state[k] = load<Vector<Real>>(others.at(n, k - 1, j));
}

// All that backward is given of a unit but dq.
template <class Cell, class Real>
RNNCORE_INLINE void load_back(const Step<Real>& step, Index n, Index j, Vector<Real>* dstate, Vector<Real>* state,
                              Vector<Real>* saved, Vector<Real>* prev) {
  constexpr CellShape shape = Cell::shape;
  load_states<Cell>(step.dh, Fields<const Real>(step.dothers), n, j, dstate);
  load_states<Cell>(step.h_now, step.kept_now, n, j, state);
  load_states<Cell>(step.h_prev, step.others_prev, n, j, prev);
  RNNCORE_UNROLL for (int k = 0; k < shape.saved; ++k) saved[k] =
      load<Vector<Real>>(step.kept_now.at(n, shape.states - 1 + k, j));
}

// Prefetches what the tape has of a vector of units: it may lie in far memory, and the processor foresees only runs.
template <class Cell, class Real>
RNNCORE_INLINE void prefetch_kept(const Fields<Real>& kept, Index n, Index j) {
  for (int k = 0; k < Cell::shape.kept(); ++k) prefetch<vector_bytes>(kept.at(n, k, j));
}

// The vector of units that begins with the j-th, of one gate, in a row of all gates; nothing beyond the last unit.
template <class Real>
RNNCORE_INLINE void store_gate(Real* row, Index gate, Index H, Index j, Vector<Real> v) {
  if (H - j < lanes<Real>)
    store_first(row + gate * H + j, v, H - j);
  else
    store(row + gate * H + j, v);
}

// A copy of the step, here and in backward, that is known to the compiler to be changed by no store.
template <class Cell, class Real>
void forward(const Step<Real>& given) {
  const Step<Real> step = given;
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n) {
    const bool ahead = n + tuning::tape_rows_ahead < step.last;
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V a[most_gates], u[most_gates], prev[most_states], state[most_states], saved[most_saved];
      if (ahead) prefetch_kept<Cell>(step.kept, n + tuning::tape_rows_ahead, j);
      load_gates<Cell>(step, n, j, true, a, u);
      load_states<Cell>(step.h_prev, step.others_prev, n, j, prev);
      Cell::forward(a, u, prev, state, saved);
      store(step.h(n) + j, state[0]);
      RNNCORE_UNROLL for (int k = 1; k < shape.states; ++k) store(step.kept.at(n, k - 1, j), state[k]);
      RNNCORE_UNROLL for (int k = 0; k < shape.saved; ++k) store(step.kept.at(n, shape.states - 1 + k, j), saved[k]);
    }
  }
}

// Gradients with respect to the other states are replaced by those with respect to the states before.
template <class Cell, class Real>
void backward(const Step<Real>& given) {
  const Step<Real> step = given;
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n) {
    Real *const da_n = step.da(n), *const du_n = step.du(n);
    const bool ahead = n + tuning::tape_rows_ahead < step.last;
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V dstate[most_states + 1], state[most_states], saved[most_saved], prev[most_states];
      V da[most_gates], du[most_gates], dprev[most_states];
      if (ahead) prefetch_kept<Cell>(step.kept_prev, n + tuning::tape_rows_ahead, j);
      load_back<Cell>(step, n, j, dstate, state, saved, prev);
      if constexpr (shape.gates_after_reset > 0) dstate[shape.states] = load<V>(step.dq(n) + j);
      Cell::backward(dstate, state, saved, prev, da, du, dprev);
      RNNCORE_UNROLL for (int g = 0; g < shape.gates; ++g) {
        store_gate(da_n, g, step.H, j, da[g]);
        if constexpr (Cell::splits) store_gate(du_n, g, step.H, j, du[g]);
      }
      if constexpr (Cell::passes) store(step.dprev(n) + j, dprev[0]);
      RNNCORE_UNROLL for (int k = 1; k < shape.states; ++k) store(step.dothers.at(n, k - 1, j), dprev[k]);
    }
  }
}

// q, which the gates after the reset read: the last of what is saved.
template <class Cell, class Real>
void reset(const Step<Real>& step) {
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n)
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V a[most_gates], u[most_gates], prev[most_states];
      load_gates<Cell>(step, n, j, false, a, u);
      load_states<Cell>(step.h_prev, step.others_prev, n, j, prev);
      store(step.kept.at(n, shape.kept() - 1, j), Cell::reset(a, u, prev));
    }
}

// du of the gate after the reset.
template <class Cell, class Real>
void reset_backward(const Step<Real>& step) {
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n)
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V dstate[most_states], state[most_states], saved[most_saved], prev[most_states];
      load_back<Cell>(step, n, j, dstate, state, saved, prev);
      store_gate(step.du(n), shape.gates - 1, step.H, j, Cell::reset_backward(dstate, state, saved, prev));
    }
}

// A cell as the loop through time needs it; reset and reset_backward are null if no gate reads q.
template <class Real>
struct Cell {
  CellShape shape;
  bool splits, passes;
  void (*forward)(const Step<Real>&);
  void (*backward)(const Step<Real>&);
  void (*reset)(const Step<Real>&);
  void (*reset_backward)(const Step<Real>&);
};

// In the order of rnncore/cells.py.
#define RNNCORE_CELLS(row) row(Rnn), row(RnnRelu), row(Lstm), row(Gru), row(GruResetBefore)

#define RNNCORE_SHAPE(C) C::shape
constexpr CellShape shapes[] = {RNNCORE_CELLS(RNNCORE_SHAPE)};
#undef RNNCORE_SHAPE

// The same, with their loops: loops.cpp has them.
template <class Real>
struct Cells {
  static const Cell<Real> table[sizeof(shapes) / sizeof(CellShape)];
};
extern template struct Cells<float>;
extern template struct Cells<double>;

}  // namespace rnncore::RNNCORE_ISA::cells

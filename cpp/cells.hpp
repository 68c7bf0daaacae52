// The cells that there are, and how each one's step runs over rows and their units.
#pragma once

#include "gru.hpp"
#include "gru_reset_before.hpp"
#include "linear.hpp"
#include "lstm.hpp"
#include "rnn.hpp"
#include "rnn_relu.hpp"

namespace rnncore::RNNCORE_ISA::cells {

using linear::Index;
using linear::Rows;

// One step: its rows, by their numbers [first, last) in the list of a chunk of time, and of their units [begin, end),
// begin being the first of a vector. In a and u the gates of a unit lie side by side, as the panels have them
// (linear.hpp); in da and du one after the other, each for all units, as in W_hh. P is tape_width(H).
template <class Real>
struct Step {
  Index first, last, begin, end;
  Index H, P;
  Rows<const Real> h_prev, others_prev;  // the states before: h, and the others, each in a row of P

  // forward
  Rows<const Real> a, u, u_late;  // u: of the gates that are not late
  Rows<Real> h, kept;             // the new h; the other states and what is saved, each in a row of P

  // back
  Rows<const Real> h_now, kept_now;  // h and kept, as forward left them
  Rows<const Real> dh, dq;
  Rows<Real> dothers;        // dJ by the other states, each in a row of P: by the new ones, then by those before
  Rows<Real> da, du, dprev;  // dprev: dJ by h_prev, as far as it does not come through u
};

// The gates of a unit: all of a, and of u what is not late, and what is, if it is there yet.
template <class Cell, class Real>
RNNCORE_INLINE void load_gates(const Step<Real>& step, Index n, Index j, bool late_too, Vector<Real>* a,
                               Vector<Real>* u) {
  using V = Vector<Real>;
  constexpr int gates = Cell::shape.gates, late = Cell::shape.late, early = gates - late;
  const Real *const a_n = step.a(n) + j * gates, *const u_n = step.u(n) + j * early;
  RNNCORE_UNROLL for (int g = 0; g < gates; ++g) a[g] = load<V>(a_n + g * lanes<Real>);
  RNNCORE_UNROLL for (int g = 0; g < early; ++g) u[g] = load<V>(u_n + g * lanes<Real>);
  if (!late_too) return;
  RNNCORE_UNROLL for (int g = 0; g < late; ++g) u[early + g] = load<V>(step.u_late(n) + j * late + g * lanes<Real>);
}

// The states of a unit, h and the others.
template <class Cell, class Real>
RNNCORE_INLINE void load_states(const Real* h, const Real* others, Index P, Index j, Vector<Real>* state) {
  using V = Vector<Real>;
  state[0] = load<V>(h + j);
  RNNCORE_UNROLL for (int k = 1; k < Cell::shape.states; ++k) state[k] = load<V>(others + (k - 1) * P + j);
}

// What backward is given of a unit but dq.
template <class Cell, class Real>
RNNCORE_INLINE void load_back(const Step<Real>& step, Index n, Index j, Vector<Real>* dstate, Vector<Real>* state,
                              Vector<Real>* saved, Vector<Real>* prev) {
  constexpr CellShape shape = Cell::shape;
  const Real *const others = shape.states > 1 ? step.dothers(n) : nullptr,
                    *const others_prev = shape.states > 1 ? step.others_prev(n) : nullptr,
                    *const kept = shape.kept() > 0 ? step.kept_now(n) : nullptr;
  load_states<Cell>(step.dh(n), others, step.P, j, dstate);
  load_states<Cell>(step.h_now(n), kept, step.P, j, state);
  load_states<Cell>(step.h_prev(n), others_prev, step.P, j, prev);
  RNNCORE_UNROLL for (int k = 0; k < shape.saved; ++k) saved[k] =
      load<Vector<Real>>(kept + (shape.states - 1 + k) * step.P + j);
}

// The vector of units that begins with the j-th, of one gate, in a row of all gates; nothing beyond the last unit.
template <class Real>
RNNCORE_INLINE void store_gate(Real* row, Index gate, Index H, Index j, Vector<Real> v) {
  if (H - j < lanes<Real>)
    store_first(row + gate * H + j, v, H - j);
  else
    store(row + gate * H + j, v);
}

template <class Cell, class Real>
void forward(const Step<Real>& step) {
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n) {
    Real *const h = step.h(n), *const kept = shape.kept() > 0 ? step.kept(n) : nullptr;
    const Real* const others_prev = shape.states > 1 ? step.others_prev(n) : nullptr;
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V a[most_gates], u[most_gates], prev[most_states], state[most_states], saved[most_saved];
      load_gates<Cell>(step, n, j, true, a, u);
      load_states<Cell>(step.h_prev(n), others_prev, step.P, j, prev);
      Cell::forward(a, u, prev, state, saved);
      store(h + j, state[0]);
      RNNCORE_UNROLL for (int k = 1; k < shape.states; ++k) store(kept + (k - 1) * step.P + j, state[k]);
      RNNCORE_UNROLL for (int k = 0; k < shape.saved; ++k) store(kept + (shape.states - 1 + k) * step.P + j, saved[k]);
    }
  }
}

// dJ by the other states is replaced by that by those before.
template <class Cell, class Real>
void backward(const Step<Real>& step) {
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n) {
    Real *const da_n = step.da(n), *const du_n = step.du(n);
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V dstate[most_states + 1], state[most_states], saved[most_saved], prev[most_states];
      V da[most_gates], du[most_gates], dprev[most_states];
      load_back<Cell>(step, n, j, dstate, state, saved, prev);
      if constexpr (shape.late > 0) dstate[shape.states] = load<V>(step.dq(n) + j);
      Cell::backward(dstate, state, saved, prev, da, du, dprev);
      RNNCORE_UNROLL for (int g = 0; g < shape.gates; ++g) {
        store_gate(da_n, g, step.H, j, da[g]);
        if constexpr (Cell::splits) store_gate(du_n, g, step.H, j, du[g]);
      }
      if constexpr (Cell::passes) store(step.dprev(n) + j, dprev[0]);
      RNNCORE_UNROLL for (int k = 1; k < shape.states; ++k) store(step.dothers(n) + (k - 1) * step.P + j, dprev[k]);
    }
  }
}

// What the late gates read, which is the last of what is saved.
template <class Cell, class Real>
void reset(const Step<Real>& step) {
  using V = Vector<Real>;
  constexpr CellShape shape = Cell::shape;
  for (Index n = step.first; n < step.last; ++n)
    for (Index j = step.begin; j < step.end; j += lanes<Real>) {
      V a[most_gates], u[most_gates], prev[most_states];
      load_gates<Cell>(step, n, j, false, a, u);
      load_states<Cell>(step.h_prev(n), static_cast<const Real*>(nullptr), step.P, j, prev);
      store(step.kept(n) + (shape.kept() - 1) * step.P + j, Cell::reset(a, u, prev));
    }
}

// du of the late gate.
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

// A cell as the loop through time needs it; reset and reset_backward are null if no gate is late.
template <class Real>
struct Cell {
  CellShape shape;
  bool splits, passes;
  void (*forward)(const Step<Real>&);
  void (*backward)(const Step<Real>&);
  void (*reset)(const Step<Real>&);
  void (*reset_backward)(const Step<Real>&);

  int early() const { return shape.gates - shape.late; }
};

template <class C, class Real>
constexpr Cell<Real> cell() {
  static_assert(C::shape.gates <= most_gates && C::shape.states <= most_states && C::shape.saved <= most_saved);
  if constexpr (C::shape.late > 0)
    return {
        C::shape, C::splits, C::passes, forward<C, Real>, backward<C, Real>, reset<C, Real>, reset_backward<C, Real>};
  else
    return {C::shape, C::splits, C::passes, forward<C, Real>, backward<C, Real>, nullptr, nullptr};
}

// In the order of rnncore/cells.py.
#define RNNCORE_CELLS(row) row(Rnn), row(RnnRelu), row(Lstm), row(Gru), row(GruResetBefore)

#define RNNCORE_SHAPE(C) C::shape
#define RNNCORE_CELL(C) cell<C, Real>()
constexpr CellShape shapes[] = {RNNCORE_CELLS(RNNCORE_SHAPE)};
template <class Real>
constexpr Cell<Real> table[] = {RNNCORE_CELLS(RNNCORE_CELL)};
#undef RNNCORE_SHAPE
#undef RNNCORE_CELL
#undef RNNCORE_CELLS

}  // namespace rnncore::RNNCORE_ISA::cells

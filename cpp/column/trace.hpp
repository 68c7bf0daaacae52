// What all passes over a layer share: its sizes, and what the way forward leaves for the way back.
#pragma once

#include "cells.hpp"
#include "span.hpp"

namespace rnncore::RNNCORE_ISA::layer {

using linear::Panels;
using linear::Use;

template <class Real>
struct Sizes {
  const cells::Cell<Real>& cell;
  Index B, X, H, G, P;       // G: of all gates of a step; P: of the tape, whole_vectors(H)
  Index ldX, ldH, ldA, ldG;  // ldA: of a, whole vectors of each gate; ldG: of da and du

  Sizes(const Net& net, Index B) : cell(cells::Cells<Real>::table[net.cell]), B(B), X(net.X), H(net.H), G(net.G()) {
    P = whole_vectors(H);
    ldX = linear::padded<Real>(X), ldH = linear::padded<Real>(H), ldG = linear::padded<Real>(G);
    ldA = linear::padded<Real>(shape().gates * linear::divide_up(H, lanes<Real>) * lanes<Real>);
  }
  const CellShape& shape() const { return cell.shape; }
  Index other_states() const { return shape().states - 1; }
  Index others_row() const { return other_states() * P; }
  Index tape_row() const { return shape().kept() * P; }
  // Where q lies in a row of the tape.
  Index q_at() const { return tape_row() - P; }
  Index G_before_reset() const { return shape().gates_before_reset() * H; }
};

// Where the rows of a step lie whose numbers begin with `first`: the Rows of an array of which `row` is the first.
struct Place {
  Index first;
  template <class Real>
  Rows<Real> of(Real* at, Index stride, Index row) const {
    return {at + (row - first) * stride, stride};
  }
};

// What the way forward leaves for the way back: by rows, but h in the order of places, in which it is summed, and
// before it the initial states by positions.
template <class Real>
struct Trace {
  using Fields = cells::Fields<Real>;
  const Sizes<Real>& n;
  bool interleaved;  // on a tape of our own, all kinds of a vector of units lie side by side, but for q
  bool resets;
  Real *h, *others;  // (B + N, ldH): h_0, then h_t, and behind them zeros; (B, S - 1, P): the other initial states
  Real* tape;        // (N, K P)

  Trace(Arena& arena, const Sizes<Real>& n, const Steps& steps, bool own_tape)
      : n(n), interleaved(own_tape && !n.shape().gates_after_reset), resets(steps.resets) {
    const Index rows = n.B + steps.count;
    h = arena.take<Real>((rows + (resets ? 1 : 0)) * n.ldH);
    if (arena.at && resets) fill(h + rows * n.ldH, n.ldH, Real(0));
    others = arena.take<Real>(n.B * n.others_row());
    tape = arena.take<Real>(own_tape ? steps.count * n.tape_row() : 0);
  }

  // h after step t, and before it, by the numbers of a span.
  Rows<Real> h_of(const Span& span, Index t) const {
    return span.step_by_rank(h + n.B * n.ldH, n.ldH, t, span.first(t));
  }
  Rows<Real> h_before(const Span& span, Index t) const {
    const Index first = span.first(t);
    if (t == 0) return Place{first}.of(h, n.ldH, span.p0);
    return span.step_by_rank(h + n.B * n.ldH, n.ldH, t - 1, first);
  }
  Real* h_at(const Steps& steps, Index row) const { return h + (n.B + steps.rank_of(row)) * n.ldH; }

  Fields fields(Rows<Real> rows) const {
    return interleaved ? Fields::interleaved(rows, n.shape().kept()) : Fields::planar(rows, n.P);
  }

  // The initial states, from the user's order.
  void put_state(const Steps& steps, const States<const Real>& state) const {
    fill(others, n.B * n.others_row(), Real(0));
    for (Index s = 0; s < n.shape().states; ++s)
      for (Index p = 0; p < n.B; ++p) {
        Real* const to = s == 0 ? h + p * n.ldH : others + p * n.others_row() + (s - 1) * n.P;
        if (state.each[s]) copy(state.each[s] + steps.sequence(p) * n.H, n.H, to);
        if (s == 0 && state.each[s]) fill(to + n.H, n.ldH - n.H, Real(0));
        if (s == 0 && !state.each[s]) fill(to, n.ldH, Real(0));
      }
  }

  // h as forward gave it to the user, of the sequences that are asked for.
  void put_h(const Steps& steps, Strided<const Real> given, const Each& each) const {
    const auto put = [&](Index row) {
      Real* const to = h_at(steps, row);
      copy(given.at + steps.address_of(row) * given.stride, n.H, to), fill(to + n.H, n.ldH - n.H, Real(0));
    };
    for (Index row = 0; !each.row && row < steps.count; ++row) put(row);
    for (Index p = 0; each.row && p < steps.B; ++p)
      for (Index b = steps.sequence(p), t = 0; each.has(b) && t < steps.length(b); ++t) put(steps.row(t) + p);
  }

  // The last states, in the user's order: of a sequence without steps, the initial ones.
  void take_state(const Steps& steps, const States<Real>& last) const {
    for (Index p = 0; p < n.B; ++p) {
      const Index b = steps.sequence(p), length = steps.length(b), row = length ? steps.row(length - 1) + p : 0;
      copy(length ? h_at(steps, row) : h + p * n.ldH, n.H, last.each[0] + b * n.H);
      const Fields there = length ? fields({tape, n.tape_row()}) : Fields::planar({others, n.others_row()}, n.P);
      for (Index s = 0; s < n.other_states(); ++s)
        for (Index j = 0; j < n.H; j += lanes<Real>)
          copy(there.at(length ? row : p, s, j), min_of(n.H - j, lanes<Real>), last.each[s + 1] + b * n.H + j);
    }
  }

  // The states after the first step take the place of the initial ones.
  void go_on() const {
    copy(h + n.B * n.ldH, n.B * n.ldH, h);
    for (Index b = 0; b < n.B; ++b) copy(tape + b * n.tape_row(), n.others_row(), others + b * n.others_row());
  }

  // Both ways: takes a step to t: its rows, and the tape of the step before.
  void go_to(cells::Step<Real>& step, const Span& span, Index t) const {
    step.first = span.first(t), step.last = span.first(t + 1);
    const Place place{step.first};
    step.kept_prev = fields(place.of(tape, n.tape_row(), t > 0 ? span.row(t - 1) : span.row(t)));
    step.others_prev = t > 0 ? step.kept_prev : Fields::planar(place.of(others, n.others_row(), span.p0), n.P);
  }
};

// Where da and du lie: all of them, for the weights' gradients to come, or those of the chunk that is being summed; in
// the order of places, in which they are summed, or by rows in memory of the caller's.
template <class Real>
struct GateGradients {
  Real *da, *du;  // du is da unless the cell splits
  Index ld;
  bool all, by_row;
  Index shared_rows;  // as Limits has it: while some threads sum a chunk, others may be at the next

  Rows<Real> of(Real* at, const Span& span) const {
    Real* const first = at - first_row(span.steps.row(span.t0)) * ld;
    return by_row ? span.by_row(first, ld) : span.by_rank(first, ld);
  }
  Rows<const Real> of(const Real* at, const SumRows& rows) const {
    const Real* const first = at - first_row(rows.row0) * ld;
    return by_row ? rows.by_row(first, ld) : rows.by_rank(first, ld);
  }
  // Those of one step of a span. By rows they lie one after the other, and need no list.
  Rows<Real> of_step(Rows<Real> of_span, const Span& span, Index t) const {
    const bool listed = of_span.index && (by_row || !span.ranks);
    return listed ? Place{span.first(t)}.of(of_span.at, ld, span.row(t)) : of_span;
  }

 private:
  // The row that lies at the beginning of the memory, of a chunk that begins with this one.
  Index first_row(Index row) const {
    const bool is_odd = shared_rows && row / shared_rows % 2 != 0;
    return all ? 0 : is_odd ? row - shared_rows : row;
  }
};

// Some units, in whole panels of weights, and where those of a panel end.
template <class Real>
struct Units {
  linear::PanelRange panels;
  Index begin, end;

  Units(const Panels<Real>& W, const Share& share)
      : panels{share.from(W.count), share.to(W.count)},
        begin(W.begin(panels.begin) * lanes<Real>),
        end(end_of(W, panels.end - 1)) {}
  static Index end_of(const Panels<Real>& W, Index p) { return min_of(W.begin(p + 1) * lanes<Real>, W.N); }
};

}  // namespace rnncore::RNNCORE_ISA::layer

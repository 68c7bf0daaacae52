// What resets within a sequence change: the states before a step, and where what is carried back ends.
#pragma once

#include "trace.hpp"

namespace rnncore::RNNCORE_ISA::layer {

template <class Real>
struct Resets {
  using V = Vector<Real>;
  using Fields = cells::Fields<Real>;
  const Trace<Real>& trace;
  const bool* given;  // null: there are none, and nothing is to be done
  Index zeros, most;  // the row of zeros in trace.h; the rows of a step
  int64_t* before;    // (threads, most): of each row of a step, the row of h before
  Real* others;       // (B, S - 1, P), by positions: the other states before

  Resets(Arena& arena, const Trace<Real>& trace, const Steps& steps, Limits limits)
      : trace(trace), given(steps.resets), zeros(trace.n.B + steps.count), most(given ? limits.rows : 0) {
    before = arena.take<int64_t>(limits.threads * most);
    others = arena.take<Real>(given ? trace.n.B * trace.n.others_row() : 0);
  }

  // Gives a step the states before it, of some units, where any sequence is reset; returns whether one is.
  bool take(cells::Step<Real>& step, const Span& span, Index t, const Share& share, const Units<Real>& units) const {
    const bool* const resets = at(step, span, t);
    if (!resets) return false;
    const Sizes<Real>& n = trace.n;
    int64_t* const list = before + share.thread * most;
    const Rows<Real> to = Place{step.first}.of(others, n.others_row(), span.p0);
    const Fields own = Fields::planar(to, n.P);
    for (Index i = step.first; i < step.last; ++i) {
      const bool is_reset = resets[i - step.first];
      list[i - step.first] = is_reset ? zeros : span.row_before(t) + i - step.first;
      for (Index k = 0; k < n.other_states(); ++k)
        for (Index j = units.begin; j < units.end; j += lanes<Real>)
          store(own.at(i, k, j), is_reset ? V{} : load<V>(step.others_prev.at(i, k, j)));
    }
    step.h_prev = {trace.h, n.ldH, list - step.first};
    step.others_prev = own;
    return true;
  }

  // Carries nothing back, which is -0, from sequences that are reset; +0 if that is where they begin.
  void end(const cells::Step<Real>& step, const Span& span, Index t, Rows<Real> through_h) const {
    const bool* const resets = at(step, span, t);
    const Real nothing = t > 0 ? Real(-0.0) : Real(0);
    for (Index i = step.first; resets && i < step.last; ++i) {
      if (!resets[i - step.first]) continue;
      fill(through_h(i) + step.begin, step.end - step.begin, nothing);
      for (Index k = 0; k < trace.n.other_states(); ++k)
        fill(step.dothers.at(i, k, step.begin), step.end - step.begin, nothing);
    }
  }

 private:
  // The resets of a step, or null if none of its sequences is reset.
  const bool* at(const cells::Step<Real>& step, const Span& span, Index t) const {
    const bool* const resets = given ? given + span.row(t) : nullptr;
    return resets && memchr(resets, true, static_cast<size_t>(step.last - step.first)) ? resets : nullptr;
  }
};

}  // namespace rnncore::RNNCORE_ISA::layer

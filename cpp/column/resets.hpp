// What resets within a sequence change: the states before a step, and where what is carried back ends.
#pragma once

#include "trace.hpp"

namespace rnncore::RNNCORE_ISA::layer {

// Visits the rows that are reset, in ascending order. Most are not, and are passed by eight at a time.
template <class Visit>
RNNCORE_INLINE void each_reset(const bool* resets, Index rows, Visit visit) {
  Index i = 0;
  for (uint64_t word; i + Index{sizeof(word)} <= rows; i += Index{sizeof(word)})
    for (memcpy(&word, resets + i, sizeof(word)); word; word &= word - 1) visit(i + __builtin_ctzll(word) / 8);
  for (; i < rows; ++i)
    if (resets[i]) visit(i);
}

// Zeros in some rows of h, as long as this lives: those before steps that are reset, if they are few and only one
// thread reads them. They need no list then.
template <class Real>
class ZerosInPlace {
 public:
  static constexpr Index most = tuning::rows_zeroed_in_place;

  // saved: (most, ldH) scratch, or null where several threads read h
  ZerosInPlace(Index ld, Real* saved) : ld(ld), saved(saved) {}
  ~ZerosInPlace() {
    for (Index k = 0; k < count; ++k) copy(saved + k * ld, ld, at[k]);
  }
  ZerosInPlace(const ZerosInPlace&) = delete;
  ZerosInPlace& operator=(const ZerosInPlace&) = delete;

  // Makes zeros of those rows of h whose steps are reset. Returns false, and does nothing, if they are many.
  bool take(const bool* resets, Index rows, Rows<Real> h) {
    if (!saved) return false;
    Index found = 0;
    each_reset(resets, rows, [&](Index i) {
      if (found < most) at[found] = h(i);
      ++found;
    });
    if (found > most) return false;
    for (; count < found; ++count) {
      copy(at[count], ld, saved + count * ld), fill(at[count], ld, Real(0));
    }
    return true;
  }

 private:
  Index ld;
  Real *saved, *at[most];
  Index count = 0;
};

template <class Real>
struct Resets {
  using V = Vector<Real>;
  using Fields = cells::Fields<Real>;
  const Trace<Real>& trace;
  const bool* given;  // null: there are none, and nothing is to be done
  Index zeros, most;  // the row of zeros in trace.h; the rows of a step
  int64_t* before;    // (threads, most): of each row of a step, the row of h before
  Real* others;       // (B, S - 1, P), by positions: the other states before
  Real* saved;        // (threads, ZerosInPlace::most, ldH)

  Resets(Arena& arena, const Trace<Real>& trace, const Steps& steps, Limits limits)
      : trace(trace), given(steps.resets), zeros(trace.n.B + steps.count), most(given ? limits.rows : 0) {
    before = arena.take<int64_t>(limits.threads * most);
    others = arena.take<Real>(given ? trace.n.B * trace.n.others_row() : 0);
    saved = arena.take<Real>(given ? limits.threads * ZerosInPlace<Real>::most * trace.n.ldH : 0);
  }

  // Room for zeros in place during a step.
  ZerosInPlace<Real> zeros_of(const Share& share) const {
    const Index ld = trace.n.ldH;
    return {ld, share.parts > 1 ? nullptr : saved + share.thread * ZerosInPlace<Real>::most * ld};
  }

  // Gives a step the states before it, of some units, where any sequence is reset: h, if it is read, in its place, or
  // listed; returns whether it is listed.
  bool take(cells::Step<Real>& step, const Span& span, Index t, const Share& share, const Units<Real>& units,
            bool reads_h, ZerosInPlace<Real>& in_place) const {
    const bool* const resets = reads_h || trace.n.other_states() ? at(step, span, t) : nullptr;
    if (!resets) return false;
    take_others(step, span, resets, units);
    if (!reads_h) return false;
    const Index rows = step.last - step.first;
    if (in_place.take(resets, rows, trace.h_before(span, t).from(step.first))) return false;
    int64_t* const list = before + share.thread * most;
    for (Index i = 0; i < rows; ++i) list[i] = resets[i] ? zeros : span.number_before(t, i);
    step.h_prev = {trace.h, trace.n.ldH, list - step.first};
    return true;
  }

  // Carries nothing back, which is -0, from sequences that are reset; +0 if that is where they begin.
  void end(const cells::Step<Real>& step, const Span& span, Index t, Rows<Real> through_h) const {
    const bool* const resets = at(step, span, t);
    if (!resets) return;
    const Real nothing = t > 0 ? Real(-0.0) : Real(0);
    each_reset(resets, step.last - step.first, [&](Index r) {
      const Index i = step.first + r;
      fill(through_h(i) + step.begin, step.end - step.begin, nothing);
      for (Index k = 0; k < trace.n.other_states(); ++k)
        fill(step.dothers.at(i, k, step.begin), step.end - step.begin, nothing);
    });
  }

 private:
  // Copies the other states before a step, with zeros where it is reset: a tape that backward reads must not change.
  void take_others(cells::Step<Real>& step, const Span& span, const bool* resets, const Units<Real>& units) const {
    const Sizes<Real>& n = trace.n;
    const Fields own = Fields::planar(Place{step.first}.of(others, n.others_row(), span.p0), n.P);
    for (Index i = step.first; i < step.last; ++i)
      for (Index k = 0; k < n.other_states(); ++k)
        for (Index j = units.begin; j < units.end; j += lanes<Real>)
          store(own.at(i, k, j), resets[i - step.first] ? V{} : load<V>(step.others_prev.at(i, k, j)));
    step.others_prev = own;
  }

  // The resets of a step, or null if none of its sequences is reset.
  const bool* at(const cells::Step<Real>& step, const Span& span, Index t) const {
    if (!given) return nullptr;
    const bool* const resets = given + span.row(t);
    return any_of(resets, step.last - step.first) ? resets : nullptr;
  }
};

}  // namespace rnncore::RNNCORE_ISA::layer

// A layer in one direction: the loop forward through time, and the loop back.
//
// Rows are those of steps.hpp's packing: the rows of a step lie one after the other, and so do those of the step
// before. A layer knows nothing of outputs, labels or other layers.
#pragma once

#include "look.hpp"
#include "resets.hpp"
#include "token_columns.hpp"

namespace rnncore::RNNCORE_ISA::layer {

template <class Real>
struct Forward {
  const Sizes<Real>& n;
  const Trace<Real>& trace;
  const Resets<Real>& resets;
  LayerArrays<const Real> arrays{};
  Inputs<Real> inputs;
  Limits limits;
  Index scratch_size = 0;                  // of u: numbers for a thread
  Panels<Real> W_xh{}, W_hh{}, W_after{};  // W_hh: the rows before the reset; W_after: those that read q
  Real* a = nullptr;                       // (threads, rows, ldA)
  Real* u = nullptr;                       // (threads, scratch_size): of a panel
  Real* u_before = nullptr;                // (B, ldA): of the gates before the reset

  // wanted: false makes an empty one; reads: how many steps the caller will have read in the end
  Forward(Arena& arena, const Resets<Real>& resets, const Problem<Real>& problem, Limits limits, bool wanted,
          Index reads)
      : n(resets.trace.n), trace(resets.trace), resets(resets), inputs(problem.inputs), limits(limits) {
    if (!wanted) return;
    const Steps& steps = problem.steps;
    const bool has_q = n.shape().gates_after_reset > 0;
    const Use spans{steps.count, limits.spans, limits.threads};
    const Use each_step{n.B, limits.shares * steps.longest, limits.threads};
    const Use some_rows{n.B, each_step.times * (1 + (n.B - 1) / tuning::rows_together), limits.threads};
    a = arena.take<Real>(limits.threads * limits.rows * n.ldA);
    W_xh = take_input_panels(arena, n, inputs, spans, reads);
    W_hh = linear::fit_panels<Real>(arena, n.H, n.H, has_q ? each_step : some_rows, n.shape().gates_before_reset());
    if (has_q) W_after = linear::fit_panels<Real>(arena, n.H, n.H, some_rows, n.shape().gates_after_reset);
    scratch_size = min_of(n.B, tuning::rows_together) * (has_q ? W_after : W_hh).widest();
    u = arena.take<Real>(limits.threads * scratch_size);
    u_before = arena.take<Real>(has_q ? n.B * n.ldA : 0);
    give(problem.layer());
  }

  // Takes parameters, which are read once they are packed only where panels are not.
  void give(const LayerArrays<const Real>& given) {
    const Index G_before = n.G_before_reset();
    const Real* const b_u = n.shape().own_recurrent_bias ? given.b_h : nullptr;
    arrays = given;
    W_xh.weights = {given.b_x, given.W_xh, n.X, true};
    W_hh.weights = {b_u, given.W_hh, n.H, true};
    W_after.weights = {b_u ? b_u + G_before : nullptr, given.W_hh + G_before * n.H, n.H, true};
  }

  void pack(int part, int parts) const {
    linear::pack(W_xh, part, parts), linear::pack(W_hh, part, parts), linear::pack(W_after, part, parts);
  }

  Rows<Real> a_of(const Share& share) const { return {a + share.area() * limits.rows * n.ldA, n.ldA}; }

  // h_t, step by step, for the rows of a span.
  template <class Meet>
  void forward(const Span& span, const Share& share, Look& look, Meet meet) const {
    input_part(span, share, look);
    meet();
    const bool has_q = n.shape().gates_after_reset > 0;
    const Units<Real> units(has_q ? W_after : W_hh, share);
    cells::Step<Real> step{};
    step.H = n.H, step.a = a_of(share);
    bool moves = true;  // on the full grid, rows keep their distance from the numbers of a span
    for (Index t = span.t0; t < span.t1; ++t) {
      trace.go_to(step, span, t);
      if (moves) {
        step.h_prev = trace.h_before(span, t), step.h = trace.h_of(span, t);
        step.kept = trace.fields(Place{step.first}.of(trace.tape, n.tape_row(), span.row(t)));
      }
      ZerosInPlace<Real> in_place = resets.zeros_of(share);
      moves = resets.take(step, span, t, share, units, true, in_place) || !span.is_grid();
      if (has_q) reset(step, span, look);
      step_forward(step, units, t % 2 != 0, look);
      meet();
    }
  }

  // The new states: the recurrent part of a panel's units, then the cell of these, some rows after the other. In turns,
  // panels are walked from the last: those still in the cache come first.
  void step_forward(cells::Step<Real>& step, const Units<Real>& units, bool from_last, Look& look) const {
    const bool has_q = n.shape().gates_after_reset > 0;
    const Panels<Real>& W = has_q ? W_after : W_hh;
    const Rows<const Real> operand = has_q ? Rows<const Real>(step.kept.rows.columns_from(n.q_at())) : step.h_prev;
    const Index first = step.first, last = step.last;
    Real* const scratch = u + look.thread() * scratch_size;
    for (Index i = units.panels.begin; i < units.panels.end; ++i) {
      const Index p = units.panels.at(i, from_last), column = W.column(p), width = W.column(p + 1) - column;
      step.begin = W.begin(p) * lanes<Real>, step.end = Units<Real>::end_of(W, p);
      for (step.first = first; step.first < last; step.first = step.last) {
        step.last = min_of(step.first + tuning::rows_together, last);
        linear::product_panel(operand.from(step.first), step.last - step.first, W, p, Rows<Real>{scratch, width},
                              look.thread());
        (has_q ? step.u_after_reset : step.u) = {scratch - step.first * width - column, width};
        n.cell.forward(step);
      }
      if (!look.after(2.0 * (last - first) * n.H * width)) return;
    }
  }

  // q, from the gates before the reset.
  void reset(cells::Step<Real>& step, const Span& span, Look& look) const {
    const Rows<Real> to = Place{step.first}.of(u_before, n.ldA, span.p0);
    linear::product(step.h_prev.from(step.first), step.last - step.first, W_hh, to.from(step.first), look);
    step.u = to;
    step.begin = 0, step.end = n.H;
    n.cell.reset(step);
  }

  // a_t = b + W_xh x_t for the rows of a span. A token k stands for the k-th column of W_xh.
  void input_part(const Span& span, const Share& share, Look& look) const {
    const Index i = share.from(span.count), end = share.to(span.count);
    const Rows<Real> to = a_of(share);
    if (inputs.vectors)
      return linear::product(span.by_read(inputs.vectors, n.X).from(i), end - i, W_xh, to.from(i), look);
    for (Index k = i; k < end; ++k) {
      const int64_t token = inputs.tokens[span.read(k)];
      if (W_xh.N > 0)
        add_column(W_xh, token, to(k));
      else
        gather_column(arrays, n, token, to(k));
    }
  }
};

template <class Real>
struct Backward {
  using V = Vector<Real>;
  const Sizes<Real>& n;
  const Trace<Real>& trace;
  const Resets<Real>& resets;
  Limits limits;
  Panels<Real> W_xh{}, W_hh{}, W_after{};  // transposed
  GateGradients<Real> gates{};
  Real* dh = nullptr;                           // (threads, rows, ldH): with respect to h_t
  Real *carried = nullptr, *dothers = nullptr;  // (B, ldH) (B, S - 1, P), by positions: with respect to the states
  Real *dprev = nullptr, *dq = nullptr, *dx = nullptr;  // (B, ldH) (B, ldH) (threads, rows, ldX)
  Real* dstates = nullptr;  // (S, N, H), by rows: with respect to the states after each step, or null
  Index N;

  // a: the forward pass's, which dh takes over where its rows are as long
  Backward(Arena& arena, const Resets<Real>& resets, const Problem<Real>& problem, Limits limits, Ways ways, Real* a)
      : n(resets.trace.n), trace(resets.trace), resets(resets), limits(limits), N(problem.steps.count) {
    if (!ways.back && !ways.sums) return;
    const LayerArrays<const Real> given = problem.layer();
    const bool has_q = n.shape().gates_after_reset > 0;
    const Index G_before = n.G_before_reset();
    const Use each_step{n.B, limits.shares * problem.steps.longest, limits.threads};
    take_gates(arena, problem, ways.back);
    dx = arena.take<Real>(ways.dinputs ? limits.threads * limits.rows * n.ldX : 0);
    if (ways.dinputs) W_xh = linear::fit_panels<Real>(arena, n.X, n.G, {N, limits.spans, limits.threads});
    W_xh.weights = {nullptr, given.W_xh, n.X, false};
    if (!ways.back) return;
    dh = ways.forward && n.ldA == n.ldH ? a : arena.take<Real>(limits.threads * limits.rows * n.ldH);
    carried = arena.take<Real>(n.B * n.ldH);
    dothers = arena.take<Real>(n.B * n.others_row());
    dprev = arena.take<Real>(n.cell.passes ? n.B * n.ldH : 0);
    dq = arena.take<Real>(has_q ? n.B * n.ldH : 0);
    W_hh = linear::fit_panels<Real>(arena, n.H, G_before, each_step);
    W_hh.weights = {nullptr, given.W_hh, n.H, false};
    if (has_q) W_after = linear::fit_panels<Real>(arena, n.H, n.G - G_before, each_step);
    W_after.weights = {nullptr, given.W_hh + G_before * n.H, n.H, false};
  }

  void pack(int part, int parts) const {
    linear::pack(W_xh, part, parts), linear::pack(W_hh, part, parts), linear::pack(W_after, part, parts);
  }

  // da and du of a span, or of two chunks, or of all rows where the sums come later or others read them. made: whether
  // this call computes them.
  void take_gates(Arena& arena, const Problem<Real>& problem, bool made) {
    const bool all = problem.gates || (limits.threads > 1 && !limits.shared_rows);
    const Index rows = all ? N : limits.shared_rows ? 2 * limits.shared_rows : limits.rows;
    const auto take = [&](Index number) {
      if (!problem.gates) return arena.take_rows<Real>(rows, n.G, n.ldG);
      Real* const given = problem.gates + number * N * n.ldG;
      if (arena.at && made) clear_padding(n.G, n.ldG, N, given);
      return given;
    };
    Real *const da = take(0), *const du = n.cell.splits ? take(1) : da;
    gates = {da, du, n.ldG, all, problem.gates != nullptr, limits.shared_rows};
  }

  Rows<Real> dh_of(const Share& share) const { return {dh + share.area() * limits.rows * n.ldH, n.ldH}; }

  // The gradients with respect to the last states, before the first step back: dstate, or -0, the number to add when
  // nothing is to be added, because x + -0 is x for every x, and -0 + +0 would not be -0.
  void begin(const Steps& steps, const Share& share, const States<const Real>& dstate) const {
    const Index p0 = share.p0, count = share.p1 - p0;
    fill(carried + p0 * n.ldH, count * n.ldH, Real(-0.0));
    fill(dothers + p0 * n.others_row(), count * n.others_row(), Real(-0.0));
    if (dstate.each[0])
      each_state(steps, share, [&](Real* state, Index s, Index b) { copy(dstate.each[s] + b * n.H, n.H, state); });
  }

  // The gradients with respect to the initial states, after the last step back.
  void end(const Steps& steps, const Share& share, bool has_dstate, const States<Real>& dstate) const {
    each_state(steps, share, [&](const Real* state, Index s, Index b) {
      if (has_dstate || steps.length(b) > 0)
        copy(state, n.H, dstate.each[s] + b * n.H);
      else
        fill(dstate.each[s] + b * n.H, n.H, Real(0));
    });
  }

  // da_t and du_t, step by step back, from dh, as far as it comes through the outputs, and the user's own.
  template <class Meet>
  void backward(const Span& span, const Share& share, Strided<const Real> own_dh, Look& look, Meet meet) const {
    const Units<Real> units(W_hh, share);
    const Rows<Real> da = gates.of(gates.da, span), du = gates.of(gates.du, span);
    cells::Step<Real> step{};
    step.H = n.H, step.begin = units.begin, step.end = units.end, step.dh = dh_of(share);
    bool moves = true;  // as on the way forward
    for (Index t = span.t1; t-- > span.t0;) {
      trace.go_to(step, span, t);
      const Place place{step.first};
      if (moves) {
        step.h_prev = trace.h_before(span, t), step.h_now = trace.h_of(span, t);
        step.kept_now = trace.fields(place.of(trace.tape, n.tape_row(), span.row(t)));
        step.da = gates.of_step(da, span, t), step.du = gates.of_step(du, span, t);
      }
      ZerosInPlace<Real> in_place = resets.zeros_of(share);
      moves = resets.take(step, span, t, share, units, n.cell.passes, in_place) || !span.is_grid();
      const Rows<Real> through_h = place.of(carried, n.ldH, span.p0);
      take_carried(span, step, dh_of(share), through_h, own_dh);
      if (dstates) give_states(span, step, t);
      step_backward(step, span, look);
      meet();
      linear::product<Real>(step.du.from(step.first), step.last - step.first, W_hh, through_h.from(step.first),
                            units.panels, t % 2 != 0, look);
      for (Index i = step.first; n.cell.passes && i < step.last; ++i) add(step.dprev(i), step, through_h(i));
      resets.end(step, span, t, through_h);
    }
  }

  // The gradients with respect to the states after a step, of some units, before its own way back.
  void give_states(const Span& span, const cells::Step<Real>& step, Index t) const {
    const Rows<Real> others = Place{step.first}.of(dothers, n.others_row(), span.p0);
    const Index begin = min_of(step.begin, n.H), count = min_of(step.end, n.H) - begin;
    for (Index i = step.first; i < step.last; ++i) {
      Real* const to = dstates + (span.row(t) + i - step.first) * n.H + begin;
      copy(step.dh(i) + begin, count, to);
      for (Index k = 0; k < n.other_states(); ++k) copy(others(i) + k * n.P + begin, count, to + (k + 1) * N * n.H);
    }
  }

  // da_t, du_t and the gradients with respect to the states before, as far as they do not come through u.
  void step_backward(cells::Step<Real>& step, const Span& span, Look& look) const {
    const Place place{step.first};
    step.dothers = cells::Fields<Real>::planar(place.of(dothers, n.others_row(), span.p0), n.P);
    step.dprev = place.of(dprev, n.ldH, span.p0);
    if (n.shape().gates_after_reset) {
      n.cell.reset_backward(step);
      const Rows<Real> to = place.of(dq, n.ldH, span.p0);
      linear::product<Real>(step.du.columns_from(n.G_before_reset()).from(step.first), step.last - step.first, W_after,
                            to.from(step.first), look);
      step.dq = to;
    }
    n.cell.backward(step);
  }

  // To dh_t, as far as it comes through the outputs, what comes through h_{t+1} and what is the user's own.
  void take_carried(const Span& span, const cells::Step<Real>& step, Rows<Real> to, Rows<const Real> through_h,
                    Strided<const Real> own_dh) const {
    for (Index i = step.first; i < step.last; ++i) {
      add(through_h(i), step, to(i));
      const Real* const own = own_dh.at ? own_dh.at + span.address(i) * own_dh.stride : nullptr;
      for (Index j = step.begin; own && j < step.end; ++j) to(i)[j] = to(i)[j] + own[j];
    }
  }
  void add(const Real* from, const cells::Step<Real>& step, Real* to) const {
    for (Index j = step.begin; j < step.end; j += lanes<Real>) store(to + j, load<V>(to + j) + load<V>(from + j));
  }

  // Visits what is carried back of each state s of each sequence b.
  template <class Visit>
  void each_state(const Steps& steps, const Share& share, Visit visit) const {
    for (Index p = share.p0; p < share.p1; ++p)
      for (Index s = 0; s < n.shape().states; ++s)
        visit(s == 0 ? carried + p * n.ldH : dothers + p * n.others_row() + (s - 1) * n.P, s, steps.sequence(p));
  }
};

// dx_t = W_xh^T da_t of a span, to where x_t lies, or added to what is there.
template <class Real>
void input_gradients(const Backward<Real>& pass, const Span& span, const Share& share, const Gradients<Real>& grads,
                     Look& look) {
  const Sizes<Real>& n = pass.n;
  const Index begin = share.from(span.count), end = share.to(span.count);
  const Rows<Real> to{pass.dx + share.area() * pass.limits.rows * n.ldX, n.ldX};
  const Rows<const Real> da = pass.gates.of(pass.gates.da, span);
  linear::product(da.from(begin), end - begin, pass.W_xh, to.from(begin), look);
  for (Index i = begin; i < end; ++i) {
    Real* const dx = grads.dinputs + span.read(i) * n.X;
    for (Index j = 0; grads.adds && j < n.X; ++j) to(i)[j] = dx[j] + to(i)[j];
    copy(to(i), n.X, dx);
  }
}

}  // namespace rnncore::RNNCORE_ISA::layer

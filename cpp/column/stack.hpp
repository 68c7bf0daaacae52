// A whole net: the layers, the output layer and the loss.
#pragma once

#include "layers.hpp"

namespace rnncore::RNNCORE_ISA::stack {

// What does not exist is +0.
template <class Real>
void clear_holes(const Steps& steps, Index n, Real* array) {
  if (array && steps.has_holes()) fill(array, steps.T * steps.B * n, Real(0));
}

// So are outputs and losses that do not exist.
template <class Real>
void clear_outputs(const Problem<Real>& problem, Index n, Real* array) {
  if (problem.last)
    fill(array, problem.steps.B * n, Real(0));
  else
    clear_holes(problem.steps, n, array);
}

// Runs a net of one part, or of several, each in memory of its own.
template <class Real, class Run>
bool with_layer(const Problem<Real>& problem, const Machine& machine, Ways ways, Run run) {
  return with_memory<OneLayer<Real>>(machine, run, problem, machine, ways, problem.steps.count);
}
template <class Real, class Run>
bool with_layers(const Problem<Real>& problem, const Machine& machine, Ways ways, bool own_dh, Run run) {
  return with_memory<Layers<Real>>(machine, run, problem, machine, ways, own_dh);
}

template <class Real>
bool forward_of_layers(Layers<Real>& call, const Outputs<Real>& outputs) {
  const Problem<Real>& problem = call.problem;
  call.tape = outputs.tape;
  const Index states = problem.steps.B * problem.net.H;
  const auto run_last = [&](Index part) {
    return call.with_part(part, true, [&](OneLayer<Real>& last) {
      return run_forward(last,
                         Outputs<Real>{outputs.y, outputs.h, call.tape_of(part), outputs.last.from(part * states)});
    });
  };
  if (!call.forward(outputs.last, run_last)) return false;
  if (call.attached) return true;
  call.take_top(outputs.h);
  call.read_by_head();
  return problem.net.V == 0 || call.with_output_layer([&](OutputLayer<Real>& output) {
    output.y = outputs.y;
    return output.run();
  });
}

template <class Real>
bool forward(const Problem<Real>& problem, const Outputs<Real>& outputs, const Machine& machine) {
  const Ways ways{true, false, false, false, false};
  clear_outputs(problem, problem.net.V, outputs.y);
  clear_holes(problem.steps, problem.net.W(), outputs.h.at);
  if (problem.net.parts() == 1)
    return with_layer(problem, machine, ways, [&](OneLayer<Real>& call) { return run_forward(call, outputs); });
  return with_layers(problem, machine, ways, false,
                     [&](Layers<Real>& call) { return forward_of_layers(call, outputs); });
}

// Where what comes through an output layer by itself goes on: to h, or to the last states.
template <class Real>
void through_outputs(Layers<Real>& call, OutputGradients<Real>& by) {
  if (call.problem.last)
    call.add_to_last(by.dstate);
  else
    by.from_outputs = {call.dtop, call.ldW};
}

// The way back through an output layer by itself, or the half of it that is wanted: from dy to the gradients with
// respect to what the last layer gives.
template <class Real>
bool backward_of_outputs(Layers<Real>& call, const Kept<Real>& kept, OutputGradients<Real>& by,
                         const Gradients<Real>& grads) {
  const Net& net = call.net;
  call.put_top(kept.h);
  if (by.dh.at) {
    call.put_own_dh(by.dh.at);
    by.dh = {call.own_dh, call.W};
  }
  if (!by.dy) {
    for (Index k = 0; grads.flat && k < grads.each.count(); ++k) {
      const HeadArrays<Real> none = head_of(net, grads.flat + k * grads.each.row);
      fill(none.W_hy, net.V * net.W(), Real(0)), fill(none.b_y, net.V, Real(0));
    }
    return true;
  }
  call.read_by_head();
  const bool done = call.with_output_layer([&](OutputLayer<Real>& output) {
    output.dy = by.dy, output.flat = grads.flat, output.each = grads.each, output.later = grads.later;
    return output.run();
  });
  if (call.ways.back) through_outputs(call, by);
  return done;
}

template <class Real>
bool backward_of_layers(Layers<Real>& call, const Kept<Real>& kept, const OutputGradients<Real>& given,
                        const Gradients<Real>& grads) {
  const Problem<Real>& problem = call.problem;
  call.tape = const_cast<Real*>(kept.tape);  // which is only read, going back
  OutputGradients<Real> by = given;
  if (!call.attached && !backward_of_outputs(call, kept, by, grads)) return false;
  return call.backward(by, grads, [&](Index part) {
    const Gradients<Real> own = call.gradients_of(part, grads);
    OutputGradients<Real> of_last = given;
    of_last.dstate = given.dstate.from(part * problem.steps.B * problem.net.H);
    return call.with_part(part, false, [&](OneLayer<Real>& last) {
      return run_backward(last, Kept<Real>{kept.h, call.tape_of(part)}, of_last, own);
    });
  });
}

// Where no gradient comes through outputs, those of the output layer are those from the steps after these.
template <class Real>
void keep_outputs(const Net& net, const Gradients<Real>& grads) {
  const HeadArrays<Real> to = head_of(net, grads.flat);
  const HeadArrays<const Real> later = head_of(net, grads.later);
  copy(later.W_hy, net.V * net.W(), to.W_hy), copy(later.b_y, net.V, to.b_y);
}

template <class Real>
bool backward(const Problem<Real>& problem, const Kept<Real>& kept, const OutputGradients<Real>& given,
              const Gradients<Real>& grads, const Machine& machine) {
  const Ways ways{false, !kept.has_gates, given.dy != nullptr, grads.dinputs != nullptr, grads.flat != nullptr};
  clear_holes(problem.steps, problem.net.X, grads.dinputs);
  const bool done = problem.net.parts() == 1
                        ? with_layer(problem, machine, ways,
                                     [&](OneLayer<Real>& call) { return run_backward(call, kept, given, grads); })
                        : with_layers(problem, machine, ways, given.dh.at != nullptr,
                                      [&](Layers<Real>& call) { return backward_of_layers(call, kept, given, grads); });
  if (grads.later && !given.dy) keep_outputs(problem.net, grads);
  return done;
}

template <class Real>
double total(const Steps& steps, const Real* losses);

// bptt of a net of several parts, but for J.
template <class Real>
bool bptt_of_layers(Layers<Real>& call, const Labels<Real>& labels, const Losses<Real>& losses,
                    const Gradients<Real>& grads) {
  OutputGradients<Real> by{};
  by.dstate = losses.dstate;
  if (!call.forward(losses.last, [](Index) { return true; })) return false;
  if (!call.attached) {
    call.read_by_head();
    const bool done = call.with_output_layer([&](OutputLayer<Real>& output) {
      output.labels = labels, output.losses = losses.each, output.flat = grads.flat, output.later = grads.later;
      return output.run();
    });
    if (!done) return false;
    through_outputs(call, by);
  }
  return call.backward(by, grads, [&](Index part) {
    const Gradients<Real> own = call.gradients_of(part, grads);
    const Index states = part * call.steps.B * call.net.H;
    const Losses<Real> of_last{nullptr, losses.each, losses.last.from(states), losses.dstate.from(states)};
    return call.with_part(part, false, [&](OneLayer<Real>& last) { return run_bptt(last, labels, of_last, own); });
  });
}

template <class Real>
bool bptt(const Problem<Real>& problem, const Labels<Real>& labels, const Losses<Real>& losses,
          const Gradients<Real>& grads, const Machine& machine) {
  const Steps& steps = problem.steps;
  const Ways ways{true, true, true, grads.dinputs != nullptr, true};
  clear_outputs(problem, 1, losses.each);
  clear_holes(steps, problem.net.X, grads.dinputs);
  const bool done = problem.net.parts() == 1
                        ? with_layer(problem, machine, ways,
                                     [&](OneLayer<Real>& call) { return run_bptt(call, labels, losses, grads); })
                        : with_layers(problem, machine, ways, false,
                                      [&](Layers<Real>& call) { return bptt_of_layers(call, labels, losses, grads); });
  *losses.total = total(problem.last ? last_steps(steps) : steps, losses.each);
  return done;
}

// An output layer alone, with what it reads and gives by rows.
template <class Real>
struct OutputsAlone {
  const Problem<Real>& problem;
  Index W, ldW;
  Real *h, *dh;  // (N, ldW) each
  OutputLayer<Real> layer;

  OutputsAlone(Arena& arena, const Problem<Real>& problem, const Machine& machine, Ways ways)
      : problem(problem),
        W(problem.net.W()),
        ldW(linear::padded<Real>(W)),
        h(arena.take<Real>(problem.steps.count * ldW)),
        dh(arena.take<Real>(problem.steps.count * ldW)),
        layer(arena, problem.net, problem.flat, {h, ldW}, problem.steps, machine, ways) {}

  bool run(Real* dinputs) {
    const Steps& steps = problem.steps;
    const auto read = [&](Index row) { return (steps.read ? steps.read[row] : row) * W; };
    for (Index row = 0; row < steps.count; ++row) copy(problem.inputs.vectors + read(row), W, h + row * ldW);
    layer.dh = {dh, ldW};
    const bool done = layer.run();
    for (Index row = 0; row < steps.count; ++row) copy(dh + row * ldW, W, dinputs + read(row));
    return done;
  }
};

template <class Real>
bool outputs(const Problem<Real>& problem, const Labels<Real>& labels, const Losses<Real>& losses,
             const Gradients<Real>& grads, const Machine& machine) {
  const Ways ways{true, true, true, true, true};
  clear_holes(problem.steps, 1, losses.each);
  clear_holes(problem.steps, problem.net.W(), grads.dinputs);
  const auto run = [&](OutputsAlone<Real>& call) {
    call.layer.labels = labels, call.layer.losses = losses.each;
    call.layer.flat = grads.flat, call.layer.later = grads.later;
    return call.run(grads.dinputs);
  };
  return with_memory<OutputsAlone<Real>>(machine, run, problem, machine, ways);
}

// Padded rows for some outputs.
template <class Real>
struct OutputRows {
  static constexpr Index most = linear::block;
  Index ldV;
  Real *y, *e;
  OutputRows(Arena& arena, Index V) : ldV(linear::padded<Real>(V)) {
    y = arena.take<Real>(most * ldV), e = arena.take<Real>(ldV);
  }
};

template <class Real>
bool loss(const Steps& steps, Index V, const Real* y, const Labels<Real>& labels, Real* losses, Real* dy,
          const Machine& machine) {
  clear_holes(steps, 1, losses);
  clear_holes(steps, V, dy);
  const auto in_padded_rows = [&](const OutputRows<Real>& rows) {
    const Rows<Real> now{rows.y, rows.ldV};
    for (Index r0 = 0; r0 < steps.count; r0 += rows.most) {
      const Index count = min_of(rows.most, steps.count - r0);
      const auto address = [&](Index i) { return steps.address_of(r0 + i); };
      for (Index i = 0; i < count; ++i) copy(y + address(i) * V, V, now(i));
      head::apply_loss(now, count, V, labels, address, rows.e, losses);
      for (Index i = 0; i < count; ++i) copy(now(i), V, dy + address(i) * V);
    }
    return true;
  };
  return with_memory<OutputRows<Real>>(machine, in_padded_rows, V);
}

// J: the losses of all places t*B + b, in float64, in sixteen lanes. Those that do not exist would add +0.
template <class Real>
double total(const Steps& steps, const Real* losses) {
  double lane[16] = {};
  for (Index i = 0; steps.full() && i < steps.count; ++i) lane[i % 16] = lane[i % 16] + static_cast<double>(losses[i]);
  for (Index t = 0, i = 0; !steps.full() && t < steps.longest; ++t)
    for (const Index row = steps.row(t), end = steps.row(t + 1); i < end; ++i) {
      const Index listed = steps.by_place[i], place = t * steps.B + steps.order[listed - row];
      lane[place % 16] = lane[place % 16] + static_cast<double>(losses[steps.address_of(listed)]);
    }
  return linear::fold(lane);
}

}  // namespace rnncore::RNNCORE_ISA::stack

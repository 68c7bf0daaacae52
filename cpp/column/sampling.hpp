// Sampling: a net reads a token, draws the next one by what it then thinks, and reads that.
#pragma once

#include "stack.hpp"

namespace rnncore::RNNCORE_ISA::sampling {

// c_v = e_0 + ... + e_v with e_v = exp((y_v - M) / temperature), M = max y, in float64 whatever y is in. Rows lie in
// whole sixteens of numbers.
template <class Real>
void cumulate(Real* y, Index V, double temperature, double* c) {
  using Lane = Vector<double>;
  const Lane M = splat<Lane>(static_cast<double>(softmax::row_max(y, V)));
  for (Index v = 0; v < V; v += lanes<double>) store(c + v, elementary::exp((widen(y + v) - M) / temperature));
  for (Index v = 1; v < V; ++v) c[v] = c[v - 1] + c[v];
}

// The token at u of the distribution softmax(y / temperature): the first v with c_v > u c_{V-1} or c_v = c_{V-1};
// with temperature 0, with y_v = M. If there is none, as where y holds NaN, it is the last.
template <class Real>
Index choose(Real* y, Index V, double u, double temperature, double* c) {
  Index token = 0;
  if (temperature == 0) {
    const Real M = softmax::row_max(y, V);
    while (token < V - 1 && y[token] != M) ++token;
    return token;
  }
  cumulate(y, V, temperature, c);
  const double total = c[V - 1], target = u * total;
  while (token < V - 1 && !(c[token] > target || c[token] == total)) ++token;
  return token;
}

// A layer that takes one step at a time, from the states it has left; the last one makes the outputs.
template <class Real>
struct Level {
  Net net;
  Problem<Real> problem;
  Real* read;  // (B, X): what the layer below gives
  stack::OneLayer<Real> step;

  Level(Arena& arena, const Problem<Real>& whole, Index part, const Machine& machine, Index reads)
      : net(whole.net.part(part, part == whole.net.layers - 1)),
        problem{net, whole.flat, whole.inputs, whole.state.from(part * whole.steps.B * net.H), whole.steps},
        read(arena.take<Real>(part > 0 ? whole.steps.B * net.X : 0)),
        step(arena, part > 0 ? reading(arena) : problem, machine, {true, false, false, false, false}, reads) {
    step.trace.tape = arena.take<Real>(whole.steps.B * step.n.tape_row());
  }
  void* operator new(size_t, void* at) { return at; }

  // The step after `below`, of which h is read.
  Rows<Real> forward(const Level* below, Look& look) const {
    const layer::Sizes<Real>& n = step.n;
    for (Index b = 0; below && b < n.B; ++b) copy(below->step.trace.h + b * below->step.n.ldH, n.X, read + b * n.X);
    return step.step_forward(look);
  }

 private:
  const Problem<Real>& reading(const Arena& arena) {
    problem.inputs = {nullptr, arena.at ? read : problem.flat};  // not read while memory is only counted
    return problem;
  }
};

// The memory of a call: of one step of each layer, and of a row of float64.
template <class Real>
struct Memory {
  Index count;
  Level<Real>* levels;
  double* c;
  Memory(Arena& arena, const Problem<Real>& problem, const Machine& machine, Index reads)
      : count(problem.net.layers),
        levels(arena.take<Level<Real>>(count)),
        c(arena.take<double>(softmax::whole(problem.net.V))) {
    for (Index part = 0; part < count; ++part)
      if (levels)
        new (levels + part) Level<Real>(arena, problem, part, machine, reads);
      else
        (void)Level<Real>(arena, problem, part, machine, reads);
  }
};

// Tokens (T, B), drawn one after the other by uniforms (T, B), the first after the problem's tokens and states; last
// are the states in which the last ones were drawn.
template <class Real>
bool sample(const Problem<Real>& problem, const Sampling<Real>& sampling, const Machine& machine) {
  const Index B = problem.steps.B, V = problem.net.V;
  const Memory<Real> memory = allocate<Memory<Real>>(machine, problem, machine, sampling.T * B);
  Level<Real>* const levels = memory.levels;
  bool stopped = false;
  Look look(machine, 0, &stopped);
  for (Index l = 0; l < memory.count; ++l) levels[l].step.pack(0, 1);
  for (Index t = 0; t < sampling.T; ++t) {
    Rows<Real> y{};
    for (Index l = 0; l < memory.count; ++l) y = levels[l].forward(l > 0 ? levels + l - 1 : nullptr, look);
    if (stopped) return false;
    int64_t* const tokens = sampling.tokens + t * B;
    for (Index b = 0; b < B; ++b)
      tokens[b] = choose(y(b), V, sampling.uniforms[t * B + b], sampling.temperature, memory.c);
    levels[0].step.forward_layer.inputs.tokens = tokens;
  }
  for (Index l = 0; l < memory.count; ++l)  // those from which another step would go on
    levels[l].step.trace.take_state(Steps::grid(0, B), sampling.last.from(l * B * problem.net.H));
  return true;
}

}  // namespace rnncore::RNNCORE_ISA::sampling

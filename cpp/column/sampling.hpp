// Sampling: a net reads a token, draws the next one by what it then thinks, and reads that.
#pragma once

#include "stepping.hpp"

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

// What a call works with: one step of each layer, and a row of float64.
template <class Real>
struct Parts {
  stepping::Levels<Real> levels;
  double* c;
  Parts(Arena& arena, const Problem<Real>& problem, const Machine& machine, Index reads)
      : levels(arena, problem, machine, reads), c(arena.take<double>(whole_vectors(problem.net.V))) {}
};

template <class Real>
bool draw(const Parts<Real>& parts, const Problem<Real>& problem, const Sampling<Real>& sampling,
          const Machine& machine) {
  const Index B = problem.steps.B, V = problem.net.V;
  bool stopped = false;
  Look look(machine, 0, &stopped);
  parts.levels.pack(problem.flat);
  Inputs<Real> inputs = problem.inputs;
  for (Index t = 0; t < sampling.T; ++t) {
    const Rows<Real> y = parts.levels.forward(inputs, look);
    if (stopped) return false;
    parts.levels.go_on();
    int64_t* const tokens = sampling.tokens + t * B;
    for (Index b = 0; b < B; ++b)
      tokens[b] = choose(y(b), V, sampling.uniforms[t * B + b], sampling.temperature, parts.c);
    inputs.tokens = tokens;
  }
  parts.levels.take_state(sampling.last);
  return true;
}

// Tokens (T, B), drawn one after the other by uniforms (T, B), the first after the problem's tokens and states; last
// are the states in which the last ones were drawn.
template <class Real>
bool sample(const Problem<Real>& problem, const Sampling<Real>& sampling, const Machine& machine) {
  return with_memory<Parts<Real>>(
      machine, [&](const Parts<Real>& parts) { return draw(parts, problem, sampling, machine); }, problem, machine,
      sampling.T * problem.steps.B);
}

}  // namespace rnncore::RNNCORE_ISA::sampling

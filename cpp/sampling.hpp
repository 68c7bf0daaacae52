// Sampling: a net reads a token, draws the next one by what it then thinks, and reads that.
#pragma once

#include "sequence.hpp"

namespace rnncore::RNNCORE_ISA::sampling {

using linear::Index;

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

// The memory of a call for one step forward, and room for a row of float64.
template <class Real>
struct Room {
  Work<Real> work;
  double* c;
  Room(Arena& arena, const Net<Real>& net, const Batch<Real>& step)
      : work(arena, net, step, Directions{true, false, false, false, 1}), c(arena.take<double>(softmax::whole(net.V))) {
    work.tape = arena.take<Real>(step.B * work.tape_row());
  }
};

// Tokens (T, B), drawn one after the other by uniforms (T, B), the first after the tokens `first` (B) and the
// states (S, B, H); last (S, B, H) are the states in which the last ones were drawn.
template <class Real>
bool sample(const Net<Real>& net, Index T, Index B, const int64_t* first, const Real* state, const double* uniforms,
            double temperature, int64_t* tokens, Real* last, const Machine& machine) {
  Batch<Real> now{1, B, first, nullptr, state, nullptr, T * B};
  const Room<Real> room = allocate<Room<Real>>(machine, net, now);
  const Work<Real>& work = room.work;
  work.pack(net, 0, 1);
  const sequence::Call<Real> step{net, now, machine, work};
  const ChunkRows rows = step.rows_of(0, 0, B, 0);
  for (Index t = 0; t < T; ++t) {
    if (machine.interrupted()) return false;
    step.forward(rows, {0, 0, B, 0, 1});
    copy(work.h + B * work.ldH, B * work.ldH, work.h);  // the new states are now those before
    for (Index b = 0; b < B; ++b) {
      copy(work.tape + b * work.tape_row(), work.others_row(), work.others + b * work.others_row());
      tokens[t * B + b] = choose(work.y + b * work.ldV, net.V, uniforms[t * B + b], temperature, room.c);
    }
    now.tokens = tokens + t * B;
  }
  for (Index b = 0; b < B; ++b) {
    copy(work.h + b * work.ldH, net.H, last + b * net.H);
    for (Index s = 0; s < work.other_states(); ++s)
      copy(work.others + b * work.others_row() + s * work.P, net.H, last + ((s + 1) * B + b) * net.H);
  }
  return true;
}

}  // namespace rnncore::RNNCORE_ISA::sampling

// One step at a time: weights that stay packed, and states that stay where the step before has left them.
#pragma once

#include "stack.hpp"

namespace rnncore::RNNCORE_ISA::stepping {

constexpr Index endless = Index{1} << 40;  // steps

// A layer that takes one step at a time; the last one makes the outputs.
template <class Real>
struct Level {
  Net net;
  Problem<Real> problem;
  Real* read;  // (B, X): what the layer below gives
  stack::OneLayer<Real> layer;

  Level(Arena& arena, const Problem<Real>& whole, Index part, const Machine& machine, Index reads)
      : net(whole.net.part(part, part == whole.net.layers - 1)),
        problem{net, whole.flat, whole.inputs, whole.state.from(part * whole.steps.B * net.H), whole.steps},
        read(arena.take<Real>(part > 0 ? whole.steps.B * net.X : 0)),
        layer(arena, part > 0 ? reading(arena) : problem, machine, {true, false, false, false, false}, reads) {
    layer.trace.tape = arena.take<Real>(whole.steps.B * layer.n.tape_row());
  }
  void* operator new(size_t, void* at) { return at; }

  // The new h, by sequences.
  Rows<Real> h() const { return {layer.trace.h + layer.n.B * layer.n.ldH, layer.n.ldH}; }

  // The step after `below`, of which h is read; y.
  Rows<Real> forward(const Level* below, Look& look) const {
    for (Index b = 0; below && b < layer.n.B; ++b) copy(below->h()(b), layer.n.X, read + b * layer.n.X);
    return layer.step_forward(look);
  }

  // Other parameters, which are not read again once they are packed.
  void pack(const Real* flat) {
    layer.forward_layer.give(layer_of(net, flat));
    layer.head.give(head_of(net, flat));
    layer.pack(0, 1);
  }

  // Zeros for the states of a sequence.
  void reset(Index b) const {
    fill(layer.trace.h + b * layer.n.ldH, layer.n.ldH, Real(0));
    fill(layer.trace.others + b * layer.n.others_row(), layer.n.others_row(), Real(0));
  }

 private:
  const Problem<Real>& reading(const Arena& arena) {
    problem.inputs = {nullptr, arena.at ? read : problem.flat};  // not read while memory is only counted
    return problem;
  }
};

// All layers of a net, one above the other.
template <class Real>
struct Levels {
  Index count, B, H;
  Level<Real>* at;

  // reads: how many steps the caller will have read in the end
  Levels(Arena& arena, const Problem<Real>& problem, const Machine& machine, Index reads)
      : count(problem.net.layers), B(problem.steps.B), H(problem.net.H), at(arena.take<Level<Real>>(count)) {
    for (Index part = 0; part < count; ++part)
      if (at)
        new (at + part) Level<Real>(arena, problem, part, machine, reads);
      else
        (void)Level<Real>(arena, problem, part, machine, reads);
  }

  void pack(const Real* flat) const {
    for (Index l = 0; l < count; ++l) at[l].pack(flat);
  }

  // y of the next step; the states before it stay until go_on.
  Rows<Real> forward(const Inputs<Real>& inputs, Look& look) const {
    at[0].layer.forward_layer.inputs = inputs;
    Rows<Real> y{};
    for (Index l = 0; l < count; ++l) y = at[l].forward(l > 0 ? at + l - 1 : nullptr, look);
    return y;
  }
  Rows<Real> h() const { return at[count - 1].h(); }

  // The states after the step take the place of those before.
  void go_on() const {
    for (Index l = 0; l < count; ++l) at[l].layer.trace.go_on();
  }

  // Those from which the next step goes on, in and out.
  void put_state(const States<const Real>& state) const {
    for (Index l = 0; l < count; ++l) at[l].layer.trace.put_state(Steps::grid(1, B), state.from(l * B * H));
  }
  void take_state(const States<Real>& state) const {
    for (Index l = 0; l < count; ++l) at[l].layer.trace.take_state(Steps::grid(0, B), state.from(l * B * H));
  }
};

// A net that is held from step to step. It lies in memory of its own, and does not move.
template <class Real>
struct Held {
  Net net;
  Steps steps;
  Machine machine;
  Problem<Real> problem;
  Levels<Real> levels;

  // Vectors' panels serve for tokens too; a net that reads nothing else has a table.
  Held(Arena& arena, const Net& of, const Real* flat, Index B, const Machine& on)
      : net(of),
        steps(Steps::grid(1, B)),
        machine(on),
        problem{net, flat, {nullptr, net.tokens == 1 ? nullptr : flat}, {}, steps},
        levels(arena, problem, machine, endless) {}
  void* operator new(size_t, void* at) { return at; }
};

template <class Real>
size_t size(const Net& net, const Real* flat, Index B, const Machine& machine) {
  Arena counting;
  (void)counting.take<Held<Real>>(1);
  (void)Held<Real>(counting, net, flat, B, machine);
  return counting.used;
}

template <class Real>
void hold(void* memory, const Net& net, const Real* flat, Index B, const Machine& machine) {
  Arena arena{static_cast<char*>(memory)};
  void* const at = arena.take<Held<Real>>(1);
  const Held<Real>* const held = new (at) Held<Real>(arena, net, flat, B, machine);
  held->levels.pack(flat);
}

template <class Real>
const Levels<Real>& levels_of(void* memory) {
  return static_cast<const Held<Real>*>(memory)->levels;
}
template <class Real>
void load(void* memory, const Real* flat) {
  levels_of<Real>(memory).pack(flat);
}
template <class Real>
void put_state(void* memory, const States<const Real>& state) {
  levels_of<Real>(memory).put_state(state);
}
template <class Real>
void take_state(void* memory, const States<Real>& state) {
  levels_of<Real>(memory).take_state(state);
}

// Zeros for the states of some sequences, those of the net in which a byte is not 0.
template <class Real>
void reset(const Levels<Real>& levels, const unsigned char* which) {
  for (Index b = 0; which && b < levels.B; ++b)
    for (Index l = 0; which[b] && l < levels.count; ++l) levels.at[l].reset(b);
}

// A step: y, or h where there are no outputs. If it was interrupted, the states stay as they are after the resets.
template <class Real>
bool step(void* memory, const OneStep<Real>& given) {
  const Held<Real>& held = *static_cast<const Held<Real>*>(memory);
  const Levels<Real>& levels = held.levels;
  bool stopped = false;
  Look look(held.machine, 0, &stopped);
  reset(levels, given.reset);
  const Rows<Real> y = levels.forward(given.inputs, look);
  if (stopped) return false;
  const Index V = held.net.V, width = V > 0 ? V : held.net.H;
  const Rows<Real> out = V > 0 ? y : levels.h();
  for (Index b = 0; b < levels.B; ++b) copy(out(b), width, given.out + b * width);
  levels.go_on();
  return true;
}

}  // namespace rnncore::RNNCORE_ISA::stepping

// The calls of rnncore.torch: of a net without outputs, whose arrays are given by their addresses.
#pragma once

#include "calls.hpp"

namespace rnncore {

// What a call reads: x, the states, a mask for each layer but the first; on the way back h, the tape, and the gradients
// with respect to h and the last states; and the weights of each part in PyTorch's order, W_ih, W_hh, and no bias or
// two. 0 stands for a state, a mask or a gradient that is not given.
template <class Real>
struct ModuleCall {
  SeenProblem<Real> seen;
  Kept<Real> kept{};
  OutputGradients<Real> by{};
  std::unique_ptr<Real[]> biases;  // of each part: zeros, or the sum of two for a cell that has but one
  std::unique_ptr<LayerArrays<const Real>[]> apart;
  ptrdiff_t sums;  // how many numbers of the biases, which lie last in flat, are sums of two

  ModuleCall(const Net& net, py::handle shape, py::handle given, py::handle steps, bool back) {
    Addresses at(given);
    seen.see_at(net, shape, steps, at);
    if (back) {
      kept = {{at.next<Real>(), net.W()}, at.next_or_null<Real>()};  // some cells have no tape
      by.dh = {at.next_or_null<Real>(), net.W()};
      by.dstate = at.next_states<Real>(net);
    }
    see_weights(net, at);
  }

  Problem<Real> problem(const Net& net) const {
    Problem<Real> problem = seen.problem(net, apart[0].W_xh, false);  // flat is not read
    problem.apart = apart.get();
    return problem;
  }

 private:
  void see_weights(const Net& net, Addresses& at) {
    const ptrdiff_t parts = net.parts(), G = net.G();
    const bool has_biases = at.left() > 2 * parts, adds = has_biases && !net.shape.own_recurrent_bias;
    if (net.V > 0 || at.left() != (has_biases ? 4 : 2) * parts)
      throw py::value_error("there must be two or four weights for each part of a net without outputs");
    sums = adds ? parts * G : 0;
    const StandardRounding rounding;
    biases = std::make_unique<Real[]>(static_cast<size_t>(parts * G));
    apart = std::make_unique<LayerArrays<const Real>[]>(static_cast<size_t>(parts));
    for (ptrdiff_t part = 0; part < parts; ++part) {
      Real* const made = biases.get() + part * G;
      LayerArrays<const Real>& arrays = apart[part] = {at.next<Real>(), at.next<Real>(), made, made};
      if (!has_biases) continue;
      arrays.b_x = at.next<Real>(), arrays.b_h = at.next<Real>();
      if (!adds) continue;
      for (ptrdiff_t g = 0; g < G; ++g) made[g] = arrays.b_x[g] + arrays.b_h[g];
      arrays.b_x = arrays.b_h = made;
    }
  }
};

// States as PyTorch has them: with an axis for parts in any case.
template <class Real>
Shape shape_of_module_state(const Net& net, const SeenProblem<Real>& seen) {
  return seen.is_one() ? Shape{net.parts(), net.H} : Shape{net.parts(), seen.steps().B, net.H};
}

// h, the tape, the last states.
template <class Real>
py::object module_forward(int isa, const Net& net, py::handle shape, py::handle at, py::handle steps,
                          const Options& options) {
  const ModuleCall<Real> call(net, shape, at, steps, false);
  const SeenProblem<Real>& seen = call.seen;
  auto h = new_array<Real>(seen.lead().and_then(net.W())),
       tape = new_array<Real>(shape_of_tape(net, seen.steps().count));
  NewStates<Real> last(net, shape_of_module_state(net, seen));
  run(threads_for(options.threads, net, seen, {1, 0, true}), kernels<Real>(isa).forward, call.problem(net),
      Outputs<Real>{nullptr, {h.mutable_data(), net.W()}, tape.mutable_data(), last.pointers()});
  return last.take_behind(h, tape);
}

// The gradients with respect to the weights, as rnncore has them, to x or None, and to the initial states. The gradient
// of a sum of two biases is that of each: behind the others there are copies, since PyTorch's users change gradients in
// place.
template <class Real>
py::object module_backward(int isa, const Net& net, py::handle shape, py::handle at, py::handle steps,
                           const Options& options) {
  const ModuleCall<Real> call(net, shape, at, steps, true);
  GradientArrays<Real> grads(net, call.seen, options.need_dinputs, shape_of_module_state(net, call.seen), call.sums);
  run(threads_for(options.threads, net, call.seen, {1, 1, false}), kernels<Real>(isa).backward, call.problem(net),
      call.kept, call.by, grads.pointers());
  Real* const end = grads.flat.mutable_data() + net.size();
  std::copy_n(end - call.sums, call.sums, end);
  return grads.dstate.take_behind(grads.flat, grads.dinputs);
}

}  // namespace rnncore

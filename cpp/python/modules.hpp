// The calls of rnncore.torch: of a net without outputs, whose arrays are given by their addresses.
#pragma once

#include "calls.hpp"

namespace rnncore {

// The weights of each part, as PyTorch has them: W_ih, W_hh, and no bias or two, which a cell with one has as a sum.
template <class Real>
class ModuleWeights {
 public:
  ModuleWeights(const Net& net, Addresses& at) {
    const ptrdiff_t each = at.left() / net.parts(), G = net.G();
    const bool has_biases = each > 2, own = net.shape.own_recurrent_bias;
    if (net.V > 0 || at.left() != net.parts() * (has_biases ? 4 : 2))
      throw py::value_error("there must be two or four weights for each part of a net without outputs");
    if (!has_biases || !own) biases_.resize(static_cast<size_t>(net.parts() * G));
    for (ptrdiff_t part = 0; part < net.parts(); ++part) {
      const Real *const W_xh = at.next<Real>(), *const W_hh = at.next<Real>();
      const Real *const b_x = has_biases ? at.next<Real>() : nullptr, *const b_h =
                                                                          has_biases ? at.next<Real>() : nullptr;
      Real* const made = biases_.data() + (biases_.empty() ? 0 : part * G);
      if (has_biases && !own) std::transform(b_x, b_x + G, b_h, made, [](Real x, Real h) { return x + h; });
      apart_.push_back({W_xh, W_hh, biases_.empty() ? b_x : made, biases_.empty() ? b_h : made});
    }
  }
  const LayerArrays<const Real>* apart() const { return apart_.data(); }

 private:
  std::vector<Real> biases_;  // sums, or zeros
  std::vector<LayerArrays<const Real>> apart_;
};

template <class Real>
struct ModuleCalls {
  // h, the tape, the last states. at: x, the states, a mask for each layer but the first, and the weights. Where there
  // are no masks or no states these are 0.
  static py::object forward(int isa, const Net& net, py::handle shape, py::handle given, py::handle steps,
                            const Options& options) {
    Addresses at(given);
    SeenProblem<Real> seen;
    seen.see_at(net, shape, steps, at);
    const ModuleWeights<Real> weights(net, at);
    auto h = new_array<Real>(seen.lead().and_then(net.W())),
         tape = new_array<Real>(shape_of_tape(net, seen.steps().count));
    NewStates<Real> last(net, seen.is_one(), seen.steps().B);
    const Outputs<Real> outputs{nullptr, {h.mutable_data(), net.W()}, tape.mutable_data(), last.pointers()};
    run(threads_for(options.threads, net, seen, {1, 0, true}), kernels<Real>(isa).forward,
        problem_of(net, seen, weights), outputs);
    return tuple_of(h, tape, last.take());
  }

  // What Calls::backward gives. at: x, the states and masks as before, h, the tape, the gradients with respect to h and
  // to the last states, or 0 for none, and the weights.
  static py::object backward(int isa, const Net& net, py::handle shape, py::handle given, py::handle steps,
                             const Options& options) {
    Addresses at(given);
    SeenProblem<Real> seen;
    seen.see_at(net, shape, steps, at);
    const Real *const h = at.next<Real>(), *const tape = at.next<Real>(), *const dh = at.next<Real>();
    const OutputGradients<Real> by{nullptr, {dh, net.W()}, at.next_states<Real>(net), {nullptr, 0}};
    const ModuleWeights<Real> weights(net, at);
    GradientArrays<Real> grads(net, seen, options.need_dinputs);
    run(threads_for(options.threads, net, seen, {1, 1, false}), kernels<Real>(isa).backward,
        problem_of(net, seen, weights), Kept<Real>{{h, net.W()}, tape}, by, grads.pointers());
    return tuple_of(grads.flat, grads.dstate.take(), grads.dinputs);
  }

 private:
  static Problem<Real> problem_of(const Net& net, const SeenProblem<Real>& seen, const ModuleWeights<Real>& weights) {
    Problem<Real> problem = seen.problem(net, weights.apart()->W_xh, false);  // flat is not read
    problem.apart = weights.apart();
    return problem;
  }
};

}  // namespace rnncore

// The calls that run kernels: from arguments to arrays of results, one crossing each.
#pragma once

#include <chrono>

#include "../dispatch.hpp"
#include "../system/call.hpp"
#include "arguments.hpp"
#include "gil.hpp"
#include "work.hpp"

namespace rnncore {

template <class Real>
const Kernels<Real>& kernels(int isa) {
  const Column& column = *instruction_sets()[isa].column;
  if constexpr (std::is_same_v<Real, float>)
    return column.float32;
  else
    return column.float64;
}

// Calls f<Real>: Real is double if an array holds that, else float.
template <class Function>
auto by_type(py::handle array, Function f) {
  const auto* const dtype = py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr);
  return dtype->type_num == numpy_types().float64 ? f(double{}) : f(float{});
}

// How often a kernel has asked whether to go on, in this thread: for the tests.
inline thread_local int64_t looks = 0;

// Asks Python's signal handlers now and then, so that Ctrl-C stops a long call.
inline bool interrupted() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds patience{tuning::milliseconds_between_signals};
  thread_local Clock::time_point asked = Clock::now();
  ++looks;
  const Clock::time_point now = Clock::now();
  if (now - asked < patience) return false;
  asked = now;
  const WithGil gil;
  return PyErr_CheckSignals() != 0;
}

// Runs a kernel without the GIL.
template <class Kernel, class... Arguments>
void run(int threads, Kernel kernel, const Arguments&... arguments) {
  bool done;
  {
    const WithoutGil unlocked;
    done = run_kernel(threads, interrupted, kernel, arguments...);
  }
  if (!done) throw py::error_already_set();
}

template <class... Objects>
py::object tuple_of(Objects&&... objects) {
  PyObject* const tuple = PyTuple_New(sizeof...(objects));
  if (!tuple) throw py::error_already_set();
  Py_ssize_t i = 0;
  (PyTuple_SET_ITEM(tuple, i++, objects.release().ptr()), ...);
  return py::reinterpret_steal<py::object>(tuple);
}

// Arrays for states in the form of the call: one, or a tuple of them.
template <class Real>
class NewStates {
 public:
  NewStates(const Net& net, const Shape& shape) : count_(net.shape.states) {
    for (int s = 0; s < count_; ++s) {
      py::array_t<Real> array = new_array<Real>(shape);
      pointers_.each[s] = array.mutable_data();
      arrays_[s] = std::move(array);
    }
  }
  NewStates(const Net& net, bool one, ptrdiff_t B) : NewStates(net, shape_of_state(net, one, B)) {}
  const States<Real>& pointers() const { return pointers_; }
  py::object take() {
    if (count_ == 1) return std::move(arrays_[0]);
    return tuple_of(arrays_[0], arrays_[1]);
  }
  // The same behind others, in one tuple.
  py::object take_behind(py::object a, py::object b) {
    if (count_ == 1) return tuple_of(a, b, arrays_[0]);
    return tuple_of(a, b, arrays_[0], arrays_[1]);
  }

 private:
  static_assert(most_states == 2);
  int count_;
  py::object arrays_[most_states];
  States<Real> pointers_{};
};

template <class T>
py::object copy_of(const Shape& shape, const T* from) {
  py::array_t<T> to = new_array<T>(shape);
  std::copy_n(from, shape.size(), to.mutable_data());
  return std::move(to);
}

// Copies of the initial states, or None.
template <class Real>
py::object copy_of_states(const Net& net, const SeenProblem<Real>& seen, const Problem<Real>& problem) {
  if (!problem.state.each[0]) return py::none();
  NewStates<Real> copies(net, seen.is_one(), problem.steps.B);
  for (int s = 0; s < net.shape.states; ++s)
    std::copy_n(problem.state.each[s], net.parts() * problem.steps.B * net.H, copies.pointers().each[s]);
  return copies.take();
}

// Copies of the inputs, and of the masks if there are any.
template <class Real>
py::object copy_of_inputs(const Net& net, const SeenProblem<Real>& seen, const Problem<Real>& problem) {
  py::object read = seen.has_tokens() ? copy_of(seen.lead(), problem.inputs.tokens)
                                      : copy_of(seen.lead().and_then(net.X), problem.inputs.vectors);
  if (seen.masks().empty()) return read;
  py::tuple masks(seen.masks().size());
  for (size_t i = 0; i < seen.masks().size(); ++i) masks[i] = copy_of(seen.lead().and_then(net.W()), seen.masks()[i]);
  return tuple_of(read, masks);
}

// Arrays for gradients; what Python gets of them.
template <class Real>
struct GradientArrays {
  py::array_t<Real> flat;
  NewStates<Real> dstate;
  py::object dinputs = py::none();
  Real* dx = nullptr;

  GradientArrays(const Net& net, const SeenProblem<Real>& seen, bool need_dinputs)
      : GradientArrays(net, seen, need_dinputs, shape_of_state(net, seen.is_one(), seen.steps().B)) {}
  // more: for how many numbers there is room behind those of flat
  GradientArrays(const Net& net, const SeenProblem<Real>& seen, bool need_dinputs, const Shape& of_state,
                 ptrdiff_t more = 0)
      : flat(new_array<Real>({net.size() + more})), dstate(net, of_state) {
    if (!need_dinputs) return;
    py::array_t<Real> array = new_array<Real>(seen.lead().and_then(net.X));
    dx = array.mutable_data();
    dinputs = std::move(array);
  }
  Gradients<Real> pointers() { return {flat.mutable_data(), dstate.pointers(), dx}; }
};

// The shape of the tape, as problem.py's Kept has it.
inline Shape shape_of_tape(const Net& net, ptrdiff_t steps) {
  if (net.parts() == 1) return {steps, net.shape.kept(), whole_vectors(net.H)};
  return {(net.layers - 1) * steps * net.W() + net.parts() * net.tape_size(steps)};
}

template <class Real>
struct Calls {
  // What the user gave in place of an array, or null.
  static const Real* optional(py::handle given, const Shape& shape, bool& good) {
    Seen seen;
    if (given.is_none()) return nullptr;
    good = good && seen.see_as<Real>(given, shape);
    return good ? seen.data<const Real>() : nullptr;
  }
  static const Real* numbers(py::handle flat) {
    return reinterpret_cast<const Real*>(py::detail::array_proxy(flat.ptr())->data);
  }

  // y, h, the tape, the last states, and copies of the inputs, of the initial states, and of the resets of the full
  // grid.
  static py::object forward(int isa, const Net& net, py::handle flat, py::handle inputs, py::handle state,
                            py::handle steps, const Options& options) {
    SeenProblem<Real> seen;
    if (!seen.see(net, inputs, state, steps) || seen.may_be_vectors(net)) return py::none();
    const Problem<Real> problem = seen.problem(net, numbers(flat), options.last);
    auto y = new_array<Real>(seen.lead(options.last).and_then(net.V)),
         h = new_array<Real>(seen.lead().and_then(net.W()));
    auto tape = new_array<Real>(shape_of_tape(net, seen.steps().count));
    NewStates<Real> last(net, seen.is_one(), seen.steps().B);
    py::object read = copy_of_inputs(net, seen, problem);
    py::object first = copy_of_states(net, seen, problem);
    py::object resets = py::none();
    if (problem.steps.full() && problem.steps.resets) resets = copy_of(seen.lead(), problem.steps.resets);
    const Outputs<Real> outputs{y.mutable_data(), {h.mutable_data(), net.W()}, tape.mutable_data(), last.pointers()};
    run(threads_for(options.threads, net, seen, {1, 0, true}), kernels<Real>(isa).forward, problem, outputs);
    py::detail::array_proxy(h.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
    return tuple_of(y, h, tape, last.take(), read, first, resets);
  }

  // The gradients with respect to the parameters, the initial states, and the inputs or None. later: the first of these
  // from the steps after, or None.
  static py::object backward(int isa, const Net& net, py::handle flat, py::handle kept, py::handle given,
                             const Options& options, py::handle later) {
    SeenBackward seen;
    if (!seen.see(net, kept, given, options)) return py::none();
    if (!seen.by.dy && !seen.by.dh.at && !seen.by.has_dstate()) return py::none();
    GradientArrays<Real> grads(net, seen.forward, options.need_dinputs);
    Gradients<Real> pointers = grads.pointers();
    pointers.later = optional_later(net, later);
    run(threads_for(options.threads, net, seen.forward, {1, 1, false}), kernels<Real>(isa).backward,
        seen.forward.problem(net, numbers(flat), options.last), seen.kept, seen.by, pointers);
    return tuple_of(grads.flat, grads.dstate.take(), grads.dinputs);
  }

  // The gradients with respect to gates, the initial states, and, if so wanted, the states after each step. Arguments
  // are canonical, here and in sums.
  static py::object gates(int isa, const Net& net, py::handle flat, py::handle kept, py::handle given,
                          const Options& options, bool states) {
    SeenBackward seen;
    if (!seen.see(net, kept, given, options)) throw py::value_error("the arguments of gates must be canonical");
    const ptrdiff_t N = seen.steps().count, width = padded<Real>(net.G());
    const ptrdiff_t arrays = splits(net) ? 2 : 1;
    auto all = new_array<Real>({net.parts(), arrays, N, width});
    py::array_t<Real> dstates = new_array<Real>({net.parts(), net.shape.states, states ? N : 0, net.H});
    NewStates<Real> first(net, seen.forward.is_one(), seen.steps().B);
    Problem<Real> problem = seen.forward.problem(net, numbers(flat), options.last);
    problem.gates = all.mutable_data();
    Gradients<Real> grads{nullptr, first.pointers(), nullptr};
    if (states) grads.dstates = dstates.mutable_data();
    run(threads_for(options.threads, net, seen.forward, {1, 0, false}), kernels<Real>(isa).backward, problem, seen.kept,
        seen.by, grads);
    for (ptrdiff_t row = 0; row < net.parts() * arrays * N; ++row)
      std::fill(problem.gates + row * width + net.G(), problem.gates + (row + 1) * width, Real(0));
    return tuple_of(all, first.take(), states ? py::object(dstates) : py::none());
  }

  // The gradients with respect to the parameters, of all steps, or of each sequence by itself, and the inputs or None.
  static py::object sums(int isa, const Net& net, py::handle flat, py::handle kept, py::handle given, py::handle gates,
                         const Options& options, ptrdiff_t first, ptrdiff_t end) {
    SeenBackward seen;
    bool good = seen.see(net, kept, given, options);
    const bool each = first >= 0;
    const ptrdiff_t N = seen.steps().count;
    const Real* const all = optional(gates, {net.parts(), splits(net) ? 2 : 1, N, padded<Real>(net.G())}, good);
    if (!good || (each && (end < first || end > seen.steps().B)))
      throw py::value_error("the arguments of sums must be canonical");
    auto to = each ? new_array<Real>({end - first, net.size()}) : new_array<Real>({net.size()});
    GradientArrays<Real> grads(net, seen.forward, options.need_dinputs);
    Problem<Real> problem = seen.forward.problem(net, numbers(flat), options.last);
    problem.gates = const_cast<Real*>(all);  // which are only read
    seen.kept.has_gates = true;
    Gradients<Real> pointers = grads.pointers();
    pointers.flat = to.mutable_data();
    if (each) pointers.each = {first, end, net.size()};
    run(threads_for(options.threads, net, seen.forward, {0, 1, false}), kernels<Real>(isa).backward, problem, seen.kept,
        seen.by, pointers);
    return tuple_of(to, grads.dinputs);
  }

  // What bptt gives, of canonical arguments, with the sum of the gradients of the sequences, each shortened, and their
  // lengths; None where it takes more than one pass: for several parts, and several threads.
  static py::object each(int isa, const Net& net, py::handle flat, py::handle problem_arguments, py::handle labels,
                         const Options& options, double longest) {
    const auto item = [&](int i) { return py::handle(PyTuple_GET_ITEM(problem_arguments.ptr(), i)); };
    SeenProblem<Real> seen;
    SeenLabels<Real> label(options.loss);
    if (!seen.see(net, item(0), item(1), item(2))) throw py::value_error("the arguments of each must be canonical");
    const Steps steps = options.last ? last_steps(seen.steps()) : seen.steps();
    if (!label.see(steps, seen.lead(options.last), net.V, labels, true))
      throw py::value_error("the labels of each must be canonical");
    if (net.parts() > 1 || threads_for(options.threads, net, seen, {2, 1, true}) > 1) return py::none();
    const ptrdiff_t arrays = splits(net) ? 2 : 1, N = seen.steps().count, B = seen.steps().B;
    double loss = 0;
    GradientArrays<Real> grads(net, seen, options.need_dinputs);
    auto losses = new_array<Real>(seen.lead(options.last)), one = new_array<Real>({net.size()}),
         gates = new_array<Real>({arrays, N, padded<Real>(net.G())});
    auto lengths = new_array<double>({B});
    NewStates<Real> last(net, seen.is_one(), B);
    Gradients<Real> pointers = grads.pointers();
    std::fill_n(pointers.flat, net.size(), Real(-0.0));  // the number to add when nothing is to be added
    pointers.shortened = {pointers.flat, longest, lengths.mutable_data()};
    pointers.each = {0, B, net.size()};
    pointers.flat = one.mutable_data();
    Problem<Real> problem = seen.problem(net, numbers(flat), options.last);
    problem.gates = gates.mutable_data();
    run(1, kernels<Real>(isa).bptt, problem, label.labels(),
        Losses<Real>{&loss, losses.mutable_data(), last.pointers()}, pointers);
    return tuple_of(py::float_(loss), losses, py::int_(label.count(steps, net.V)), grads.flat, last.take(),
                    grads.dstate.take(), grads.dinputs, lengths);
  }

  // J, the losses, how many steps have one, the gradient with respect to the parameters, the last states, and as
  // backward. What has not been checked may have one label a sequence whatever the options say.
  static py::object bptt(int isa, const Net& net, py::handle flat, py::handle problem_arguments, py::handle labels,
                         bool checked, const Options& options, py::handle after) {
    const auto item = [&](int i) { return py::handle(PyTuple_GET_ITEM(problem_arguments.ptr(), i)); };
    SeenProblem<Real> seen;
    SeenLabels<Real> label(options.loss);
    if (net.V == 0 || !seen.see(net, item(0), item(1), item(2))) return py::none();
    if (options.need_dinputs && seen.has_tokens()) return py::none();
    const auto see = [&](bool last) {
      const Steps of = last ? last_steps(seen.steps()) : seen.steps();
      return label.see(of, seen.lead(last), net.V, labels, checked);
    };
    bool last_only = options.last;
    if (!see(last_only)) {
      if (checked || seen.is_ambiguous(net.V) || !see(true)) return py::none();
      last_only = true;
    }
    const Steps labelled = last_only ? last_steps(seen.steps()) : seen.steps();
    double loss = 0;
    GradientArrays<Real> grads(net, seen, options.need_dinputs);
    auto losses = new_array<Real>(seen.lead(last_only));
    NewStates<Real> last(net, seen.is_one(), seen.steps().B);
    Losses<Real> given{&loss, losses.mutable_data(), last.pointers()};
    Gradients<Real> pointers = grads.pointers();
    if (!after.is_none()) {
      pointers.later = optional_later(net, PyTuple_GET_ITEM(after.ptr(), 1));
      if (!seen.see_states(net, PyTuple_GET_ITEM(after.ptr(), 0), given.dstate))
        throw py::value_error("what the steps after give must be canonical");
    }
    run(threads_for(options.threads, net, seen, {2, 1, true}), kernels<Real>(isa).bptt,
        seen.problem(net, numbers(flat), last_only), label.labels(), given, pointers);
    return tuple_of(py::float_(loss), losses, py::int_(label.count(labelled, net.V)), grads.flat, last.take(),
                    grads.dstate.take(), grads.dinputs);
  }

  // Of an output layer alone: the losses, how many steps have one, and the gradients with respect to flat, which is
  // W_hy and b_y, and to h. The arguments are canonical; later as in backward.
  static py::object outputs(int isa, py::handle flat, py::handle h, py::handle labels, py::handle steps,
                            const Options& options, py::handle later) {
    const auto* const array = py::detail::array_proxy(h.ptr());
    const ptrdiff_t W = array->dimensions[array->nd - 1];
    const Net net = Net::of_outputs(W, py::detail::array_proxy(flat.ptr())->dimensions[0] / (W + 1));
    SeenProblem<Real> seen;
    SeenLabels<Real> label(options.loss);
    if (!seen.see(net, h, py::none(), steps) || !label.see(seen.steps(), seen.lead(), net.V, labels, true))
      throw py::value_error("the arguments of outputs must be canonical");
    auto losses = new_array<Real>(seen.lead()), dh = new_array<Real>(seen.lead().and_then(W)),
         grads = new_array<Real>({net.size()});
    Gradients<Real> pointers{grads.mutable_data(), {}, dh.mutable_data()};
    pointers.later = optional_later(net, later);
    run(threads_for(options.threads, net, seen, {2, 1, true}), kernels<Real>(isa).outputs,
        seen.problem(net, numbers(flat), false), label.labels(), Losses<Real>{nullptr, losses.mutable_data(), {}},
        pointers);
    return tuple_of(losses, py::int_(label.count(seen.steps(), net.V)), grads, dh);
  }

 private:
  // Whether the cell has gradients of its own with respect to the recurrent part: see rnncore/cells.py.
  static bool splits(const Net& net) { return net.shape.own_recurrent_bias && !net.shape.gates_after_reset; }

  // The gradients with respect to the parameters from the steps after, or null.
  static const Real* optional_later(const Net& net, py::handle given) {
    bool good = true;
    const Real* const later = optional(given, {net.size()}, good);
    if (!good) throw py::value_error("what the steps after give must be canonical");
    return later;
  }

  // The arguments of the way back.
  struct SeenBackward {
    SeenProblem<Real> forward;
    Kept<Real> kept{};
    OutputGradients<Real> by{};

    const Steps& steps() const { return forward.steps(); }

    // Whether all are canonical. kept: inputs, state, steps, h, the tape; given: dy, dh, dstate.
    bool see(const Net& net, py::handle what, py::handle given, const Options& options) {
      const auto item = [](py::handle tuple, int i) { return py::handle(PyTuple_GET_ITEM(tuple.ptr(), i)); };
      if (!forward.see(net, item(what, 0), item(what, 1), item(what, 2))) return false;
      if (options.need_dinputs && forward.has_tokens()) return false;
      bool good = true;
      const Shape outputs = forward.lead(options.last).and_then(net.V), units = forward.lead().and_then(net.W());
      kept = {{optional(item(what, 3), units, good), net.W()},
              optional(item(what, 4), shape_of_tape(net, steps().count), good)};
      by = {
          optional(item(given, 0), outputs, good), {optional(item(given, 1), units, good), net.W()}, {}, {nullptr, 0}};
      return good && forward.see_states(net, item(given, 2), by.dstate) && kept.h.at && (net.V > 0 || !by.dy);
    }
  };
};

}  // namespace rnncore

// The extension module rnncore._core: from arrays to kernels and back, one crossing a call.
//
// Arrays come from rnncore/checks.py, which has made them contiguous, of the right type and of the right
// shape; nothing is checked twice. The one caller is rnncore/_cpp.py.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <system_error>
#include <type_traits>
#include <vector>

#include "dispatch.hpp"
#include "machine.hpp"
#include "results.hpp"

namespace py = pybind11;

namespace rnncore {
namespace {

template <class Real>
const Kernels<Real>& kernels(int isa) {
  const Columns& columns = *instruction_sets()[isa].columns;
  if constexpr (std::is_same_v<Real, float>)
    return columns.float32;
  else
    return columns.float64;
}

// Asks Python's signal handlers now and then, so that Ctrl-C stops a long call.
bool interrupted() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds patience{50};
  thread_local Clock::time_point asked = Clock::now();
  const Clock::time_point now = Clock::now();
  if (now - asked < patience) return false;
  asked = now;
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

// Runs a kernel without the GIL and in the standard rounding mode; with one thread if the system gives no more,
// which changes no result.
template <class Kernel, class... Arguments>
void run(int threads, Kernel kernel, const Arguments&... arguments) {
  bool done;
  {
    py::gil_scoped_release unlocked;
    StandardRounding rounding;
    try {
      done = kernel(arguments..., make_machine(threads, interrupted));
    } catch (const std::system_error&) {
      done = kernel(arguments..., make_machine(1, interrupted));
    }
  }
  if (!done) throw py::error_already_set();
}

template <class T>
const T* data(const py::array& array) {
  return static_cast<const T*>(array.data());
}
template <class T>
const T* data(const std::optional<py::array>& array) {
  return array ? data<T>(*array) : nullptr;
}

// A cell and the sizes of a net.
struct Sizes {
  int cell;
  ptrdiff_t X, H, V;

  const CellShape& shape() const { return instruction_sets()[0].columns->cells[cell]; }
  ptrdiff_t G() const { return shape().gates * H; }
  ptrdiff_t biases() const { return shape().apart ? 2 * G() : G(); }
  ptrdiff_t parameters() const { return G() * (X + H) + V * H + biases() + V; }
};

// Where the parameters, or their gradients, lie in Params.flat; rnncore/cells.py sets the order. b_x is null where a
// cell has none.
template <class T>
struct Places {
  T *W_xh, *W_hh, *W_hy, *b_x, *b_h, *b_y;

  Places(const Sizes& n, T* flat) : W_xh(flat) {
    W_hh = W_xh + n.G() * n.X, W_hy = W_hh + n.G() * n.H;
    T* const biases = W_hy + n.V * n.H;
    b_y = biases + n.biases(), b_h = b_y - n.G(), b_x = n.shape().apart ? biases : nullptr;
  }
};

template <class Real>
Net<Real> net_of(const Sizes& n, const Real* flat) {
  const Places<const Real> at(n, flat);
  return {n.cell, n.X, n.H, n.V, at.W_xh, at.W_hh, at.W_hy, at.b_x, at.b_h, at.b_y};
}

template <class Real>
Batch<Real> batch_of(const py::array& inputs, const Real* state, const std::optional<py::array>& lengths) {
  const bool tokens = inputs.ndim() == 2;
  return {inputs.shape(0),
          inputs.shape(1),
          tokens ? data<int64_t>(inputs) : nullptr,
          tokens ? nullptr : data<Real>(inputs),
          state,
          data<int64_t>(lengths),
          inputs.shape(0) * inputs.shape(1)};
}

template <class Real>
Labels<Real> labels_of(const py::array& labels) {
  if (labels.ndim() == 2) return {data<int64_t>(labels), nullptr};
  return {nullptr, data<Real>(labels)};
}

// What form results have: the canonical one, or that of the arguments, where one sequence has no axis B and the
// states of a cell that has but one have no axis S.
struct Form {
  bool canonical, one;
};

constexpr Form canonical{true, false};

// Room for states.
template <class Real>
py::array_t<Real> states_of(const Sizes& n, ptrdiff_t B, Form form) {
  const ptrdiff_t S = n.shape().states;
  if (!form.canonical && S == 1) return form.one ? rows<Real>({n.H}) : rows<Real>({B, n.H});
  return form.one ? rows<Real>({S, n.H}) : rows<Real>({S, B, n.H});
}

// Room for the gradients; what Python gets of them.
template <class Real>
struct GradientArrays {
  py::array_t<Real> flat, dstate;
  std::optional<py::array_t<Real>> dinputs;

  GradientArrays(const Sizes& n, const Batch<Real>& batch, Form form, bool need_dinputs)
      : flat(rows<Real>({n.parameters()})), dstate(states_of<Real>(n, batch.B, form)) {
    if (need_dinputs) dinputs = form.one ? rows<Real>({batch.T, n.X}) : rows<Real>({batch.T, batch.B, n.X});
  }
  Gradients<Real> pointers(const Sizes& n) {
    const Places<Real> at(n, flat.mutable_data());
    Real* const dx = dinputs ? dinputs->mutable_data() : nullptr;
    return {at.W_xh, at.W_hh, at.W_hy, at.b_x, at.b_h, at.b_y, dstate.mutable_data(), dx};
  }
};

// As many threads as asked for (0: as the work is worth), but none without a sequence or hidden units to work on.
int threads_for(int threads, const Sizes& n, ptrdiff_t T, ptrdiff_t B, int passes) {
  const double products = static_cast<double>(n.G() * (n.X + n.H) + n.H * n.V);
  const int wanted = threads ? threads : choose_threads(2.0 * passes * static_cast<double>(T * B) * products);
  return static_cast<int>(std::min<ptrdiff_t>({wanted, std::max(B, n.H), 1024}));
}

template <class Real>
py::tuple forward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& state,
                  const std::optional<py::array>& lengths, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  auto y = rows<Real>({batch.T, batch.B, n.V}), h = rows<Real>({batch.T, batch.B, n.H}),
       tape = rows<Real>({batch.T, batch.B, n.shape().kept(), tape_width(n.H)}),
       last = states_of<Real>(n, batch.B, canonical);
  const Outputs<Real> outputs{y.mutable_data(), h.mutable_data(), tape.mutable_data(), last.mutable_data()};
  run(threads_for(threads, n, batch.T, batch.B, 1), kernels<Real>(isa).forward, net_of(n, data<Real>(flat)), batch,
      outputs);
  return py::make_tuple(y, h, tape, last);
}

template <class Real>
py::tuple backward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& h,
                   const py::array& tape, const py::array& state, const std::optional<py::array>& lengths,
                   const std::optional<py::array>& dy, const std::optional<py::array>& dh,
                   const std::optional<py::array>& dstate, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  GradientArrays<Real> grads(n, batch, canonical, need_dinputs);
  const OutputGradients<Real> given{data<Real>(dy), data<Real>(dh), data<Real>(dstate)};
  run(threads_for(threads, n, batch.T, batch.B, 2), kernels<Real>(isa).backward, net_of(n, data<Real>(flat)), batch,
      data<Real>(h), data<Real>(tape), given, grads.pointers(n));
  return py::make_tuple(grads.flat, grads.dstate, grads.dinputs);
}

template <class Real>
py::tuple run_bptt(int isa, const Sizes& n, const Real* flat, const Batch<Real>& batch, const Labels<Real>& labels,
                   Form form, bool need_dinputs, int threads) {
  double loss = 0;
  GradientArrays<Real> grads(n, batch, form, need_dinputs);
  auto losses = form.one ? rows<Real>({batch.T}) : rows<Real>({batch.T, batch.B});
  auto last = states_of<Real>(n, batch.B, form);
  run(threads_for(threads, n, batch.T, batch.B, 3), kernels<Real>(isa).bptt, net_of<Real>(n, flat), batch, labels,
      &loss, losses.mutable_data(), last.mutable_data(), grads.pointers(n));
  return py::make_tuple(loss, std::move(losses), std::move(grads.flat), std::move(last), std::move(grads.dstate),
                        std::move(grads.dinputs));
}

template <class Real>
py::tuple bptt(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& labels,
               const py::array& state, const std::optional<py::array>& lengths, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  return run_bptt(isa, n, data<Real>(flat), batch, labels_of<Real>(labels), canonical, need_dinputs, threads);
}

template <class Real>
py::tuple cross_entropy(int isa, const py::array& y, const py::array& labels, const std::optional<py::array>& lengths) {
  const Batch<Real> batch{y.shape(0), y.shape(1), nullptr, nullptr, nullptr, data<int64_t>(lengths), 0};
  auto losses = rows<Real>({batch.T, batch.B}), dy = rows<Real>({batch.T, batch.B, y.shape(2)});
  run(1, kernels<Real>(isa).cross_entropy, batch, y.shape(2), data<Real>(y), labels_of<Real>(labels),
      losses.mutable_data(), dy.mutable_data());
  return py::make_tuple(losses, dy);
}

template <class Real>
py::array softmax(int isa, const py::array& y) {
  auto p = rows<Real>({y.shape(0), y.shape(1)});
  run(1, kernels<Real>(isa).softmax, y.shape(0), y.shape(1), data<Real>(y), p.mutable_data());
  return p;
}

// state (S, B, H); first (B); uniforms (T, B).
template <class Real>
py::tuple sample(int isa, const Sizes& n, const py::array& flat, const py::array& first, const py::array& state,
                 const py::array& uniforms, double temperature) {
  const ptrdiff_t T = uniforms.shape(0), B = uniforms.shape(1);
  auto tokens = rows<int64_t>({T, B});
  auto last = states_of<Real>(n, B, canonical);
  run(1, kernels<Real>(isa).sample, net_of(n, data<Real>(flat)), T, B, data<int64_t>(first), data<Real>(state),
      data<double>(uniforms), temperature, tokens.mutable_data(), last.mutable_data());
  return py::make_tuple(tokens, last);
}

template <class Real>
py::array elementary(int isa, const std::string& name, const py::array& x) {
  auto out = rows<Real>({x.shape(0)});
  const Kernels<Real>& k = kernels<Real>(isa);
  StandardRounding rounding;
  const auto f = name == "exp" ? k.exp : name == "tanh" ? k.tanh : name == "sigmoid" ? k.sigmoid : k.log;
  f(data<Real>(x), out.mutable_data(), x.shape(0));
  return out;
}

// Calls f<Real> for the type of the parameters (or whatever array decides), float64 or else float32.
#define RNNCORE_BY_TYPE(f, array, ...) \
  (py::isinstance<py::array_t<double>>(array) ? f<double>(__VA_ARGS__) : f<float>(__VA_ARGS__))

// An array as bptt may find it: contiguous and aligned; holds<T>() says that its numbers are T in native byte order.
struct Seen {
  const py::detail::PyArray_Proxy* array = nullptr;
  ptrdiff_t ndim() const { return array->nd; }
  ptrdiff_t size(ptrdiff_t axis) const { return array->dimensions[axis]; }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(array->data);
  }
  template <class T>
  bool holds() const {
    static const int number = py::dtype::of<T>().num();
    const auto* const dtype = py::detail::array_descriptor_proxy(array->descr);
    return dtype->type_num == number && dtype->byteorder == '=';
  }
};

bool see(py::handle object, Seen& seen) {
  constexpr int wanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  static PyTypeObject* const type = py::detail::npy_api::get().PyArray_Type_;
  if (Py_TYPE(object.ptr()) != type) return false;
  seen.array = py::detail::array_proxy(object.ptr());
  return (seen.array->flags & wanted) == wanted;
}

template <class T>
py::object copy_of(py::array_t<T> room, const T* from) {
  std::copy_n(from, room.size(), room.mutable_data());
  return std::move(room);
}

// Whether all numbers are in [low, low + count).
bool in_range(const int64_t* numbers, ptrdiff_t n, int64_t low, uint64_t count) {
  bool good = true;
  for (ptrdiff_t i = 0; i < n; ++i) good &= static_cast<uint64_t>(numbers[i]) - static_cast<uint64_t>(low) < count;
  return good;
}

// An array of this shape, which ends with an axis of n numbers: (n), (B, n), (T, n) or (T, B, n).
template <class Real>
bool see_rows(py::handle object, std::initializer_list<ptrdiff_t> shape, Seen& seen) {
  if (!see(object, seen) || !seen.holds<Real>() || seen.ndim() != static_cast<ptrdiff_t>(shape.size())) return false;
  return std::equal(shape.begin(), shape.end(), seen.array->dimensions);
}

// The states of a cell, each (H) or (B, H), as one array (S, B, H): null if they are None.
template <class Real>
struct SeenStates {
  Seen one;
  std::vector<Real> several;

  bool see_all(const Sizes& n, bool no_B, ptrdiff_t B, py::handle given) {
    const auto see_one = [&](py::handle state) {
      return no_B ? see_rows<Real>(state, {n.H}, one) : see_rows<Real>(state, {B, n.H}, one);
    };
    if (given.is_none()) return true;
    const ptrdiff_t S = n.shape().states;
    if (S == 1) return see_one(given);
    if (!PyTuple_CheckExact(given.ptr()) || PyTuple_GET_SIZE(given.ptr()) != S) return false;
    several.reserve(S * B * n.H);
    for (ptrdiff_t s = 0; s < S; ++s) {
      if (!see_one(PyTuple_GET_ITEM(given.ptr(), s))) return false;
      several.insert(several.end(), one.data<Real>(), one.data<Real>() + B * n.H);
    }
    return true;
  }
  const Real* data() const {
    if (!several.empty()) return several.data();
    return one.array ? one.data<Real>() : nullptr;
  }
};

// Steps as they are seen, of `axes` axes: (T) or (T, B).
template <class Real>
struct SeenSteps {
  Seen x;
  SeenStates<Real> states;
  ptrdiff_t axes, T, B;
  bool tokens;

  // Whether x is tokens or vectors of such steps, with a state for each sequence, or None.
  bool see_all(const Sizes& n, py::handle given_states) {
    tokens = x.ndim() == axes && x.holds<int64_t>();
    const bool vectors = x.ndim() == axes + 1 && x.size(axes) == n.X && x.holds<Real>();
    if (B == 0 || (!tokens && !vectors)) return false;
    if (tokens && !in_range(x.data<int64_t>(), T * B, 0, static_cast<uint64_t>(n.X))) return false;
    return states.see_all(n, axes == 1, B, given_states);
  }
  Batch<Real> batch() const {
    return {T,       B,    tokens ? x.data<int64_t>() : nullptr, tokens ? nullptr : x.data<Real>(), states.data(),
            nullptr, T * B};
  }
  Form form() const { return {false, axes == 1}; }
};

// The functions that end with _at_once take arguments as the user gave them, if they are in canonical form already;
// else they return None, and rnncore/checks.py makes them so or says what is wrong. Small nets cost little more than
// their arguments' checks.
template <class Real>
py::object bptt_at_once(int isa, const Sizes& n, const Real* flat, py::handle inputs, py::handle labels,
                        py::handle state, bool need_dinputs, int threads) {
  Seen label;
  SeenSteps<Real> steps;
  if (!see(labels, label) || !label.holds<int64_t>() || label.ndim() < 1 || label.ndim() > 2) return py::none();
  if (!see(inputs, steps.x) || n.V == 0) return py::none();
  steps.axes = label.ndim(), steps.T = label.size(0), steps.B = steps.axes == 2 ? label.size(1) : 1;
  if (steps.x.ndim() < steps.axes || steps.x.size(0) != steps.T) return py::none();
  if (steps.axes == 2 && steps.x.size(1) != steps.B) return py::none();
  if (!steps.see_all(n, state) || (steps.tokens && need_dinputs)) return py::none();
  const auto classes = static_cast<uint64_t>(n.V) + 1;
  if (!in_range(label.data<int64_t>(), steps.T * steps.B, -1, classes)) return py::none();
  return run_bptt(isa, n, flat, steps.batch(), Labels<Real>{label.data<int64_t>(), nullptr}, steps.form(), need_dinputs,
                  threads);
}

// The results of forward, and what it read, in canonical form: copies of the inputs and of the states.
template <class Real>
py::object forward_at_once(int isa, const Sizes& n, const Real* flat, py::handle inputs, py::handle state,
                           int threads) {
  SeenSteps<Real> steps;
  const Seen& x = steps.x;
  if (!see(inputs, steps.x) || x.ndim() < 1 || x.ndim() > 3) return py::none();
  steps.axes = x.ndim() - (x.holds<int64_t>() ? 0 : 1);
  if (steps.axes < 1 || steps.axes > 2) return py::none();
  steps.T = x.size(0), steps.B = steps.axes == 2 ? x.size(1) : 1;
  if (!steps.see_all(n, state)) return py::none();
  const ptrdiff_t T = steps.T, B = steps.B, S = n.shape().states;
  const bool one = steps.axes == 1;
  auto y = one ? rows<Real>({T, n.V}) : rows<Real>({T, B, n.V});
  auto h = one ? rows<Real>({T, n.H}) : rows<Real>({T, B, n.H});
  auto tape = rows<Real>({T, B, n.shape().kept(), tape_width(n.H)});
  auto last = states_of<Real>(n, B, steps.form());
  py::object read;
  if (steps.tokens)
    read = copy_of(rows<int64_t>({T, B}), x.data<int64_t>());
  else
    read = copy_of(rows<Real>({T, B, n.X}), x.data<Real>());
  auto first = rows<Real>({S, B, n.H});
  if (steps.states.data())
    std::copy_n(steps.states.data(), S * B * n.H, first.mutable_data());
  else
    std::fill_n(first.mutable_data(), S * B * n.H, Real(0));
  const Outputs<Real> outputs{y.mutable_data(), h.mutable_data(), tape.mutable_data(), last.mutable_data()};
  run(threads_for(threads, n, T, B, 1), kernels<Real>(isa).forward, net_of(n, flat), steps.batch(), outputs);
  return py::make_tuple(std::move(y), std::move(h), std::move(tape), std::move(last), std::move(read),
                        std::move(first));
}

// inputs, h, tape and state are what forward kept.
template <class Real>
py::object backward_at_once(int isa, const Sizes& n, const Real* flat, const py::array& inputs, const py::array& h,
                            const py::array& tape, const py::array& state, bool one, py::handle dy, py::handle dh,
                            py::handle dstate, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), std::nullopt);
  const ptrdiff_t T = batch.T, B = batch.B;
  Seen by_y, by_h;
  SeenStates<Real> by_states;
  const bool has_dy = !dy.is_none(), has_dh = !dh.is_none();
  if ((!has_dy && !has_dh && dstate.is_none()) || (batch.tokens && need_dinputs)) return py::none();
  if (has_dy && (n.V == 0 || !(one ? see_rows<Real>(dy, {T, n.V}, by_y) : see_rows<Real>(dy, {T, B, n.V}, by_y))))
    return py::none();
  if (has_dh && !(one ? see_rows<Real>(dh, {T, n.H}, by_h) : see_rows<Real>(dh, {T, B, n.H}, by_h))) return py::none();
  if (!by_states.see_all(n, one, B, dstate)) return py::none();
  GradientArrays<Real> grads(n, batch, Form{false, one}, need_dinputs);
  const OutputGradients<Real> given{has_dy ? by_y.data<Real>() : nullptr, has_dh ? by_h.data<Real>() : nullptr,
                                    by_states.data()};
  run(threads_for(threads, n, T, B, 2), kernels<Real>(isa).backward, net_of(n, flat), batch, data<Real>(h),
      data<Real>(tape), given, grads.pointers(n));
  return py::make_tuple(std::move(grads.flat), std::move(grads.dstate), std::move(grads.dinputs));
}

// Calls f with the numbers of Params.flat.
template <class Function>
py::object by_type(py::handle flat, Function f) {
  const Seen parameters{py::detail::array_proxy(flat.ptr())};
  if (parameters.holds<double>()) return f(parameters.data<double>());
  return f(parameters.data<float>());
}

// The numbers of an array that rnncore/checks.py has seen: contiguous, and of this type.
template <class T>
T* numbers_of(py::handle array) {
  return reinterpret_cast<T*>(py::detail::array_proxy(array.ptr())->data);
}

// Runs a function of optim.hpp, as `run` does a kernel.
template <class Function>
double without_gil(Function function) {
  py::gil_scoped_release unlocked;
  StandardRounding rounding;
  return function();
}

// memory and numbers: tuples of arrays (n) and of floats.
template <class Real>
double optimizer_step(int isa, ptrdiff_t n, int rule, py::handle x, py::handle dx, py::handle memory,
                      py::handle numbers, double scale, double longest, double limit) {
  Step<Real> step{static_cast<Rule>(rule),
                  n,
                  numbers_of<Real>(x),
                  numbers_of<Real>(dx),
                  nullptr,
                  nullptr,
                  {},
                  scale,
                  longest,
                  limit};
  const ptrdiff_t vectors = PyTuple_GET_SIZE(memory.ptr()), count = PyTuple_GET_SIZE(numbers.ptr());
  if (vectors > 0) step.first = numbers_of<Real>(PyTuple_GET_ITEM(memory.ptr(), 0));
  if (vectors > 1) step.second = numbers_of<Real>(PyTuple_GET_ITEM(memory.ptr(), 1));
  for (ptrdiff_t i = 0; i < count; ++i) step.numbers[i] = PyFloat_AS_DOUBLE(PyTuple_GET_ITEM(numbers.ptr(), i));
  return without_gil([&] { return kernels<Real>(isa).step(step); });
}

py::list instruction_sets_here() {
  py::list names;
  for (int i = 0; i < instruction_set_count; ++i)
    if (instruction_sets()[i].runs_here) names.append(py::make_tuple(instruction_sets()[i].name, i));
  return names;
}

py::list cells() {
  const Columns& columns = *instruction_sets()[0].columns;
  py::list rows;
  for (int i = 0; i < columns.cell_count; ++i) {
    const CellShape& shape = columns.cells[i];
    rows.append(py::make_tuple(shape.name, shape.gates, shape.states, shape.saved, shape.apart, shape.late));
  }
  return rows;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  using Optional = std::optional<py::array>;
  m.def("instruction_sets", instruction_sets_here, "(name, number) of each that runs here, worst first");
  m.def("cells", cells, "what rnncore/cells.py says of each, in numbers, in the order of their own");
  m.def("set_rounding_mode", set_rounding_mode, "sets this thread's mode and returns what it was");
  m.attr("STANDARD_ROUNDING") = standard_rounding_mode;
  m.def("forward", [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat,
                      const py::array& inputs, const py::array& state, const Optional& lengths, int threads) {
    const Sizes n{cell, X, H, V};
    return RNNCORE_BY_TYPE(forward, flat, isa, n, flat, inputs, state, lengths, threads);
  });
  m.def("backward",
        [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
           const py::array& h, const py::array& tape, const py::array& state, const Optional& lengths,
           const Optional& dy, const Optional& dh, const Optional& dstate, bool need_dinputs, int threads) {
          const Sizes n{cell, X, H, V};
          return RNNCORE_BY_TYPE(backward, flat, isa, n, flat, inputs, h, tape, state, lengths, dy, dh, dstate,
                                 need_dinputs, threads);
        });
  m.def("bptt",
        [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
           const py::array& labels, const py::array& state, const Optional& lengths, bool need_dinputs, int threads) {
          const Sizes n{cell, X, H, V};
          return RNNCORE_BY_TYPE(bptt, flat, isa, n, flat, inputs, labels, state, lengths, need_dinputs, threads);
        });
  m.def("bptt_at_once",
        [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, py::handle flat, py::handle inputs,
           py::handle labels, py::handle state, bool need_dinputs, int threads) -> py::object {
          return by_type(flat, [&](auto* numbers) {
            return bptt_at_once(isa, {cell, X, H, V}, numbers, inputs, labels, state, need_dinputs, threads);
          });
        });
  m.def("forward_at_once",
        [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, py::handle flat, py::handle inputs,
           py::handle state, int threads) -> py::object {
          return by_type(flat, [&](auto* numbers) {
            return forward_at_once(isa, {cell, X, H, V}, numbers, inputs, state, threads);
          });
        });
  m.def("backward_at_once",
        [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, py::handle flat, const py::array& inputs,
           const py::array& h, const py::array& tape, const py::array& state, bool one, py::handle dy, py::handle dh,
           py::handle dstate, bool need_dinputs, int threads) -> py::object {
          return by_type(flat, [&](auto* numbers) {
            return backward_at_once(isa, {cell, X, H, V}, numbers, inputs, h, tape, state, one, dy, dh, dstate,
                                    need_dinputs, threads);
          });
        });
  m.def("cross_entropy", [](int isa, const py::array& y, const py::array& labels, const Optional& lengths) {
    return RNNCORE_BY_TYPE(cross_entropy, y, isa, y, labels, lengths);
  });
  m.def("softmax", [](int isa, const py::array& y) { return RNNCORE_BY_TYPE(softmax, y, isa, y); });
  m.def("sample", [](int isa, int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat,
                     const py::array& first, const py::array& state, const py::array& uniforms, double temperature) {
    const Sizes n{cell, X, H, V};
    return RNNCORE_BY_TYPE(sample, flat, isa, n, flat, first, state, uniforms, temperature);
  });
  m.def("norm", [](int isa, bool wide, ptrdiff_t n, py::handle x) {
    if (wide) return without_gil([&] { return kernels<double>(isa).norm(numbers_of<double>(x), n); });
    return without_gil([&] { return kernels<float>(isa).norm(numbers_of<float>(x), n); });
  });
  m.def("clip", [](int isa, bool wide, ptrdiff_t n, py::handle dx, double longest, double limit) {
    if (wide) return without_gil([&] { return kernels<double>(isa).clip(numbers_of<double>(dx), n, longest, limit); });
    return without_gil([&] { return kernels<float>(isa).clip(numbers_of<float>(dx), n, longest, limit); });
  });
  m.def("step", [](int isa, bool wide, ptrdiff_t n, int rule, py::handle x, py::handle dx, py::handle memory,
                   py::handle numbers, double scale, double longest, double limit) {
    const auto step = wide ? optimizer_step<double> : optimizer_step<float>;
    return step(isa, n, rule, x, dx, memory, numbers, scale, longest, limit);
  });
  m.def("elementary", [](int isa, const std::string& name, const py::array& x) {
    return RNNCORE_BY_TYPE(elementary, x, isa, name, x);
  });
}

}  // namespace rnncore

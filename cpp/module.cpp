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

#include "dispatch.hpp"
#include "machine.hpp"

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

template <class Real>
py::array_t<Real> rows(std::initializer_list<ptrdiff_t> shape) {
  return py::array_t<Real>(py::array::ShapeContainer(shape));
}

struct Sizes {
  ptrdiff_t X, H, V;
};

// The parameters as they lie in Params.flat; rnncore/cells.py sets the order.
template <class Real>
Net<Real> net_of(const Sizes& n, const Real* W_xh) {
  const Real* const W_hh = W_xh + n.H * n.X;
  const Real* const W_hy = W_hh + n.H * n.H;
  const Real* const b_h = W_hy + n.V * n.H;
  return {n.X, n.H, n.V, W_xh, W_hh, W_hy, b_h, b_h + n.H};
}

template <class Real>
Batch<Real> batch_of(const py::array& inputs, const Real* state, const std::optional<py::array>& lengths) {
  const bool tokens = inputs.ndim() == 2;
  return {inputs.shape(0),
          inputs.shape(1),
          tokens ? data<int64_t>(inputs) : nullptr,
          tokens ? nullptr : data<Real>(inputs),
          state,
          data<int64_t>(lengths)};
}

template <class Real>
Labels<Real> labels_of(const py::array& labels) {
  if (labels.ndim() == 2) return {data<int64_t>(labels), nullptr};
  return {nullptr, data<Real>(labels)};
}

// Room for the gradients; what Python gets of them.
template <class Real>
struct GradientArrays {
  py::array_t<Real> flat, dstate;
  std::optional<py::array_t<Real>> dinputs;

  GradientArrays(const Sizes& n, const Batch<Real>& batch, bool one, bool need_dinputs)
      : flat(n.H * n.X + n.H * n.H + n.V * n.H + n.H + n.V),
        dstate(one ? rows<Real>({n.H}) : rows<Real>({batch.B, n.H})) {
    if (need_dinputs) dinputs = one ? rows<Real>({batch.T, n.X}) : rows<Real>({batch.T, batch.B, n.X});
  }
  Gradients<Real> pointers(const Sizes& n) {
    Real* const W_xh = flat.mutable_data();
    Real* const W_hh = W_xh + n.H * n.X;
    Real* const W_hy = W_hh + n.H * n.H;
    Real* const b_h = W_hy + n.V * n.H;
    return {W_xh, W_hh, W_hy, b_h, b_h + n.H, dstate.mutable_data(), dinputs ? dinputs->mutable_data() : nullptr};
  }
};

// As many threads as asked for (0: as the work is worth), but none without a sequence or hidden units to work on.
int threads_for(int threads, const Sizes& n, ptrdiff_t T, ptrdiff_t B, int passes) {
  const double products = static_cast<double>(n.H) * static_cast<double>(n.X + n.H + n.V);
  const int wanted = threads ? threads : choose_threads(2.0 * passes * static_cast<double>(T * B) * products);
  return static_cast<int>(std::min<ptrdiff_t>({wanted, std::max(B, n.H), 1024}));
}

template <class Real>
py::tuple forward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& state,
                  const std::optional<py::array>& lengths, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  auto y = rows<Real>({batch.T, batch.B, n.V}), h = rows<Real>({batch.T, batch.B, n.H}),
       last = rows<Real>({batch.B, n.H});
  const Outputs<Real> outputs{y.mutable_data(), h.mutable_data(), last.mutable_data()};
  run(threads_for(threads, n, batch.T, batch.B, 1), kernels<Real>(isa).forward, net_of(n, data<Real>(flat)), batch,
      outputs);
  return py::make_tuple(y, h, last);
}

template <class Real>
py::tuple backward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& h,
                   const py::array& state, const std::optional<py::array>& lengths, const std::optional<py::array>& dy,
                   const std::optional<py::array>& dh, const std::optional<py::array>& dstate, bool need_dinputs,
                   int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  GradientArrays<Real> grads(n, batch, false, need_dinputs);
  const OutputGradients<Real> given{data<Real>(dy), data<Real>(dh), data<Real>(dstate)};
  run(threads_for(threads, n, batch.T, batch.B, 2), kernels<Real>(isa).backward, net_of(n, data<Real>(flat)), batch,
      data<Real>(h), given, grads.pointers(n));
  return py::make_tuple(grads.flat, grads.dstate, grads.dinputs);
}

// Of one sequence (T,) rather than a batch (T, B), results have no axis B.
template <class Real>
py::tuple run_bptt(int isa, const Sizes& n, const Real* flat, const Batch<Real>& batch, const Labels<Real>& labels,
                   bool one, bool need_dinputs, int threads) {
  double loss = 0;
  GradientArrays<Real> grads(n, batch, one, need_dinputs);
  auto losses = one ? rows<Real>({batch.T}) : rows<Real>({batch.T, batch.B});
  auto last = one ? rows<Real>({n.H}) : rows<Real>({batch.B, n.H});
  run(threads_for(threads, n, batch.T, batch.B, 3), kernels<Real>(isa).bptt, net_of<Real>(n, flat), batch, labels,
      &loss, losses.mutable_data(), last.mutable_data(), grads.pointers(n));
  return py::make_tuple(loss, std::move(losses), std::move(grads.flat), std::move(last), std::move(grads.dstate),
                        std::move(grads.dinputs));
}

template <class Real>
py::tuple bptt(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& labels,
               const py::array& state, const std::optional<py::array>& lengths, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  return run_bptt(isa, n, data<Real>(flat), batch, labels_of<Real>(labels), false, need_dinputs, threads);
}

template <class Real>
py::tuple cross_entropy(int isa, const py::array& y, const py::array& labels, const std::optional<py::array>& lengths) {
  const Batch<Real> batch{y.shape(0), y.shape(1), nullptr, nullptr, nullptr, data<int64_t>(lengths)};
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

// state (B, H); first (B); uniforms (T, B).
template <class Real>
py::tuple sample(int isa, const Sizes& n, const py::array& flat, const py::array& first, const py::array& state,
                 const py::array& uniforms, double temperature) {
  const ptrdiff_t T = uniforms.shape(0), B = uniforms.shape(1);
  auto tokens = rows<int64_t>({T, B});
  auto last = rows<Real>({B, n.H});
  run(1, kernels<Real>(isa).sample, net_of(n, data<Real>(flat)), T, B, data<int64_t>(first), data<Real>(state),
      data<double>(uniforms), temperature, tokens.mutable_data(), last.mutable_data());
  return py::make_tuple(tokens, last);
}

template <class Real>
py::array elementary(int isa, const std::string& name, const py::array& x) {
  auto out = rows<Real>({x.shape(0)});
  const Kernels<Real>& k = kernels<Real>(isa);
  StandardRounding rounding;
  (name == "exp" ? k.exp : name == "tanh" ? k.tanh : k.log)(data<Real>(x), out.mutable_data(), x.shape(0));
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

// Whether all numbers are in [low, low + count).
bool in_range(const int64_t* numbers, ptrdiff_t n, int64_t low, uint64_t count) {
  bool good = true;
  for (ptrdiff_t i = 0; i < n; ++i) good &= static_cast<uint64_t>(numbers[i]) - static_cast<uint64_t>(low) < count;
  return good;
}

// bptt on arguments as the user gave them, if they are in canonical form already; else None, and
// rnncore/checks.py makes them so or says what is wrong. Small nets cost little more than their arguments' checks.
template <class Real>
py::object bptt_at_once(int isa, const Sizes& n, const Real* flat, py::handle inputs, py::handle labels,
                        py::handle state, bool need_dinputs, int threads) {
  Seen x, label, h;
  if (!see(labels, label) || !label.holds<int64_t>() || label.ndim() < 1 || label.ndim() > 2) return py::none();
  if (!see(inputs, x) || n.V == 0) return py::none();
  const ptrdiff_t axes = label.ndim(), T = label.size(0), B = axes == 2 ? label.size(1) : 1;
  if (B == 0 || x.ndim() < axes || x.size(0) != T || (axes == 2 && x.size(1) != B)) return py::none();
  const bool tokens = x.ndim() == axes && x.holds<int64_t>() && !need_dinputs;
  const bool vectors = x.ndim() == axes + 1 && x.size(axes) == n.X && x.holds<Real>();
  if (!tokens && !vectors) return py::none();
  const bool given = !state.is_none();
  if (given && !(see(state, h) && h.holds<Real>() && h.ndim() == axes && h.size(axes - 1) == n.H)) return py::none();
  if (given && axes == 2 && h.size(0) != B) return py::none();
  if (!in_range(label.data<int64_t>(), T * B, -1, static_cast<uint64_t>(n.V) + 1)) return py::none();
  if (tokens && !in_range(x.data<int64_t>(), T * B, 0, static_cast<uint64_t>(n.X))) return py::none();

  const Batch<Real> batch{T,
                          B,
                          tokens ? x.data<int64_t>() : nullptr,
                          tokens ? nullptr : x.data<Real>(),
                          given ? h.data<Real>() : nullptr,
                          nullptr};
  return run_bptt(isa, n, flat, batch, Labels<Real>{label.data<int64_t>(), nullptr}, axes == 1, need_dinputs, threads);
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

}  // namespace

PYBIND11_MODULE(_core, m) {
  using Optional = std::optional<py::array>;
  m.def("instruction_sets", instruction_sets_here, "(name, number) of each that runs here, worst first");
  m.def("set_rounding_mode", set_rounding_mode, "sets this thread's mode and returns what it was");
  m.attr("STANDARD_ROUNDING") = standard_rounding_mode;
  m.def("forward", [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
                      const py::array& state, const Optional& lengths, int threads) {
    const Sizes n{X, H, V};
    return RNNCORE_BY_TYPE(forward, flat, isa, n, flat, inputs, state, lengths, threads);
  });
  m.def("backward", [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
                       const py::array& h, const py::array& state, const Optional& lengths, const Optional& dy,
                       const Optional& dh, const Optional& dstate, bool need_dinputs, int threads) {
    const Sizes n{X, H, V};
    return RNNCORE_BY_TYPE(backward, flat, isa, n, flat, inputs, h, state, lengths, dy, dh, dstate, need_dinputs,
                           threads);
  });
  m.def("bptt",
        [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
           const py::array& labels, const py::array& state, const Optional& lengths, bool need_dinputs, int threads) {
          const Sizes n{X, H, V};
          return RNNCORE_BY_TYPE(bptt, flat, isa, n, flat, inputs, labels, state, lengths, need_dinputs, threads);
        });
  m.def("bptt_at_once",
        [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, py::handle flat, py::handle inputs, py::handle labels,
           py::handle state, bool need_dinputs, int threads) -> py::object {
          const Sizes n{X, H, V};
          Seen parameters{py::detail::array_proxy(flat.ptr())};
          if (parameters.holds<double>())
            return bptt_at_once(isa, n, parameters.data<double>(), inputs, labels, state, need_dinputs, threads);
          return bptt_at_once(isa, n, parameters.data<float>(), inputs, labels, state, need_dinputs, threads);
        });
  m.def("cross_entropy", [](int isa, const py::array& y, const py::array& labels, const Optional& lengths) {
    return RNNCORE_BY_TYPE(cross_entropy, y, isa, y, labels, lengths);
  });
  m.def("softmax", [](int isa, const py::array& y) { return RNNCORE_BY_TYPE(softmax, y, isa, y); });
  m.def("sample", [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& first,
                     const py::array& state, const py::array& uniforms, double temperature) {
    const Sizes n{X, H, V};
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

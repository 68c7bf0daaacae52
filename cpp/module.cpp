// The extension module rnncore._core: from arrays to kernels and back, one crossing a call.
//
// Arrays come from rnncore/checks.py, which has made them contiguous, of the right type and of the right
// shape; nothing is checked twice. The one caller is rnncore/_cpp.py.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <optional>
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

// Runs a kernel without the GIL and in the standard rounding mode.
template <class Kernel, class... Arguments>
void run(int threads, Kernel kernel, const Arguments&... arguments) {
  bool done;
  {
    py::gil_scoped_release unlocked;
    StandardRounding rounding;
    done = kernel(arguments..., make_machine(threads, interrupted));
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
Net<Real> net_of(const Sizes& n, const py::array& flat) {
  const Real* const W_xh = data<Real>(flat);
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

  GradientArrays(const Sizes& n, const Batch<Real>& batch, bool need_dinputs)
      : flat(n.H * n.X + n.H * n.H + n.V * n.H + n.H + n.V), dstate(rows<Real>({batch.B, n.H})) {
    if (need_dinputs) dinputs = rows<Real>({batch.T, batch.B, n.X});
  }
  Gradients<Real> pointers(const Sizes& n) {
    Real* const W_xh = flat.mutable_data();
    Real* const W_hh = W_xh + n.H * n.X;
    Real* const W_hy = W_hh + n.H * n.H;
    Real* const b_h = W_hy + n.V * n.H;
    return {W_xh, W_hh, W_hy, b_h, b_h + n.H, dstate.mutable_data(), dinputs ? dinputs->mutable_data() : nullptr};
  }
};

int threads_for(int threads, const Sizes& n, ptrdiff_t steps, int passes) {
  const double products = static_cast<double>(n.H) * static_cast<double>(n.X + n.H + n.V);
  return threads ? threads : choose_threads(2.0 * passes * static_cast<double>(steps) * products);
}

template <class Real>
py::tuple forward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& state,
                  const std::optional<py::array>& lengths, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  auto y = rows<Real>({batch.T, batch.B, n.V}), h = rows<Real>({batch.T, batch.B, n.H}),
       last = rows<Real>({batch.B, n.H});
  const Outputs<Real> outputs{y.mutable_data(), h.mutable_data(), last.mutable_data()};
  run(threads_for(threads, n, batch.T * batch.B, 1), kernels<Real>(isa).forward, net_of<Real>(n, flat), batch,
      outputs);
  return py::make_tuple(y, h, last);
}

template <class Real>
py::tuple backward(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& h,
                   const py::array& state, const std::optional<py::array>& lengths,
                   const std::optional<py::array>& dy, const std::optional<py::array>& dh,
                   const std::optional<py::array>& dstate, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  GradientArrays<Real> grads(n, batch, need_dinputs);
  const OutputGradients<Real> given{data<Real>(dy), data<Real>(dh), data<Real>(dstate)};
  run(threads_for(threads, n, batch.T * batch.B, 2), kernels<Real>(isa).backward, net_of<Real>(n, flat), batch,
      data<Real>(h), given, grads.pointers(n));
  return py::make_tuple(grads.flat, grads.dstate, grads.dinputs);
}

template <class Real>
py::tuple bptt(int isa, const Sizes& n, const py::array& flat, const py::array& inputs, const py::array& labels,
               const py::array& state, const std::optional<py::array>& lengths, bool need_dinputs, int threads) {
  const auto batch = batch_of<Real>(inputs, data<Real>(state), lengths);
  GradientArrays<Real> grads(n, batch, need_dinputs);
  double loss = 0;
  auto losses = rows<Real>({batch.T, batch.B}), last = rows<Real>({batch.B, n.H});
  run(threads_for(threads, n, batch.T * batch.B, 3), kernels<Real>(isa).bptt, net_of<Real>(n, flat), batch,
      labels_of<Real>(labels), &loss, losses.mutable_data(), last.mutable_data(), grads.pointers(n));
  return py::make_tuple(loss, losses, grads.flat, last, grads.dstate, grads.dinputs);
}

template <class Real>
py::tuple cross_entropy(int isa, const py::array& y, const py::array& labels,
                        const std::optional<py::array>& lengths) {
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
  m.def("bptt", [](int isa, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, const py::array& flat, const py::array& inputs,
                   const py::array& labels, const py::array& state, const Optional& lengths, bool need_dinputs,
                   int threads) {
    const Sizes n{X, H, V};
    return RNNCORE_BY_TYPE(bptt, flat, isa, n, flat, inputs, labels, state, lengths, need_dinputs, threads);
  });
  m.def("cross_entropy", [](int isa, const py::array& y, const py::array& labels, const Optional& lengths) {
    return RNNCORE_BY_TYPE(cross_entropy, y, isa, y, labels, lengths);
  });
  m.def("softmax", [](int isa, const py::array& y) { return RNNCORE_BY_TYPE(softmax, y, isa, y); });
  m.def("elementary", [](int isa, const std::string& name, const py::array& x) {
    return RNNCORE_BY_TYPE(elementary, x, isa, name, x);
  });
}

}  // namespace rnncore

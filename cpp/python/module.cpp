// The extension module rnncore._core. Its one caller is rnncore/_cpp.py; _core.pyi says what each function takes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>

#include "../system/processor.hpp"
#include "modules.hpp"
#include "stepper.hpp"

namespace rnncore {

const NumpyTypes& numpy_types() {
  static const NumpyTypes types;
  return types;
}

namespace {

// The numbers of an array that rnncore has checked: contiguous, and of this type.
template <class T>
T* numbers_of(py::handle array) {
  return reinterpret_cast<T*>(py::detail::array_proxy(array.ptr())->data);
}
ptrdiff_t size_of(py::handle array, int axis) { return py::detail::array_proxy(array.ptr())->dimensions[axis]; }

Steps steps_of(const py::array& y, py::handle steps) {
  if (py::isinstance<PackedSteps>(steps)) return steps.cast<const PackedSteps&>().steps();
  return Steps::grid(y.shape(0), y.ndim() == 2 ? 1 : y.shape(1));
}

template <class Real>
py::object loss(int isa, int number, const py::array& y, py::handle labels, py::handle given_steps) {
  const Steps steps = steps_of(y, given_steps);
  const int axes = static_cast<int>(y.ndim()) - 1;
  const Shape lead = axes == 1 ? Shape{y.shape(0)} : Shape{y.shape(0), y.shape(1)};
  SeenLabels<Real> label(static_cast<Loss>(number));
  if (!label.see(steps, lead, y.shape(axes), labels, true)) return py::none();
  auto losses = new_array<Real>(lead), dy = new_array<Real>(lead.and_then(y.shape(axes)));
  run(1, kernels<Real>(isa).loss, steps, y.shape(axes), numbers_of<const Real>(y), label.labels(),
      losses.mutable_data(), dy.mutable_data());
  return tuple_of(losses, dy);
}

template <class Real>
py::object softmax(int isa, const py::array& y) {
  auto p = new_array<Real>({y.shape(0), y.shape(1)});
  run(1, kernels<Real>(isa).softmax, y.shape(0), y.shape(1), numbers_of<const Real>(y), p.mutable_data());
  return std::move(p);
}

// first (B); uniforms (T, B).
template <class Real>
py::object sample(int isa, const Net& net, py::handle flat, const py::array& first, py::handle state,
                  const py::array& uniforms, double temperature) {
  const ptrdiff_t T = uniforms.shape(0), B = uniforms.shape(1);
  SeenProblem<Real> seen;
  if (!seen.see(net, first.attr("reshape")(1, B), state, py::none())) return py::none();
  auto tokens = new_array<int64_t>({T, B});
  NewStates<Real> last(net, false, B);
  run(1, kernels<Real>(isa).sample, seen.problem(net, numbers_of<const Real>(flat), false),
      Sampling<Real>{T, numbers_of<const double>(uniforms), temperature, tokens.mutable_data(), last.pointers()});
  return tuple_of(tokens, last.take());
}

template <class Real>
py::object elementary(int isa, const std::string& name, const py::array& x) {
  auto out = new_array<Real>({x.shape(0)});
  const Kernels<Real>& k = kernels<Real>(isa);
  const StandardRounding rounding;
  const auto f = name == "exp"       ? k.exp
                 : name == "tanh"    ? k.tanh
                 : name == "sigmoid" ? k.sigmoid
                 : name == "log"     ? k.log
                                     : k.log1p;
  f(numbers_of<const Real>(x), out.mutable_data(), x.shape(0));
  return std::move(out);
}

// Runs a function of optim.hpp, as `run` does a kernel.
template <class Function>
auto without_gil(Function function) {
  const WithoutGil unlocked;
  const StandardRounding rounding;
  return function();
}

// memory and numbers: tuples of arrays (n) and of floats.
template <class Real>
double optimizer_step(int isa, int rule, py::handle x, py::handle dx, py::handle memory, py::handle numbers,
                      const double (&clipping)[3]) {
  OptimizerStep<Real> step{};
  step.rule = static_cast<Rule>(rule), step.n = size_of(x, 0);
  step.x = numbers_of<Real>(x), step.dx = numbers_of<const Real>(dx);
  step.scale = clipping[0], step.longest = clipping[1], step.limit = clipping[2];
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

py::list compiled_sets() {
  py::list names;
  for (int i = 0; i < instruction_set_count; ++i) names.append(instruction_sets()[i].name);
  return names;
}

const Column& any_column() { return *instruction_sets()[0].column; }

py::list cells() {
  py::list rows;
  for (int i = 0; i < any_column().cell_count; ++i) {
    const CellShape& shape = any_column().cells[i];
    rows.append(py::make_tuple(shape.name, shape.gates, shape.states, shape.saved, shape.own_recurrent_bias,
                               shape.gates_after_reset));
  }
  return rows;
}

// These functions run once: as cold code they are compiled for size.
[[gnu::cold]] void define_machine(py::module_& m) {
  m.def("instruction_sets", instruction_sets_here, "Return (name, number) of each that runs here, worst first.");
  m.def("compiled_sets", compiled_sets, "Return the names of all that were compiled, worst first.");
  m.def("cells", cells, "Return what rnncore/cells.py says of each cell, in numbers, in the core's order.");
  m.def("set_rounding_mode", set_rounding_mode, "Set this thread's mode and return what it was.");
  m.attr("STANDARD_ROUNDING") = standard_rounding_mode;
  m.def("looks", [] { return looks; }, "Return how often kernels of this thread asked whether to go on.");
  m.def(
      "release_memory", [] { return spare_pages().release() + release_work_areas(); },
      "Give back what is kept between calls; return how many bytes.");
  m.def(
      "tuning", [] { return std::pair(tuning::chosen.far_row_bytes, tuning::chosen.far_weights_bytes); },
      "Return far_row_bytes and far_weights_bytes, as they were chosen.");
  m.def("usable_cores", usable_cores, "Return how many cores this process may use.");
  m.def("cores_of_quota", cores_of_quota, "Return how many cores the CPU quotas under a root allow, 0 for all.");
}

[[gnu::cold]] void define_nouns(py::module_& m) {
  py::class_<Net>(m, "Net").def(
      py::init([](int cell, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, ptrdiff_t layers, ptrdiff_t directions, int tokens) {
        return Net::of(cell, any_column().cells[cell], X, H, V, layers, directions, tokens);
      }));
  py::class_<PackedSteps>(m, "Steps")
      .def(py::init(
          [](const py::array& lengths, ptrdiff_t T, bool packed, bool one, py::handle resets, py::handle order) {
            const uint8_t* const given = resets.is_none() ? nullptr : numbers_of<const uint8_t>(resets);
            const int64_t* const by_rows = order.is_none() ? nullptr : numbers_of<const int64_t>(order);
            return PackedSteps(numbers_of<const int64_t>(lengths), T, lengths.shape(0), packed, one, given, by_rows);
          }));
}

[[gnu::cold]] void define_options(py::module_& m) {
  py::class_<Options>(m, "Options").def(py::init([](bool need_dinputs, bool last, int loss, int threads) {
    return Options{need_dinputs, last, static_cast<Loss>(loss), threads};
  }));
}

[[gnu::cold]] void define_calls(py::module_& m) {
  m.def("forward", [](int isa, const Net& net, py::handle flat, py::handle inputs, py::handle state, py::handle steps,
                      const Options& options) {
    return by_type(
        flat, [&](auto real) { return Calls<decltype(real)>::forward(isa, net, flat, inputs, state, steps, options); });
  });
  m.def("backward", [](int isa, const Net& net, py::handle flat, py::handle kept, py::handle given,
                       const Options& options, py::handle later) {
    return by_type(
        flat, [&](auto real) { return Calls<decltype(real)>::backward(isa, net, flat, kept, given, options, later); });
  });
  m.def("gates", [](int isa, const Net& net, py::handle flat, py::handle kept, py::handle given, const Options& options,
                    bool states) {
    return by_type(
        flat, [&](auto real) { return Calls<decltype(real)>::gates(isa, net, flat, kept, given, options, states); });
  });
  m.def("sums", [](int isa, const Net& net, py::handle flat, py::handle kept, py::handle given, py::handle gates,
                   const Options& options, ptrdiff_t first, ptrdiff_t end) {
    return by_type(flat, [&](auto real) {
      return Calls<decltype(real)>::sums(isa, net, flat, kept, given, gates, options, first, end);
    });
  });
  m.def("bptt", [](int isa, const Net& net, py::handle flat, py::handle problem, py::handle labels, bool checked,
                   const Options& options, py::handle after) {
    return by_type(flat, [&](auto real) {
      return Calls<decltype(real)>::bptt(isa, net, flat, problem, labels, checked, options, after);
    });
  });
  m.def("each", [](int isa, const Net& net, py::handle flat, py::handle problem, py::handle labels,
                   const Options& options, double longest) {
    return by_type(flat, [&](auto real) {
      return Calls<decltype(real)>::each(isa, net, flat, problem, labels, options, longest);
    });
  });
  m.def("outputs", [](int isa, py::handle flat, py::handle h, py::handle labels, py::handle steps,
                      const Options& options, py::handle later) {
    return by_type(
        flat, [&](auto real) { return Calls<decltype(real)>::outputs(isa, flat, h, labels, steps, options, later); });
  });
  m.def("loss", [](int isa, int number, const py::array& y, py::handle labels, py::handle steps) {
    return by_type(y, [&](auto real) { return loss<decltype(real)>(isa, number, y, labels, steps); });
  });
  m.def("softmax", [](int isa, const py::array& y) {
    return by_type(y, [&](auto real) { return softmax<decltype(real)>(isa, y); });
  });
  m.def("sample", [](int isa, const Net& net, py::handle flat, const py::array& first, py::handle state,
                     const py::array& uniforms, double temperature) {
    return by_type(
        flat, [&](auto real) { return sample<decltype(real)>(isa, net, flat, first, state, uniforms, temperature); });
  });
  m.def("elementary", [](int isa, const std::string& name, const py::array& x) {
    return by_type(x, [&](auto real) { return elementary<decltype(real)>(isa, name, x); });
  });
}

[[gnu::cold]] void define_module_calls(py::module_& m) {
  m.def("module_forward", [](int isa, const Net& net, bool is_double, py::handle shape, py::handle at, py::handle steps,
                             const Options& options) {
    return (is_double ? module_forward<double> : module_forward<float>)(isa, net, shape, at, steps, options);
  });
  m.def("module_backward", [](int isa, const Net& net, bool is_double, py::handle shape, py::handle at,
                              py::handle steps, const Options& options) {
    return (is_double ? module_backward<double> : module_backward<float>)(isa, net, shape, at, steps, options);
  });
}

[[gnu::cold]] void define_optimizers(py::module_& m) {
  m.def("norm", [](int isa, py::handle x) {
    return by_type(x, [&](auto real) {
      using Real = decltype(real);
      return without_gil([&] { return kernels<Real>(isa).norm(numbers_of<Real>(x), size_of(x, 0)); });
    });
  });
  m.def("clip", [](int isa, py::handle dx, double longest, double limit) {
    return by_type(dx, [&](auto real) {
      using Real = decltype(real);
      return without_gil([&] { return kernels<Real>(isa).clip(numbers_of<Real>(dx), size_of(dx, 0), longest, limit); });
    });
  });
  m.def("add_shortened", [](int isa, py::handle total, py::handle rows, double longest) {
    return by_type(total, [&](auto real) {
      using Real = decltype(real);
      auto lengths = new_array<double>({size_of(rows, 0)});
      double* const to = lengths.mutable_data();
      without_gil([&] {
        kernels<Real>(isa).add_shortened(numbers_of<Real>(total), numbers_of<Real>(rows), size_of(rows, 0),
                                         size_of(total, 0), longest, to);
      });
      return lengths;
    });
  });
  m.def("step", [](int isa, int rule, py::handle x, py::handle dx, py::handle memory, py::handle numbers, double scale,
                   double longest, double limit) {
    return by_type(x, [&](auto real) {
      return optimizer_step<decltype(real)>(isa, rule, x, dx, memory, numbers, {scale, longest, limit});
    });
  });
}

}  // namespace

// Before Python 3.12 pybind11 waits for ever in another interpreter than the main one: PyInit__core is below.
#if PY_VERSION_HEX < 0x030C0000
#define PyInit__core begin_in_main_interpreter
#endif
PYBIND11_MODULE(_core, m) {
  // What is made once is made here, where the GIL is held: the first calls of several threads may come together.
  (void)numpy_types(), (void)spare_pages(), (void)instruction_sets();
  choose_numbers(std::getenv("RNNCORE_TUNING"));
  define_machine(m);
  define_nouns(m);
  define_options(m);
  define_calls(m);
  define_module_calls(m);
  define_optimizers(m);
  define_stepper(m);
}

}  // namespace rnncore

#if PY_VERSION_HEX < 0x030C0000
#undef PyInit__core
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) return rnncore::begin_in_main_interpreter();
  PyErr_SetString(PyExc_ImportError, "before Python 3.12 the compiled core works in the main interpreter only");
  return nullptr;
}
#endif

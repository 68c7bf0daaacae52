// A net that is held between steps: the object behind rnncore.Stepper.
//
// A small net computes under the GIL, so that nobody else is at it meanwhile. A large one releases the GIL, and a lock
// keeps other threads out. What runs within a step of the same thread, as a signal handler may, is refused.
#pragma once

#include <mutex>
#include <new>
#include <stdexcept>

#include "calls.hpp"

namespace rnncore {

// Memory for a net that is held, aligned to 64 bytes: much of it in pages of its own.
class HeldMemory {
 public:
  explicit HeldMemory(size_t bytes) {
    if (bytes >= tuning::large_result)
      pages_ = Pages(bytes);
    else
      small_ = ::operator new(bytes, std::align_val_t{tuning::cache_line});
  }
  ~HeldMemory() {
    if (small_) ::operator delete(small_, std::align_val_t{tuning::cache_line});
  }
  HeldMemory(const HeldMemory&) = delete;
  HeldMemory& operator=(const HeldMemory&) = delete;
  void* at() const { return small_ ? small_ : pages_.at(); }

 private:
  Pages pages_;
  void* small_ = nullptr;
};

// One at a time at a net that is held.
class Alone {
 public:
  explicit Alone(bool keeps_gil) : keeps_gil_(keeps_gil) {}

  // Calls work in the standard rounding mode.
  template <class Work>
  void run(Work work) {
    if (keeps_gil_) return inside(work);
    const WithoutGil unlocked;  // before the lock, whose owner may be waiting for the GIL
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (is_busy_) throw std::runtime_error("a Stepper cannot be used within one of its own steps");
    const Busy busy(is_busy_);
    inside(work);
  }

 private:
  struct Busy {
    bool& is_busy;
    explicit Busy(bool& flag) : is_busy(flag) { is_busy = true; }
    ~Busy() { is_busy = false; }
  };
  template <class Work>
  static void inside(Work work) {
    const StandardRounding rounding;
    work();
  }

  bool keeps_gil_, is_busy_ = false;
  std::recursive_mutex mutex_;
};

// What Python sees, whatever the net's dtype. Arrays are those of problem.py, of one step; what is not canonical is
// answered with None, before any work.
class Stepper {
 public:
  virtual ~Stepper() = default;
  virtual py::object step(py::handle x, py::handle reset) = 0;
  virtual py::object state() = 0;
  virtual void put_state(py::handle state) = 0;
  virtual void load(py::handle flat) = 0;
};

// Inputs and resets of one step, as they come from Python.
template <class Real>
class SeenStep {
 public:
  bool see(const Net& net, bool one, ptrdiff_t B, py::handle x, py::handle reset) {
    return see_inputs(net, one ? Shape{} : Shape{B}, x) && see_reset(one, B, reset);
  }
  OneStep<Real> step(Real* out) const { return {inputs_, reset_, out}; }

 private:
  bool see_inputs(const Net& net, const Shape& lead, py::handle x) {
    if (lead.count == 0 && is_integer(x)) {
      int too_large = 0;
      const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(x.ptr()));
      int64_t* const token = tokens_.room(1);
      *token = PyLong_AsLongLongAndOverflow(number.ptr(), &too_large);
      return !too_large && take_tokens(net, token, 1);
    }
    Seen seen;
    if (seen.see_as<Real>(x, lead.and_then(net.X))) {
      inputs_.vectors = seen.data<const Real>();
      return net.tokens != 1;
    }
    return seen.see_as<int64_t>(x, lead) &&
           take_tokens(net, tokens_.copy(seen.data<int64_t>(), lead.size()), lead.size());
  }
  static bool is_integer(py::handle x) {
    return PyLong_CheckExact(x.ptr()) || Py_TYPE(x.ptr()) == numpy_types().int64_scalar;
  }
  bool take_tokens(const Net& net, const int64_t* tokens, ptrdiff_t count) {
    inputs_.tokens = tokens;
    return net.tokens != 0 && in_range(Steps::grid(1, count), tokens, 0, net.X);
  }
  bool see_reset(bool one, ptrdiff_t B, py::handle reset) {
    if (reset.is_none()) return true;
    if (one) {
      static const unsigned char yes = 1;
      if (!PyBool_Check(reset.ptr()) && Py_TYPE(reset.ptr()) != numpy_types().bool_scalar) return false;
      if (PyObject_IsTrue(reset.ptr())) reset_ = &yes;
      return true;
    }
    Seen seen;
    if (!seen.see(reset) || seen.array->nd != 1 || seen.array->dimensions[0] != B) return false;
    reset_ = seen.data<const unsigned char>();
    return py::detail::array_descriptor_proxy(seen.array->descr)->type_num == py::detail::npy_api::NPY_BOOL_;
  }

  IndexCopy tokens_;
  Inputs<Real> inputs_{};
  const unsigned char* reset_ = nullptr;
};

template <class Real>
class StepperOf : public Stepper {
 public:
  // B: below 0 of one sequence without an axis for it
  StepperOf(int isa, const Net& net, py::handle flat, ptrdiff_t B)
      : net_(net),
        one_(B < 0),
        B_(one_ ? 1 : B),
        holding_(kernels<Real>(isa).holding),
        memory_(holding_.size(net, numbers(flat), B_, machine)),
        alone_(operations() < tuning::operations_worth_the_gil) {
    alone_.run([&] {
      holding_.hold(memory_.at(), net_, numbers(flat), B_, machine);
      holding_.put_state(memory_.at(), {});
    });
  }

  py::object step(py::handle x, py::handle reset) override {
    SeenStep<Real> seen;
    if (!seen.see(net_, one_, B_, x, reset)) return py::none();
    const ptrdiff_t width = net_.V > 0 ? net_.V : net_.H;
    auto out = new_array<Real>(one_ ? Shape{width} : Shape{B_, width});
    const OneStep<Real> given = seen.step(out.mutable_data());
    bool done = false;
    alone_.run([&] { done = holding_.step(memory_.at(), given); });
    if (!done) throw py::error_already_set();
    return std::move(out);
  }

  py::object state() override {
    NewStates<Real> states(net_, one_, B_);
    alone_.run([&] { holding_.take_state(memory_.at(), states.pointers()); });
    return states.take();
  }

  // state: None for zeros, or canonical.
  void put_state(py::handle given) override {
    States<const Real> states{};
    for (int s = 0; s < net_.shape.states && !given.is_none(); ++s)
      states.each[s] = numbers(net_.shape.states == 1 ? given : py::handle(PyTuple_GET_ITEM(given.ptr(), s)));
    alone_.run([&] { holding_.put_state(memory_.at(), states); });
  }

  void load(py::handle flat) override {
    alone_.run([&] { holding_.load(memory_.at(), numbers(flat)); });
  }

 private:
  static constexpr Machine machine{1, nullptr, nullptr, nullptr, nullptr, interrupted};
  static const Real* numbers(py::handle array) {
    return reinterpret_cast<const Real*>(py::detail::array_proxy(array.ptr())->data);
  }
  double operations() const { return operations_of(net_, static_cast<double>(B_)); }

  Net net_;
  bool one_;
  ptrdiff_t B_;
  const Holding<Real>& holding_;
  HeldMemory memory_;
  Alone alone_;
};

[[gnu::cold]] inline void define_stepper(py::module_& m) {
  py::class_<Stepper>(m, "Stepper")
      .def(py::init([](int isa, const Net& net, py::handle flat, ptrdiff_t B) -> std::unique_ptr<Stepper> {
        return by_type(flat, [&](auto real) -> std::unique_ptr<Stepper> {
          return std::make_unique<StepperOf<decltype(real)>>(isa, net, flat, B);
        });
      }))
      .def("step", [](Stepper& stepper, py::handle x, py::handle reset) { return stepper.step(x, reset); })
      .def("state", [](Stepper& stepper) { return stepper.state(); })
      .def("put_state", [](Stepper& stepper, py::handle state) { stepper.put_state(state); })
      .def("load", [](Stepper& stepper, py::handle flat) { stepper.load(flat); });
}

}  // namespace rnncore

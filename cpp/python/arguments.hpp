// Arguments as they come from Python, read in place: the arrays of src/rnncore/problem.py.
//
// What is not canonical is not read, and nothing is converted here: the caller answers None, and rnncore/arguments.py
// mends the arguments or says what is wrong with them. Small nets cost little more than these looks at their arrays.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "../problem.hpp"
#include "../steps.hpp"
#include "results.hpp"

namespace rnncore {

// The numbers of NumPy's types; filled when the module is made, and only read afterwards.
struct NumpyTypes {
  PyTypeObject* array = py::detail::npy_api::get().PyArray_Type_;
  PyTypeObject *int64_scalar = scalar_of<int64_t>(), *bool_scalar = scalar_of<bool>();
  int int64 = py::dtype::of<int64_t>().num(), float32 = py::dtype::of<float>().num(),
      float64 = py::dtype::of<double>().num(), boolean = py::dtype::of<bool>().num();

  template <class T>
  int number() const {
    if constexpr (std::is_same_v<T, int64_t>)
      return int64;
    else if constexpr (std::is_same_v<T, bool>)
      return boolean;
    else
      return std::is_same_v<T, float> ? float32 : float64;
  }

 private:
  template <class T>
  static PyTypeObject* scalar_of() {
    return reinterpret_cast<PyTypeObject*>(py::object(py::dtype::of<T>().attr("type")).release().ptr());
  }
};
const NumpyTypes& numpy_types();

// An array of exactly NumPy's type, contiguous and aligned.
struct Seen {
  const py::detail::PyArray_Proxy* array = nullptr;

  bool see(py::handle object) {
    constexpr int wanted = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if (Py_TYPE(object.ptr()) != numpy_types().array) return false;
    array = py::detail::array_proxy(object.ptr());
    return (array->flags & wanted) == wanted;
  }
  // Whether its numbers are T in native byte order, which booleans do not have.
  template <class T>
  bool holds() const {
    const auto* const dtype = py::detail::array_descriptor_proxy(array->descr);
    return dtype->type_num == numpy_types().number<T>() && dtype->byteorder == (sizeof(T) > 1 ? '=' : '|');
  }
  template <class T>
  bool see_as(py::handle object, const Shape& shape) {
    return see(object) && holds<T>() && array->nd == shape.count &&
           std::equal(shape.axes, shape.axes + shape.count, array->dimensions);
  }
  template <class T>
  T* data() const {
    return reinterpret_cast<T*>(const_cast<char*>(array->data));
  }
};

// Indices of the user's, checked in a copy that no other thread can write to while it is read.
class IndexCopy {
 public:
  int64_t* room(ptrdiff_t count) {
    if (count > few) more_ = std::make_unique<int64_t[]>(static_cast<size_t>(count));
    return count > few ? more_.get() : few_;
  }
  const int64_t* copy(const int64_t* from, ptrdiff_t count) {
    int64_t* const to = room(count);
    std::copy_n(from, count, to);
    return to;
  }

 private:
  static constexpr ptrdiff_t few = tuning::indices_on_stack;
  int64_t few_[few];
  std::unique_ptr<int64_t[]> more_;
};

// Whether the numbers of all steps that exist are in [low, low + count).
inline bool in_range(const Steps& steps, const int64_t* numbers, int64_t low, ptrdiff_t count) {
  const auto is_in = [&](int64_t number) {
    return static_cast<uint64_t>(number) - static_cast<uint64_t>(low) < static_cast<uint64_t>(count);
  };
  bool good = true;
  if (steps.has_holes())
    for (ptrdiff_t row = 0; row < steps.count; ++row) good &= is_in(numbers[steps.address_of(row)]);
  else
    for (ptrdiff_t i = 0; i < steps.count; ++i) good &= is_in(numbers[i]);
  return good;
}

// The shape of a state: of several parts with an axis for them, of one sequence without one for sequences.
inline Shape shape_of_state(const Net& net, bool one, ptrdiff_t B) {
  const Shape of_part = one ? Shape{net.H} : Shape{B, net.H};
  if (net.parts() == 1) return of_part;
  return one ? Shape{net.parts(), net.H} : Shape{net.parts(), B, net.H};
}

// The addresses of arrays, which the caller keeps and answers for; 0 for what may be none.
class Addresses {
 public:
  explicit Addresses(py::handle given) : given_(given.ptr()) {}
  ptrdiff_t left() const { return PyTuple_GET_SIZE(given_) - at_; }
  template <class T>
  const T* next() {
    return static_cast<const T*>(take(false));
  }
  template <class T>
  const T* next_or_null() {
    return static_cast<const T*>(take(true));
  }
  template <class Real>
  States<const Real> next_states(const Net& net) {
    States<const Real> states{};
    for (int s = 0; s < net.shape.states; ++s) states.each[s] = next_or_null<Real>();
    return states;
  }

 private:
  __attribute__((noinline)) const void* take(bool may_be_null) {
    if (left() <= 0) throw py::value_error("there must be an address for each array");
    const void* const found = PyLong_AsVoidPtr(PyTuple_GET_ITEM(given_, at_++));
    if (!found && PyErr_Occurred()) throw py::error_already_set();
    if (!found && !may_be_null) throw py::value_error("an address must not be 0");
    return found;
  }

  PyObject* given_;
  ptrdiff_t at_ = 0;
};

// The steps, inputs and initial states of a call, and the form that results take.
template <class Real>
class SeenProblem {
 public:
  // Whether all are canonical. steps: None, a PackedSteps, or the resets of the full grid.
  bool see(const Net& net, py::handle inputs, py::handle state, py::handle steps) {
    py::handle masks;
    if (PyTuple_CheckExact(inputs.ptr())) {
      if (PyTuple_GET_SIZE(inputs.ptr()) != 2) return false;
      masks = PyTuple_GET_ITEM(inputs.ptr(), 1), inputs = PyTuple_GET_ITEM(inputs.ptr(), 0);
    }
    if (!x_.see(inputs)) return false;
    const bool tokens = x_.holds<int64_t>();
    if (!tokens && !x_.holds<Real>()) return false;
    if (net.tokens == (tokens ? 0 : 1)) return false;
    if (!see_steps(net, steps, x_.array->nd - (tokens ? 0 : 1), x_.array->dimensions) || steps_.B == 0) return false;
    if (tokens) {
      inputs_.tokens = tokens_.copy(x_.data<int64_t>(), lead_.size());
      if (!in_range(steps_, inputs_.tokens, 0, net.X)) return false;
    } else {
      if (x_.array->dimensions[lead_.count] != net.X) return false;
      inputs_.vectors = x_.data<Real>();
    }
    return see_states(net, state, state_) && (!masks || see_masks(net, masks));
  }

  // The same of addresses: of x, whose shape is given, of a state of each kind, and of a mask for each layer but the
  // first.
  void see_at(const Net& net, py::handle shape, py::handle steps, Addresses& at) {
    ptrdiff_t axes[2]{};
    const int count = static_cast<int>(PyTuple_GET_SIZE(shape.ptr())) - 1;
    for (int i = 0; i < std::min(count, 2); ++i) axes[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape.ptr(), i));
    if (!see_steps(net, steps, count, axes)) throw py::value_error("the shape of x must be that of the steps");
    inputs_.vectors = at.next<Real>();
    state_ = at.next_states<Real>(net);
    for (ptrdiff_t i = 0; i < net.layers - 1; ++i) masks_.push_back(at.next_or_null<Real>());
    if (!masks_.empty() && !masks_[0]) masks_.clear();
  }

  // Whether a state is None, or one array of each kind, each of which goes to its place.
  bool see_states(const Net& net, py::handle given, States<const Real>& states) const {
    if (given.is_none()) return true;
    if (net.shape.states == 1) return see_state(net, given, states.each[0]);
    if (!PyTuple_CheckExact(given.ptr()) || PyTuple_GET_SIZE(given.ptr()) != net.shape.states) return false;
    for (int s = 0; s < net.shape.states; ++s)
      if (!see_state(net, PyTuple_GET_ITEM(given.ptr(), s), states.each[s])) return false;
    return true;
  }

  const Steps& steps() const { return steps_; }
  Problem<Real> problem(const Net& net, const Real* flat, bool last) const {
    return {net, flat, inputs_, state_, steps_, last, masks_.empty() ? nullptr : masks_.data()};
  }
  const std::vector<const Real*>& masks() const { return masks_; }
  // Whether labels of sequences could be those of steps too: of vectors rather than tokens, or without their last axis.
  bool is_ambiguous(ptrdiff_t V) const {
    const bool could_be_vectors = has_tokens() && lead_.count == 2 && lead_.axes[0] == lead_.axes[1];
    return could_be_vectors || (V == 1 && lead_.size() == 1);
  }
  // Whether integers of two axes may be tokens or vectors: nothing says which, unless it is the net or the labels.
  bool may_be_vectors(const Net& net) const { return net.tokens < 0 && has_tokens() && lead_.count == 2; }
  bool has_tokens() const { return inputs_.tokens != nullptr; }
  bool is_one() const { return one_; }
  // The axes of the steps, in arrays of the call, and in those of outputs that are made of last states.
  const Shape& lead() const { return lead_; }
  Shape lead(bool last) const { return !last ? lead_ : one_ ? Shape{} : Shape{steps_.B}; }

 private:
  // axes: how many count steps, and these.
  bool see_steps(const Net& net, py::handle steps, int axes, const ptrdiff_t* axis) {
    if (!py::isinstance<PackedSteps>(steps)) {
      if (axes < 1 || axes > 2) return false;
      one_ = axes == 1;
      const ptrdiff_t T = axis[0], B = one_ ? 1 : axis[1];
      lead_ = one_ ? Shape{T} : Shape{T, B};
      steps_ = Steps::grid(T, B);
      return steps.is_none() || (net.directions == 1 && see_resets(steps));
    }
    const auto& given = steps.cast<const PackedSteps&>();
    steps_ = given.steps(), one_ = given.is_one();
    lead_ = steps_.packed ? Shape{steps_.count} : one_ ? Shape{steps_.T} : Shape{steps_.T, steps_.B};
    return axes == lead_.count && std::equal(lead_.axes, lead_.axes + axes, axis);
  }
  // The resets of the full grid, if there are any, in a copy that no other thread can write to.
  bool see_resets(py::handle given) {
    Seen seen;
    if (!seen.see_as<bool>(given, lead_)) return false;
    const auto *const from = seen.data<const uint8_t>(), *const end = from + steps_.count;
    if (from == end || (*from == 0 && memcmp(from, from + 1, static_cast<size_t>(steps_.count - 1)) == 0)) return true;
    resets_ = std::make_unique<bool[]>(static_cast<size_t>(steps_.count));
    const auto take = [&](const uint8_t* at, const uint8_t* last) {
      for (; at < last; ++at) resets_[static_cast<size_t>(at - from)] = *at != 0;
    };
    const uint8_t* at = from;
    for (uint64_t word; end - at >= ptrdiff_t{sizeof(word)}; at += sizeof(word)) {  // most of them have none
      memcpy(&word, at, sizeof(word));
      if (word) take(at, at + sizeof(word));
    }
    take(at, end);
    steps_.resets = resets_.get();
    return true;
  }
  bool see_state(const Net& net, py::handle given, const Real*& state) const {
    Seen seen;
    if (!seen.see_as<Real>(given, shape_of_state(net, one_, steps_.B))) return false;
    state = seen.data<const Real>();
    return true;
  }
  bool see_masks(const Net& net, py::handle given) {
    if (!PyTuple_CheckExact(given.ptr()) || PyTuple_GET_SIZE(given.ptr()) != net.layers - 1) return false;
    for (ptrdiff_t i = 0; i < net.layers - 1; ++i) {
      Seen seen;
      if (!seen.see_as<Real>(PyTuple_GET_ITEM(given.ptr(), i), lead_.and_then(net.W()))) return false;
      masks_.push_back(seen.data<const Real>());
    }
    return true;
  }

  Seen x_;
  Steps steps_{};
  Shape lead_{};
  bool one_ = false;
  IndexCopy tokens_;
  std::unique_ptr<bool[]> resets_;
  Inputs<Real> inputs_{};
  States<const Real> state_{};
  std::vector<const Real*> masks_;
};

// Labels of the steps of a call, and weights.
template <class Real>
class SeenLabels {
 public:
  explicit SeenLabels(Loss loss) { labels_.loss = loss; }

  // Whether they are canonical. given: labels, or a tuple of these and of weights. checked: whether all but classes
  // have been found to be in their ranges; distributions must have been.
  bool see(const Steps& steps, const Shape& lead, ptrdiff_t V, py::handle given, bool checked) {
    if (PyTuple_CheckExact(given.ptr())) {
      Seen weights;
      if (PyTuple_GET_SIZE(given.ptr()) != 2) return false;
      if (!weights.see_as<Real>(PyTuple_GET_ITEM(given.ptr(), 1), lead)) return false;
      labels_.weights = weights.data<const Real>();
      if (!checked && !are_weights(labels_.weights, lead.size())) return false;
      given = PyTuple_GET_ITEM(given.ptr(), 0);
    }
    Seen seen;
    if (labels_.loss == Loss::cross_entropy && seen.see_as<int64_t>(given, lead)) {
      labels_.classes = classes_.copy(seen.data<int64_t>(), lead.size());
      return in_range(steps, labels_.classes, -1, V + 1);
    }
    if (!seen.see_as<Real>(given, lead.and_then(V))) return false;
    labels_.reals = seen.data<const Real>();
    return checked || are_in_range(labels_.reals, lead.size() * V);
  }
  const Labels<Real>& labels() const { return labels_; }

  // How many steps have a label and a weight.
  int64_t count(const Steps& steps, ptrdiff_t V) const {
    int64_t counted = 0;
    for (ptrdiff_t row = 0; row < steps.count; ++row) {
      const ptrdiff_t at = steps.address_of(row);
      counted += (!labels_.weights || labels_.weights[at] > 0) && has_label(at, V);
    }
    return counted;
  }

 private:
  bool has_label(ptrdiff_t at, ptrdiff_t V) const {
    if (labels_.loss != Loss::cross_entropy) return true;
    if (labels_.classes) return labels_.classes[at] >= 0;
    const Real* const row = labels_.reals + at * V;
    return std::any_of(row, row + V, [](Real weight) { return weight != 0; });
  }
  static bool are_weights(const Real* numbers, ptrdiff_t count) {
    return std::all_of(numbers, numbers + count,
                       [](Real weight) { return weight >= 0 && weight <= std::numeric_limits<Real>::max(); });
  }
  bool are_in_range(const Real* numbers, ptrdiff_t count) const {
    const bool probabilities = labels_.loss == Loss::binary_cross_entropy;
    bool good = labels_.loss != Loss::cross_entropy;
    for (ptrdiff_t i = 0; i < count; ++i)
      good &= probabilities ? numbers[i] >= 0 && numbers[i] <= 1 : numbers[i] == numbers[i];
    return good;
  }

  IndexCopy classes_;
  Labels<Real> labels_{};
};

}  // namespace rnncore

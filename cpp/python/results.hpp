// Arrays for results.
//
// Large ones lie in pages of their own. When Python has no more use for such an array its pages are kept for the next
// of about its size: fresh pages may cost nearly as much as a pass forward.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <new>
#include <vector>

#include "../system/memory.hpp"
#include "../tuning.hpp"

namespace rnncore {

namespace py = pybind11;

// Pages without use, the longest so first. Guarded by the GIL.
class SparePages {
 public:
  Pages take(size_t bytes) {
    auto found = spare_.end();
    for (auto pages = spare_.begin(); pages != spare_.end(); ++pages)
      if (fits(*pages, bytes) && (found == spare_.end() || pages->size() < found->size())) found = pages;
    if (found == spare_.end()) return Pages(bytes);
    Pages taken = std::move(*found);
    spare_.erase(found);
    size_ -= taken.size();
    return taken;
  }
  void keep(Pages pages) noexcept {
    try {
      spare_.push_back(std::move(pages));
    } catch (const std::bad_alloc&) {
      return;  // they go back to the system
    }
    size_ += spare_.back().size();
    for (; size_ > tuning::kept_memory; spare_.erase(spare_.begin())) size_ -= spare_.front().size();
  }
  // Gives all back to the system; returns how many bytes.
  size_t release() noexcept {
    const size_t released = size_;
    spare_.clear(), size_ = 0;
    return released;
  }

 private:
  static bool fits(const Pages& pages, size_t bytes) { return pages.size() >= bytes && pages.size() <= 2 * bytes; }

  std::vector<Pages> spare_;
  size_t size_ = 0;
};

// Made when the module is, under the GIL: see PYBIND11_MODULE.
inline SparePages& spare_pages() {
  static auto* const pages = new SparePages;  // never destroyed: arrays may outlive the module
  return *pages;
}

// The shape of an array, with up to four axes.
struct Shape {
  ptrdiff_t axes[4];
  int count = 0;

  Shape(std::initializer_list<ptrdiff_t> sizes) {
    for (const ptrdiff_t size : sizes) axes[count++] = size;
  }
  Shape and_then(ptrdiff_t size) const {
    Shape longer = *this;
    longer.axes[longer.count++] = size;
    return longer;
  }
  ptrdiff_t size() const {
    ptrdiff_t product = 1;
    for (int axis = 0; axis < count; ++axis) product *= axes[axis];
    return product;
  }
};

// The same as py::array_t<T>(shape), without its vectors of axes and strides: small nets wait for some such arrays. Or
// an array of memory that the array itself does not own.
template <class T>
py::array_t<T> small_array(const Shape& shape, void* at = nullptr) {
  constexpr int plain = py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_ |
                        py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  const auto& numpy = py::detail::npy_api::get();
  PyObject* const made = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(),
                                                     shape.count, shape.axes, nullptr, at, at ? plain : 0, nullptr);
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::array_t<T>>(made);
}

// An array of this shape, whose contents are arbitrary.
template <class T>
py::array_t<T> new_array(const Shape& shape) {
  const size_t bytes = sizeof(T) * static_cast<size_t>(shape.size());
  if (bytes < tuning::large_result) return small_array<T>(shape);
  auto pages = std::make_unique<Pages>(spare_pages().take(bytes));
  py::array_t<T> array = small_array<T>(shape, pages->at());
  py::capsule owner(pages.get(), [](void* owned) {
    const std::unique_ptr<Pages> done(static_cast<Pages*>(owned));
    spare_pages().keep(std::move(*done));
  });
  (void)pages.release();
  if (py::detail::npy_api::get().PyArray_SetBaseObject_(array.ptr(), owner.release().ptr()) != 0)
    throw py::error_already_set();
  return array;
}

}  // namespace rnncore

// Arrays for results.
//
// Large ones lie in pages of their own. When Python has no more use for such an array its pages are kept for the next
// of about its size: fresh pages may cost nearly as much as a pass forward.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <new>
#include <vector>

#include "machine.hpp"

namespace rnncore {

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
    for (; size_ > kept_memory; spare_.erase(spare_.begin())) size_ -= spare_.front().size();
  }

 private:
  static bool fits(const Pages& pages, size_t bytes) { return pages.size() >= bytes && pages.size() <= 2 * bytes; }

  std::vector<Pages> spare_;
  size_t size_ = 0;
};

inline SparePages& spare_pages() {
  static SparePages pages;
  return pages;
}

// Room for an array of this shape.
template <class Real>
pybind11::array_t<Real> rows(std::initializer_list<ptrdiff_t> shape) {
  constexpr size_t large = size_t{256} << 10;
  size_t bytes = sizeof(Real);
  for (const ptrdiff_t n : shape) bytes *= static_cast<size_t>(n);
  pybind11::array::ShapeContainer axes(shape);
  if (bytes < large) return pybind11::array_t<Real>(std::move(axes));
  auto pages = std::make_unique<Pages>(spare_pages().take(bytes));
  auto* const at = static_cast<Real*>(pages->at());
  const pybind11::capsule owner(pages.get(), [](void* owned) {
    const std::unique_ptr<Pages> done(static_cast<Pages*>(owned));
    spare_pages().keep(std::move(*done));
  });
  (void)pages.release();
  return pybind11::array_t<Real>(std::move(axes), at, owner);
}

}  // namespace rnncore

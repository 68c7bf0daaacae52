// Memory straight from the system: pages, and the work areas of calls.
#pragma once

#include <cstddef>
#include <utility>

#include "../problem.hpp"

namespace rnncore {

// Pages of memory, given back to the system in the end: not from the heap, which others may have broken into small
// pieces. In huge pages where it fills them and the system has such.
class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes);
  ~Pages();
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(mapping_, other.mapping_), std::swap(at_, other.at_), std::swap(size_, other.size_);
    return *this;
  }

  void* at() const { return at_; }
  size_t size() const { return size_; }

 private:
  void *mapping_ = nullptr, *at_ = nullptr;
  size_t size_ = 0;
};

// The memory of a call. A thread keeps one from call to call, because fresh pages cost more than small nets do; if it
// is in use, as where a signal handler calls within a call, the inner call has one of its own. All threads together
// keep no more than tuning::kept_memory, or one area if that is larger: what is beyond goes back at the end of a call.
class WorkArea {
 public:
  WorkArea();
  ~WorkArea();
  WorkArea(const WorkArea&) = delete;
  WorkArea& operator=(const WorkArea&) = delete;

  // What is there, or at least so many bytes: then what an earlier reserve of the same area gave is lost.
  Memory reserve(size_t bytes);

 private:
  bool is_kept_;
  Pages own_;
};

// Gives back what threads keep and do not use now; returns how many bytes.
size_t release_work_areas();

}  // namespace rnncore

// What the kernels need of the machine: memory, threads, the rounding mode, and the user's patience.
#pragma once

#include <utility>

#include "kernels.hpp"

namespace rnncore {

// The mode of the processor that every result assumes: round to nearest even, subnormals kept, no traps.
extern const uint64_t standard_rounding_mode;

// Sets this thread's mode and returns what it was.
uint64_t set_rounding_mode(uint64_t mode);

// The standard mode; what was set before comes back at the end of the scope.
class StandardRounding {
 public:
  StandardRounding() : before_(set_rounding_mode(standard_rounding_mode)) {}
  ~StandardRounding() { set_rounding_mode(before_); }
  StandardRounding(const StandardRounding&) = delete;
  StandardRounding& operator=(const StandardRounding&) = delete;

 private:
  uint64_t before_;
};

// Memory straight from the system, and given back to it: not from the heap, which others may have broken into small
// pieces. In huge pages where it fills them and the system has such.
class Pages {
 public:
  Pages() = default;
  explicit Pages(size_t bytes);
  ~Pages();
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept {
    std::swap(mapped_, other.mapped_), std::swap(at_, other.at_), std::swap(size_, other.size_);
    return *this;
  }

  void* at() const { return at_; }
  size_t size() const { return size_; }

 private:
  void *mapped_ = nullptr, *at_ = nullptr;
  size_t size_ = 0;
};

constexpr size_t huge_page = size_t{2} << 20;

// How much memory that a call had may be kept for calls that may not need it.
constexpr size_t kept_memory = size_t{256} << 20;

// interrupted: see kernels.hpp.
Machine make_machine(int threads, bool (*interrupted)());

// How many threads a call of so many floating-point operations is worth, of those that have a core to run on now.
int choose_threads(double flops);

}  // namespace rnncore

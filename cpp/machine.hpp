// What the kernels need of the machine: memory, threads, the rounding mode, and the user's patience.
#pragma once

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

// interrupted: see kernels.hpp.
Machine make_machine(int threads, bool (*interrupted)());

// How many threads a call of so many floating-point operations is worth, of those that have a core to run on now.
int choose_threads(double flops);

}  // namespace rnncore

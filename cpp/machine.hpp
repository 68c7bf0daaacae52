// What the kernels need of the machine: memory, threads, the rounding mode, and the user's patience.
#pragma once

#include "kernels.hpp"

namespace rnncore {

// Round to nearest even, subnormals kept, no traps; what was set before comes back at the end of the scope.
class StandardRounding {
 public:
  StandardRounding();
  ~StandardRounding();
  StandardRounding(const StandardRounding&) = delete;
  StandardRounding& operator=(const StandardRounding&) = delete;

 private:
  uint64_t before_;
};

// interrupted: see kernels.hpp.
Machine make_machine(int threads, bool (*interrupted)());

// How many threads a call of so many floating-point operations over B sequences is worth.
int choose_threads(double flops);

}  // namespace rnncore

// Runs a kernel: hands it the machine, and a thread fewer where the system has none to give.
#pragma once

#include <exception>
#include <new>

#include "../problem.hpp"
#include "memory.hpp"
#include "rounding.hpp"
#include "slow_numbers.hpp"
#include "threads.hpp"

namespace rnncore {

// What the system gives to a call, and what it could not give: the kernels know no exceptions.
class Given {
 public:
  bool no_memory() const { return no_memory_; }
  bool no_threads() const { return no_threads_; }

  static Memory reserve(void* given, size_t bytes) {
    Given& own = *static_cast<Given*>(given);
    try {
      return with_slow_numbers(own.area_.reserve(bytes));
    } catch (const std::bad_alloc&) {
      own.no_memory_ = true;
      return {nullptr, 0};
    }
  }
  static bool parallel(void* given, int threads, void (*task)(void*, int), void* argument) {
    try {
      run_in_parallel(threads, task, argument);
      return true;
    } catch (const std::exception&) {
      static_cast<Given*>(given)->no_threads_ = true;
      return false;
    }
  }

 private:
  WorkArea area_;
  bool no_memory_ = false, no_threads_ = false;
};

// Calls a kernel in the standard rounding mode, on so many threads, or on one if the system gives no more, which
// changes no result. Throws bad_alloc if it gives no memory. interrupted: see Machine. Returns what the kernel returns:
// whether it came to its end.
template <class Kernel, class... Arguments>
bool run_kernel(int threads, bool (*interrupted)(), Kernel kernel, const Arguments&... arguments) {
  const StandardRounding rounding;
  Given given;
  Machine machine{threads, &given, Given::reserve, Given::parallel, meet_the_others, interrupted};
  bool done = kernel(arguments..., machine);
  if (given.no_threads()) {
    machine.threads = 1;
    done = kernel(arguments..., machine);
  }
  if (given.no_memory()) throw std::bad_alloc();
  report_slow_numbers();
  return done;
}

}  // namespace rnncore

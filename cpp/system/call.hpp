// Runs a kernel: hands it the machine, and a thread fewer where the system has none to give.
#pragma once

#include <system_error>

#include "../problem.hpp"
#include "memory.hpp"
#include "rounding.hpp"
#include "threads.hpp"

namespace rnncore {

// Calls a kernel in the standard rounding mode, on so many threads, or on one if the system gives no more, which
// changes no result. interrupted: see Machine. Returns what the kernel returns: whether it came to its end.
template <class Kernel, class... Arguments>
bool run_kernel(int threads, bool (*interrupted)(), Kernel kernel, const Arguments&... arguments) {
  const StandardRounding rounding;
  WorkArea area;
  const auto reserve = [](void* work_area, size_t bytes) { return static_cast<WorkArea*>(work_area)->reserve(bytes); };
  Machine machine{threads, &area, reserve, run_in_parallel, meet_the_others, interrupted};
  try {
    return kernel(arguments..., machine);
  } catch (const std::system_error&) {
    machine.threads = 1;
    return kernel(arguments..., machine);
  }
}

}  // namespace rnncore

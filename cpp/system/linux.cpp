#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <cstring>

#include "system.hpp"
#include "threads.hpp"

namespace rnncore::system {

void name_thread(std::thread& thread) { pthread_setname_np(thread.native_handle(), "rnncore"); }

int cores_of_process() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

int cores_of_quotas() { return cores_of_quota(""); }

Cores other_cores(size_t workers) {
  Cores others;
  cpu_set_t cores;
  static_assert(sizeof(others.bits) == sizeof(cores));
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return others;
  const int here = sched_getcpu();
  if (here >= 0 && here<CPU_SETSIZE&& static_cast<size_t>(CPU_COUNT(&cores))> workers)
    CPU_CLR(static_cast<size_t>(here), &cores);
  std::memcpy(others.bits, &cores, sizeof(cores));
  others.are_known = true;
  return others;
}

void keep_to(const Cores& cores, std::thread& thread, Cores& had) {
  if (!cores.are_known || (had.are_known && std::memcmp(had.bits, cores.bits, sizeof(cores.bits)) == 0)) return;
  cpu_set_t set;
  std::memcpy(&set, cores.bits, sizeof(set));
  if (pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set) == 0) had = cores;
}

ptrdiff_t l2_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)  // musl has no such name
  return sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  return 0;
#endif
}

}  // namespace rnncore::system

#include <sys/sysctl.h>

#include "system.hpp"

namespace rnncore::system {
namespace {

// The number that the system knows by this name, or 0. It has four bytes or eight, and the processors are
// little-endian.
int64_t number_of(const char* name) {
  int64_t number = 0;
  size_t size = sizeof(number);
  return sysctlbyname(name, &number, &size, nullptr, 0) == 0 ? number : 0;
}

}  // namespace

void name_thread(std::thread&) {}  // on macOS only a thread itself can set its name

int cores_of_process() {
  const int64_t count = number_of("hw.activecpu");
  return count > 0 ? static_cast<int>(count) : 1;
}

int cores_of_quotas() { return 0; }

Cores other_cores(size_t) { return {}; }

void keep_to(const Cores&, std::thread&, Cores&) {}

// Where there are fast and slow cores, that of the fast ones.
ptrdiff_t l2_bytes() {
  const int64_t fast = number_of("hw.perflevel0.l2cachesize");
  return static_cast<ptrdiff_t>(fast > 0 ? fast : number_of("hw.l2cachesize"));
}

}  // namespace rnncore::system

// What is the same on Linux and macOS.
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <initializer_list>

#include "system.hpp"

namespace rnncore::system {

using tuning::huge_page;

Mapped map_pages(size_t bytes) {
  void* const mapping = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return {};
  void* const at = first_aligned(mapping);
#if defined(MADV_HUGEPAGE)
  // Fewer faults and fewer misses of the address cache; without such pages nothing is lost.
  if (bytes > huge_page) madvise(at, bytes, MADV_HUGEPAGE);
#endif
  return {mapping, at};
}

void unmap_pages(void* mapping, size_t bytes) { munmap(mapping, bytes + huge_page); }

namespace {

// Blocks signals while a thread is started, which inherits that. Faults are not blocked: they belong to the thread that
// causes them.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::thread start_thread(void (*run)(void*), void* argument) {
  const WithoutSignals meanwhile;
  return std::thread(run, argument);
}

int call_in_children(void (*forget)()) { return pthread_atfork(nullptr, nullptr, forget); }

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif

}  // namespace rnncore::system

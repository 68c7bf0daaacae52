#include "machine.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

#include <memory>
#include <new>
#include <thread>
#include <vector>

namespace rnncore {

#if defined(__x86_64__) || defined(__i386__)
// MXCSR at the start of a process: all exceptions masked, neither FTZ nor DAZ.
const uint64_t standard_rounding_mode = 0x1f80;

uint64_t set_rounding_mode(uint64_t mode) {
  const uint64_t before = _mm_getcsr();
  if (mode != before) _mm_setcsr(static_cast<unsigned>(mode));
  return before;
}
#elif defined(__aarch64__)
// FPCR likewise.
const uint64_t standard_rounding_mode = 0;

uint64_t set_rounding_mode(uint64_t mode) {
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (mode != before) __asm__ volatile("msr fpcr, %0" : : "r"(mode));
  return before;
}
#else
#error "rnncore knows the rounding mode of x86 and arm64 only"
#endif

namespace {

// A thread's work area, kept from call to call because fresh pages cost more than small nets do.
class WorkArea {
 public:
  void* reserve(size_t bytes) {
    if (bytes > size_ || size_ > kept) {
      area_.reset();
      size_ = 0;
      area_.reset(static_cast<char*>(::operator new(bytes, alignment)));
      size_ = bytes;
    }
    return area_.get();
  }

 private:
  static constexpr std::align_val_t alignment{4096};
  static constexpr size_t kept = size_t{256} << 20;  // beyond, a call that needs less gives the rest back
  struct Free {
    void operator()(char* area) const { ::operator delete(area, alignment); }
  };
  std::unique_ptr<char, Free> area_;
  size_t size_ = 0;
};

void* reserve(size_t bytes) {
  thread_local WorkArea area;
  return area.reserve(bytes);
}

void parallel(int threads, void (*task)(void*, int), void* argument) {
  std::vector<std::thread> others;
  int started = 1;
  try {
    for (; started < threads; ++started)
      others.emplace_back([=, shard = started] {
        StandardRounding rounding;
        task(argument, shard);
      });
  } catch (...) {
    // The system gives no further thread: this one does what is left.
    for (int shard = started; shard < threads; ++shard) task(argument, shard);
  }
  task(argument, 0);
  for (std::thread& other : others) other.join();
}

int cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

}  // namespace

Machine make_machine(int threads, bool (*interrupted)()) { return {threads, reserve, parallel, interrupted}; }

int choose_threads(double flops) {
  constexpr double worth_a_thread = 1e8;  // about a millisecond: starting a thread costs a twentieth of it
  static const int most = cores();
  const double wanted = flops / worth_a_thread;
  return wanted < 1 ? 1 : wanted < most ? static_cast<int>(wanted) : most;
}

}  // namespace rnncore

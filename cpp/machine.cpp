#include "machine.hpp"

#include <sys/mman.h>
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
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

Pages::Pages(size_t bytes) : size_(bytes) {
  void* const mapped = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = mapped;
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(mapped) + huge_page - 1) / huge_page * huge_page;
  at_ = reinterpret_cast<void*>(aligned);
#if defined(MADV_HUGEPAGE)
  // Fewer faults and fewer misses of the address cache; without such pages nothing is lost.
  if (bytes > huge_page) madvise(at_, bytes, MADV_HUGEPAGE);
#endif
}

Pages::~Pages() {
  if (mapped_) munmap(mapped_, size_ + huge_page);
}

namespace {

// A thread's work area, kept from call to call because fresh pages cost more than small nets do. If there is much of it
// a call that needs less gives the rest back.
class WorkArea {
 public:
  void* reserve(size_t bytes) {
    const size_t wanted = (bytes + huge_page - 1) / huge_page * huge_page, had = pages_.size();
    if (wanted > had || (had > kept_memory && wanted < had)) {
      pages_ = Pages();
      pages_ = Pages(wanted);
    }
    return pages_.at();
  }

 private:
  Pages pages_;
};

void* reserve(size_t bytes) {
  thread_local WorkArea area;
  return area.reserve(bytes);
}

// Where a number of threads wait for each other: in a loop as long as that is quicker than to sleep, because
// they meet at every step of a sequence, then asleep, because the machine may have other things to do.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}

  void wait() {
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        round_.store(round + 1, std::memory_order_release);
      }
      changed_.notify_all();
      return;
    }
    for (int spin = 0; spin < spins; ++spin) {
      if (round_.load(std::memory_order_acquire) != round) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != round; });
  }

 private:
  static constexpr int spins = 2000;  // some tens of microseconds: what it takes to fall asleep and wake up

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }

  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<unsigned> round_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

thread_local Meeting* meeting = nullptr;

void meet() { meeting->wait(); }

// One of the threads of parallel(), as long as it is.
class Participant {
 public:
  explicit Participant(Meeting& joined) : before_(meeting) { meeting = &joined; }
  ~Participant() { meeting = before_; }
  Participant(const Participant&) = delete;
  Participant& operator=(const Participant&) = delete;

 private:
  StandardRounding rounding_;
  Meeting* before_;
};

// The cores for the threads that another starts: not its own, where the system may put them and leave them for
// milliseconds although another core has nothing to do.
class OtherCores {
 public:
  explicit OtherCores([[maybe_unused]] int threads) {
#if defined(__linux__)
    possible_ = sched_getaffinity(0, sizeof(cores_), &cores_) == 0 && CPU_COUNT(&cores_) >= threads;
    const int here = possible_ ? sched_getcpu() : -1;
    if (here >= 0 && here < CPU_SETSIZE) CPU_CLR(static_cast<size_t>(here), &cores_);
#endif
  }
  void take([[maybe_unused]] std::thread& thread) const {
#if defined(__linux__)
    if (possible_) pthread_setaffinity_np(thread.native_handle(), sizeof(cores_), &cores_);
#endif
  }

 private:
#if defined(__linux__)
  cpu_set_t cores_;
  bool possible_;
#endif
};

void parallel(int threads, void (*task)(void*, int), void* argument) {
  Meeting joined(threads);
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads));
  std::atomic<bool> begin{false}, cancel{false};  // all begin, or none: they may wait for each other
  const auto run = [&](int shard) {
    while (!begin.load(std::memory_order_acquire)) std::this_thread::yield();
    if (cancel.load(std::memory_order_relaxed)) return;
    const Participant participant(joined);
    task(argument, shard);
  };
  try {
    const OtherCores other_cores(threads);
    for (int shard = 1; shard < threads; ++shard) {
      others.emplace_back(run, shard);
      other_cores.take(others.back());
    }
  } catch (...) {  // the system gives no further thread
    cancel.store(true, std::memory_order_relaxed);
    begin.store(true, std::memory_order_release);
    for (std::thread& other : others) other.join();
    throw;
  }
  begin.store(true, std::memory_order_release);
  run(0);
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

// How many cores have nothing to do but this thread, as far as the system tells: a thread that must wait for a
// core makes the others wait for it.
int free_cores() {
  const int all = cores();
#if defined(__linux__)
  // Averages over 1, 5 and 15 minutes, and what is wanted here: how many threads run at this moment.
  if (FILE* const file = std::fopen("/proc/loadavg", "r")) {
    int running = 0;
    const bool told = std::fscanf(file, "%*f %*f %*f %d/", &running) == 1;
    std::fclose(file);
    if (told && running > 1) return all - running + 1;
  }
#endif
  return all;
}

}  // namespace

Machine make_machine(int threads, bool (*interrupted)()) { return {threads, reserve, parallel, meet, interrupted}; }

int choose_threads(double flops) {
  constexpr double worth_a_thread = 1e8;  // about a millisecond: starting a thread costs a twentieth of it
  const double wanted = flops / worth_a_thread;
  if (wanted < 2) return 1;
  const int free = free_cores();
  return wanted < free ? static_cast<int>(wanted) : free < 1 ? 1 : free;
}

}  // namespace rnncore

#include "threads.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "../tuning.hpp"
#include "rounding.hpp"

namespace rnncore {
namespace {

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
    for (int spin = 0; spin < tuning::spins; ++spin) {
      if (round_.load(std::memory_order_acquire) != round) return;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != round; });
  }

 private:
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

// One of the threads of run_in_parallel(), as long as it is.
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

int affine_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

// The quota, read again after some seconds, since it can be changed while a process runs.
int quota_now() {
  using Clock = std::chrono::steady_clock;
  static std::mutex mutex;
  static Clock::time_point read_at;
  static int quota = -1;
  const std::lock_guard<std::mutex> lock(mutex);
  const Clock::time_point now = Clock::now();
  if (quota < 0 || now - read_at > std::chrono::seconds(tuning::seconds_a_quota_holds))
    quota = cores_of_quota(""), read_at = now;
  return quota;
}

}  // namespace

void meet_the_others() { meeting->wait(); }

void run_in_parallel(int threads, void (*task)(void*, int), void* argument) {
  Meeting joined(threads);
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads));
  std::atomic<bool> begin{false}, cancel{false};  // all begin, or none: they may wait for each other
  const auto run = [&](int number) {
    while (!begin.load(std::memory_order_acquire)) std::this_thread::yield();
    if (cancel.load(std::memory_order_relaxed)) return;
    const Participant participant(joined);
    task(argument, number);
  };
  try {
    const OtherCores other_cores(threads);
    for (int number = 1; number < threads; ++number) {
      others.emplace_back(run, number);
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

int usable_cores() {
  const int cores = affine_cores(), quota = quota_now();
  return quota ? std::min(cores, quota) : cores;
}

int threads_worth(double operations) {
  const double wanted = operations / tuning::operations_worth_a_thread;
  if (wanted < 2) return 1;
  const int cores = usable_cores();
  return wanted < cores ? static_cast<int>(wanted) : cores;
}

}  // namespace rnncore

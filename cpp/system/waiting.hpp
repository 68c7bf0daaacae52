// How threads wait for each other: in a loop as long as that is quicker than to sleep, because what they wait for comes
// soon or late, then asleep, because the machine may have other things to do.
#pragma once

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "../tuning.hpp"

namespace rnncore {

// A number that others wait for to change. What was written before it changed is seen by who has seen the change.
class Watched {
 public:
  unsigned value() const { return value_.load(std::memory_order_acquire); }

  void change(unsigned to) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      value_.store(to, std::memory_order_release);
    }
    changed_.notify_all();
  }

  void wait_while(unsigned before) {
    if (changes_soon(before)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return value() != before; });
  }

 private:
  using Clock = std::chrono::steady_clock;

  // By the clock: a pause takes 40 cycles or 140, and more where a hypervisor counts it.
  bool changes_soon(unsigned before) const {
    Clock::time_point end{};
    for (;;) {
      for (int look = 0; look < tuning::looks_between_clocks; ++look) {
        if (value() != before) return true;
        pause();
      }
      const Clock::time_point now = Clock::now();
      if (end == Clock::time_point{}) end = now + std::chrono::microseconds(tuning::microseconds_awake);
      if (now >= end) return false;
    }
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // most cores make nothing of "yield"
#endif
  }

  std::atomic<unsigned> value_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace rnncore

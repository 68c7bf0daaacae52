#include "threads.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "../tuning.hpp"
#include "pool.hpp"
#include "rounding.hpp"
#include "system.hpp"
#include "waiting.hpp"

namespace rnncore {
namespace {

// Where a number of threads wait for each other, at every step of a sequence.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}

  void wait() {
    const unsigned round = round_.value();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < threads_) return round_.wait_while(round);
    arrived_.store(0, std::memory_order_relaxed);
    round_.change(round + 1);
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
  Watched round_;
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

// The quota, read again after some seconds, since it can be changed while a process runs. Nobody waits for a lock: a
// fork may come at any time.
int quota_now() {
  using Clock = std::chrono::steady_clock;
  constexpr Clock::duration holds = std::chrono::seconds(tuning::seconds_a_quota_holds);
  static std::atomic<Clock::rep> read_at{0};
  static std::atomic<int> quota{-1};
  const Clock::rep now = Clock::now().time_since_epoch().count(), last = read_at.load(std::memory_order_relaxed);
  int found = quota.load(std::memory_order_relaxed);
  if (found < 0 || now - last > holds.count()) {
    found = system::cores_of_quotas();
    quota.store(found, std::memory_order_relaxed), read_at.store(now, std::memory_order_relaxed);
  }
  return found;
}

}  // namespace

void meet_the_others() { meeting->wait(); }

void run_in_parallel(int threads, void (*task)(void*, int), void* argument) {
  struct Joint {
    void (*task)(void*, int);
    void* argument;
    Meeting meeting;
    static void run(void* joint, int number) {
      Joint& own = *static_cast<Joint*>(joint);
      const Participant participant(own.meeting);
      own.task(own.argument, number);
    }
  } joint{task, argument, Meeting(threads)};
  Team team(threads - 1);
  team.begin(Joint::run, &joint);
  Joint::run(&joint, 0);
}

int usable_cores() {
  const int cores = system::cores_of_process(), quota = quota_now();
  return quota ? std::min(cores, quota) : cores;
}

int threads_worth(double operations, double a_step) {
  const double wanted =
      std::min(operations / tuning::operations_worth_a_thread, a_step / tuning::operations_of_a_step_worth_a_thread);
  if (wanted < 2) return 1;
  const int cores = usable_cores();
  return wanted < cores ? static_cast<int>(wanted) : cores;
}

}  // namespace rnncore

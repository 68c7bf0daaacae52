#include "pool.hpp"

#include <pthread.h>
#include <signal.h>

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "waiting.hpp"

namespace rnncore {
namespace {

// The cores on which workers may run: those of the thread that calls, but for its own, where the system may put them
// and leave them for milliseconds although another core has nothing to do.
class OtherCores {
 public:
  // None, until known.
  OtherCores() = default;
  explicit OtherCores([[maybe_unused]] size_t workers) {
#if defined(__linux__)
    is_known_ = sched_getaffinity(0, sizeof(cores_), &cores_) == 0;
    const int here = is_known_ ? sched_getcpu() : -1;
    if (here >= 0 && here<CPU_SETSIZE&& static_cast<size_t>(CPU_COUNT(&cores_))> workers)
      CPU_CLR(static_cast<size_t>(here), &cores_);
#endif
  }

  // Whether the thread has been given these cores, if that is more than it has; then they are its own.
  void give_to([[maybe_unused]] std::thread& thread, [[maybe_unused]] OtherCores& had) const {
#if defined(__linux__)
    if (!is_known_ || (had.is_known_ && CPU_EQUAL(&had.cores_, &cores_))) return;
    if (pthread_setaffinity_np(thread.native_handle(), sizeof(cores_), &cores_) == 0) had = *this;
#endif
  }

 private:
#if defined(__linux__)
  cpu_set_t cores_{};
  bool is_known_ = false;
#endif
};

// Threads that are started meanwhile get no signals, whose handlers belong to the program's own threads. Faults are no
// such signals: they concern the thread that makes them.
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

// A thread, and what it is to do next.
class Worker {
 public:
  Worker() {
    const WithoutSignals meanwhile;
    thread_ = std::thread([this] { work(); });
#if defined(__linux__)
    pthread_setname_np(thread_.native_handle(), "rnncore");  // for those who list threads
#endif
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void give(const OtherCores& cores, void (*task)(void*, int), void* argument, int number) {
    cores.give_to(thread_, cores_);
    task_ = task, argument_ = argument, number_ = number;
    turn_.change(turn_.value() + 1);
  }
  void wait() {
    const unsigned turn = turn_.value();
    if (turn % 2 == 1) turn_.wait_while(turn);
  }

 private:
  void work() {
    for (unsigned idle = 0;; idle += 2) {
      turn_.wait_while(idle);
      task_(argument_, number_);
      turn_.change(idle + 2);
    }
  }

  Watched turn_;  // even while idle, odd at work
  void (*task_)(void*, int) = nullptr;
  void* argument_ = nullptr;
  int number_ = 0;
  OtherCores cores_;  // where the thread is kept to
  std::thread thread_;
};

// All workers of a process.
class Pool {
 public:
  // The process's own, never destroyed. A fork has none of its parent's threads, and their locks may be held for ever:
  // the child forgets them all.
  static Pool& of_process() {
    if (forgets_at_fork_ != 0) throw std::system_error(forgets_at_fork_, std::generic_category(), "pthread_atfork");
    Pool* found = pool_.load(std::memory_order_acquire);
    if (found) return *found;
    auto made = std::make_unique<Pool>();
    return pool_.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel) ? *made.release() : *found;
  }

  void take(size_t count, std::vector<Worker*>& taken) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (; idle_.size() < count; idle_.push_back(all_.back().get())) {
      all_.reserve(all_.size() + 1), idle_.reserve(all_.size() + 1);
      all_.push_back(std::make_unique<Worker>());
    }
    taken.assign(idle_.end() - static_cast<ptrdiff_t>(count), idle_.end());
    idle_.resize(idle_.size() - count);
  }
  // There is room for all of them.
  void give_back(const std::vector<Worker*>& workers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.insert(idle_.end(), workers.begin(), workers.end());
  }

 private:
  static std::atomic<Pool*> pool_;
  static const int forgets_at_fork_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> all_;
  std::vector<Worker*> idle_;  // the last that came back is the first to go: what it used may still be in its caches
};

std::atomic<Pool*> Pool::pool_{nullptr};
const int Pool::forgets_at_fork_ = pthread_atfork(nullptr, nullptr, [] { pool_.store(nullptr); });

Team::Team(int workers) : pool_(Pool::of_process()) { pool_.take(static_cast<size_t>(workers), workers_); }

Team::~Team() {
  for (Worker* worker : workers_) worker->wait();
  pool_.give_back(workers_);
}

void Team::begin(void (*task)(void*, int), void* argument) {
  const OtherCores cores(workers_.size());
  int number = 0;
  for (Worker* worker : workers_) worker->give(cores, task, argument, ++number);
}

}  // namespace rnncore

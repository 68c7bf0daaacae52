#include "pool.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "system.hpp"
#include "waiting.hpp"

namespace rnncore {

// A thread, and what it is to do next.
class Worker {
 public:
  Worker() : thread_(system::start_thread([](void* own) { static_cast<Worker*>(own)->work(); }, this)) {
    system::name_thread(thread_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void give(const system::Cores& cores, void (*task)(void*, int), void* argument, int number) {
    system::keep_to(cores, thread_, cores_);
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
  system::Cores cores_;  // where the thread is kept to
  std::thread thread_;
};

// All workers of a process.
class Pool {
 public:
  // The process's own, never destroyed. A fork has none of its parent's threads, and their locks may be held for ever:
  // the child forgets them all.
  static Pool& of_process() {
    if (forgets_at_fork_ != 0) throw std::system_error(forgets_at_fork_, std::generic_category(), "rnncore");
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
const int Pool::forgets_at_fork_ = system::call_in_children([] { pool_.store(nullptr); });

Team::Team(int workers) : pool_(Pool::of_process()) { pool_.take(static_cast<size_t>(workers), workers_); }

Team::~Team() {
  for (Worker* worker : workers_) worker->wait();
  pool_.give_back(workers_);
}

void Team::begin(void (*task)(void*, int), void* argument) {
  const system::Cores cores = system::other_cores(workers_.size());
  int number = 0;
  for (Worker* worker : workers_) worker->give(cores, task, argument, ++number);
}

}  // namespace rnncore

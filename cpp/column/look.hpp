// The user's patience: how a long call notices Ctrl-C.
#pragma once

#include "../problem.hpp"
#include "../tuning.hpp"
#include "vector.hpp"

namespace rnncore::RNNCORE_ISA {

// One thread's count of the work since somebody looked whether the user wants the call to stop. Only the calling thread
// can ask; the others look at what it found.
class Look {
 public:
  Look(const Machine& machine, int thread, bool* stopped) : machine_(machine), thread_(thread), stopped_(stopped) {}

  int thread() const { return thread_; }

  // After so many floating-point operations: whether to go on. What is left may be skipped, but not a meeting.
  RNNCORE_INLINE bool after(double operations) {
    done_ += operations;
    return done_ < tuning::operations_between_looks || look();
  }

 private:
  bool look() {
    done_ = 0;
    if (thread_ == 0 && machine_.interrupted()) __atomic_store_n(stopped_, true, __ATOMIC_RELAXED);
    return !__atomic_load_n(stopped_, __ATOMIC_RELAXED);
  }

  const Machine& machine_;
  int thread_;
  bool* stopped_;
  double done_ = 0;
};

}  // namespace rnncore::RNNCORE_ISA

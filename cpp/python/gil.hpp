// The GIL, released around work and taken for a moment within it, also while the interpreter ends.
//
// A daemon thread may be at work when the program comes to its end. Up to version 3.13 CPython unwinds the stack of a
// thread that asks for the GIL then: destructors would run without it, and the process would abort in one that must not
// throw. So such a thread waits here until the process is gone, as it does from version 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace rnncore {

template <class Take>
void take_gil_or_wait(Take take) noexcept {
  try {
    take();
  } catch (...) {  // to leave this block would end the process
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Releases the GIL until the end of a block.
class WithoutGil {
 public:
  WithoutGil() : thread_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    take_gil_or_wait([this] { PyEval_RestoreThread(thread_); });
  }

 private:
  PyThreadState* thread_;
};

// Takes it until the end of a block, in a thread that may have released it.
class WithGil {
 public:
  WithGil() {
    take_gil_or_wait([this] { state_ = PyGILState_Ensure(); });
  }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;
  ~WithGil() { PyGILState_Release(state_); }

 private:
  PyGILState_STATE state_{};
};

}  // namespace rnncore

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

// What a thread has released the GIL with, while it has.
inline thread_local PyThreadState* released = nullptr;

// Releases the GIL until the end of a block.
class WithoutGil {
 public:
  WithoutGil() { released = PyEval_SaveThread(); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() {
    take_gil_or_wait([] { PyEval_RestoreThread(released); });
    released = nullptr;
  }
};

// Takes it for a block, if this thread has released it. (PyGILState_Ensure would crash once the interpreter has ended.)
class WithGil {
 public:
  WithGil() : thread_(released) {
    if (thread_) take_gil_or_wait([this] { PyEval_RestoreThread(thread_); });
    released = nullptr;
  }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;
  ~WithGil() {
    if (thread_) released = PyEval_SaveThread();
  }

 private:
  PyThreadState* thread_;
};

}  // namespace rnncore

// What differs between operating systems. posix.cpp is for Linux and macOS; linux.cpp, macos.cpp and windows.cpp are
// for one system each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <thread>

#include "../tuning.hpp"

namespace rnncore::system {

// Memory from the system, filled with zeros. `at` is a multiple of tuning::huge_page, and pages have that size where
// the system has such pages; the mapping begins before it. Both are null if the system gives no memory.
struct Mapped {
  void *mapping = nullptr, *at = nullptr;
};
Mapped map_pages(size_t bytes);
void unmap_pages(void* mapping, size_t bytes);

// The first multiple of tuning::huge_page in a mapping.
inline void* first_aligned(void* mapping) {
  constexpr uintptr_t unit = tuning::huge_page;
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(mapping) + unit - 1) / unit * unit);
}

// Starts a thread that receives no signals: their handlers belong to the program's own threads. Throws
// std::system_error if the system gives no thread.
std::thread start_thread(void (*run)(void*), void* argument);

// Gives a thread the name "rnncore", for those who list threads.
void name_thread(std::thread& thread);

// Registers a function that is called in each forked child. Returns 0, or the number of the error.
int call_in_children(void (*forget)());

// How many cores this process may run on, and how many whole cores its CPU quotas allow, 0 if there is no quota.
int cores_of_process();
int cores_of_quotas();

// A set of cores, a bit for each; no core is in it while it is not known.
struct Cores {
  uint64_t bits[16]{};
  bool are_known = false;
};

// The cores on which workers may run: those of the calling thread, except the one that it runs on. Linux may put a
// worker on that core and leave it there for milliseconds although another core is idle. On other systems the set is
// not known.
Cores other_cores(size_t workers);

// Restricts a thread to these cores, if they are known and differ from `had`, the cores of the last call; then it sets
// `had` to them.
void keep_to(const Cores& cores, std::thread& thread, Cores& had);

// The size of the L2 cache of a core, 0 if the system does not say.
ptrdiff_t l2_bytes();

// Whether the processor has what "avx2" and "avx512" in CMakeLists.txt are compiled for.
bool has_avx2();
bool has_avx512();

}  // namespace rnncore::system

// What operating systems have apart. posix.cpp is what Linux and macOS have in common; the rest of each is a file of
// its own: linux.cpp, macos.cpp, windows.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <thread>

#include "../tuning.hpp"

namespace rnncore::system {

// So many bytes of zeros from a multiple of tuning::huge_page on, in pages of that size where the system has such. The
// mapping begins earlier; null if the system gives none.
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

// Starts a thread that hears none of the signals whose handlers belong to the program's own threads. Throws
// std::system_error if the system gives none.
std::thread start_thread(void (*run)(void*), void* argument);

// Gives a thread the name "rnncore", for those who list threads.
void name_thread(std::thread& thread);

// Has a function called in each forked child. Returns 0, or the number of the error.
int call_in_children(void (*forget)());

// On how many cores the system lets this process run, and how many its CPU quotas are worth, 0 if it has none.
int cores_of_process();
int cores_of_quotas();

// Cores, a bit for each. None, until known.
struct Cores {
  uint64_t bits[16]{};
  bool are_known = false;
};

// The cores on which workers may run: those of the thread that calls, but for its own, where the system may put them
// and leave them for milliseconds although another core has nothing to do. Linux does; elsewhere they stay unknown.
Cores other_cores(size_t workers);

// Keeps a thread to these cores, if they are known and others than it had; then they are what it has.
void keep_to(const Cores& cores, std::thread& thread, Cores& had);

// The size of the L2 cache of a core, 0 if the system does not say.
ptrdiff_t l2_bytes();

// Whether the processor has AVX2 and FMA; and also what "avx512" in CMakeLists.txt is compiled for.
bool has_avx2();
bool has_avx512();

}  // namespace rnncore::system

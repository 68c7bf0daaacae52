// Windows has no fork, and no signals that are sent to a thread.
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <vector>

#include "system.hpp"

namespace rnncore::system {

using tuning::huge_page;

// Reserves addresses for the whole mapping, and commits memory for its aligned part only: Windows counts committed
// memory as used.
Mapped map_pages(size_t bytes) {
  void* const mapping = VirtualAlloc(nullptr, bytes + huge_page, MEM_RESERVE, PAGE_READWRITE);
  if (!mapping) return {};
  void* const at = first_aligned(mapping);
  if (VirtualAlloc(at, bytes, MEM_COMMIT, PAGE_READWRITE)) return {mapping, at};
  unmap_pages(mapping, bytes);
  return {};
}

void unmap_pages(void* mapping, size_t) { VirtualFree(mapping, 0, MEM_RELEASE); }

std::thread start_thread(void (*run)(void*), void* argument) { return std::thread(run, argument); }

void name_thread(std::thread& thread) { SetThreadDescription(thread.native_handle(), L"rnncore"); }

int call_in_children(void (*)()) { return 0; }

// Those of one processor group, in which a process starts.
int cores_of_process() {
  DWORD_PTR mask = 0, all = 0;
  int count = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &mask, &all))
    for (; mask; mask &= mask - 1) ++count;
  return count ? count : 1;
}

int cores_of_quotas() { return 0; }

Cores other_cores(size_t) { return {}; }

void keep_to(const Cores&, std::thread&, Cores&) {}

ptrdiff_t l2_bytes() {
  DWORD bytes = 0;
  GetLogicalProcessorInformation(nullptr, &bytes);
  std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> found(bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
  if (!GetLogicalProcessorInformation(found.data(), &bytes)) return 0;
  for (const auto& one : found)
    if (one.Relationship == RelationCache && one.Cache.Level == 2) return one.Cache.Size;
  return 0;
}

#if defined(__x86_64__)
namespace {

// __builtin_cpu_supports needs a library of clang that is not linked together with Microsoft's libraries.
struct Features {
  unsigned ecx_1 = 0, ebx_7 = 0;
  unsigned saved = 0;  // which registers the system saves

  Features() {
    unsigned eax, ebx, ecx, edx, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx_1, &edx) || !(ecx_1 & bit_OSXSAVE)) return;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    __get_cpuid_count(7, 0, &eax, &ebx_7, &ecx, &edx);
  }
};

bool has_all(unsigned found, unsigned wanted) { return (found & wanted) == wanted; }

}  // namespace

bool has_avx2() {
  const Features features;
  return has_all(features.saved, 0x06) && has_all(features.ecx_1, bit_AVX | bit_FMA) && features.ebx_7 & bit_AVX2;
}

bool has_avx512() {
  const unsigned wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
  const Features features;
  return has_avx2() && has_all(features.saved, 0xe6) && has_all(features.ebx_7, wanted);
}
#endif

}  // namespace rnncore::system

#include "memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "../tuning.hpp"

namespace rnncore {

using tuning::huge_page;

Pages::Pages(size_t bytes) : size_(bytes) {
  void* const mapped = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  mapped_ = mapped;
  const uintptr_t aligned = (reinterpret_cast<uintptr_t>(mapped) + huge_page - 1) / huge_page * huge_page;
  at_ = reinterpret_cast<void*>(aligned);
#if defined(MADV_HUGEPAGE)
  // Fewer faults and fewer misses of the address cache; without such pages nothing is lost.
  if (bytes > huge_page) madvise(at_, bytes, MADV_HUGEPAGE);
#endif
}

Pages::~Pages() {
  if (mapped_) munmap(mapped_, size_ + huge_page);
}

namespace {

// What a thread keeps.
struct KeptPages {
  Pages pages;
  bool in_use = false;
};

KeptPages& kept_pages() {
  thread_local KeptPages kept;
  return kept;
}

}  // namespace

WorkArea::WorkArea() : is_kept_(!kept_pages().in_use) {
  if (is_kept_) kept_pages().in_use = true;
}

WorkArea::~WorkArea() {
  if (is_kept_) kept_pages().in_use = false;
}

// If there is much of it a call that needs less gives the rest back.
void* WorkArea::reserve(size_t bytes) {
  Pages& pages = is_kept_ ? kept_pages().pages : own_;
  const size_t wanted = (bytes + huge_page - 1) / huge_page * huge_page, had = pages.size();
  if (wanted > had || (had > tuning::kept_memory && wanted < had)) {
    pages = Pages();
    pages = Pages(wanted);
  }
  return pages.at();
}

}  // namespace rnncore

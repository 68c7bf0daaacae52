#include "memory.hpp"

#include <atomic>
#include <new>
#include <thread>

#include "../tuning.hpp"
#include "system.hpp"

namespace rnncore {

using tuning::huge_page;

Pages::Pages(size_t bytes) : size_(bytes) {
  const system::Mapped mapped = system::map_pages(bytes);
  if (!mapped.mapping) throw std::bad_alloc();
  mapping_ = mapped.mapping, at_ = mapped.at;
}

Pages::~Pages() {
  if (mapping_) system::unmap_pages(mapping_, size_);
}

namespace {

enum class Use { unclaimed, idle, busy };

// What a thread keeps. These are linked, never destroyed, and claimed by another thread when the one before has ended.
// Nothing here waits for a lock: a fork may come at any time.
struct KeptPages {
  Pages pages;
  std::atomic<Use> use{Use::idle};
  KeptPages* next = nullptr;

  bool change(Use from, Use to) { return use.compare_exchange_strong(from, to, std::memory_order_acq_rel); }
};

std::atomic<KeptPages*> first_kept{nullptr};
std::atomic<size_t> kept_by_all{0};  // bytes

// Gives pages back that nobody else uses now.
size_t drop(KeptPages& kept) {
  const size_t bytes = kept.pages.size();
  kept.pages = Pages();
  kept_by_all.fetch_sub(bytes, std::memory_order_relaxed);
  return bytes;
}

KeptPages* claim() {
  for (KeptPages* kept = first_kept.load(std::memory_order_acquire); kept; kept = kept->next)
    if (kept->change(Use::unclaimed, Use::idle)) return kept;
  auto* const kept = new KeptPages;
  kept->next = first_kept.load(std::memory_order_relaxed);
  while (!first_kept.compare_exchange_weak(kept->next, kept, std::memory_order_acq_rel)) continue;
  return kept;
}

// A thread's own until it ends.
class OwnPages {
 public:
  OwnPages() : kept_(claim()) {}
  ~OwnPages() {
    for (int tries = 0; tries < 1000; ++tries) {  // release_work_areas() may hold them, for a moment
      if (kept_->change(Use::idle, Use::busy)) {
        drop(*kept_);
        kept_->use.store(Use::unclaimed, std::memory_order_release);
        return;
      }
      std::this_thread::yield();
    }
  }
  KeptPages& kept() { return *kept_; }

 private:
  KeptPages* kept_;
};

KeptPages& kept_pages() {
  thread_local OwnPages own;
  return own.kept();
}

}  // namespace

WorkArea::WorkArea() : is_kept_(kept_pages().change(Use::idle, Use::busy)) {}

WorkArea::~WorkArea() {
  if (!is_kept_) return;
  KeptPages& kept = kept_pages();
  const size_t all = kept_by_all.load(std::memory_order_relaxed);
  if (all > tuning::kept_memory && all > kept.pages.size()) drop(kept);  // others keep some as well
  kept.use.store(Use::idle, std::memory_order_release);
}

// If there is much of it a call that needs less gives the rest back.
Memory WorkArea::reserve(size_t bytes) {
  Pages& pages = is_kept_ ? kept_pages().pages : own_;
  if (bytes == 0) return {pages.at(), pages.size()};
  const size_t wanted = (bytes + huge_page - 1) / huge_page * huge_page, had = pages.size();
  if (wanted > had || (had > tuning::kept_memory && wanted < had)) {
    if (is_kept_) drop(kept_pages());
    pages = Pages();
    pages = Pages(wanted);
    if (is_kept_) kept_by_all.fetch_add(wanted, std::memory_order_relaxed);
  }
  return {pages.at(), pages.size()};
}

size_t release_work_areas() {
  size_t released = 0;
  for (KeptPages* kept = first_kept.load(std::memory_order_acquire); kept; kept = kept->next) {
    if (!kept->change(Use::idle, Use::busy)) continue;
    released += drop(*kept);
    kept->use.store(Use::idle, std::memory_order_release);
  }
  return released;
}

}  // namespace rnncore

// What this machine can do at best, for one instruction set: compiled once per set, with VECTOR_BYTES as wide as its
// vectors. FMA from registers alone, the latency of one FMA, reading memory, and how many pages are near.
//
// The vectors are GCC's own, and a * b + c becomes one FMA because the compiler is told -ffp-contract=fast.

#include <sys/mman.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace {

using Clock = std::chrono::steady_clock;

template <typename Real>
struct Vector {
  typedef Real type __attribute__((vector_size(VECTOR_BYTES)));
};

constexpr std::size_t kPage = 4096, kMostPages = 512, kHugePage = kPage * kMostPages;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Hides a value from the compiler: what comes out may be anything.
template <typename T>
void hide(T& value) {
  asm volatile("" : "+m"(value) : : "memory");
}

// chains * passes vector FMAs, each chain waiting for itself alone.
template <typename Real, int chains>
void fma_chains(std::int64_t passes) {
  using V = typename Vector<Real>::type;
  V factor = V{} + Real(0.999), addend = V{} + Real(0.001), sums[chains];
  hide(factor);
  hide(addend);
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) sums[i] = V{} + Real(i);
  for (std::int64_t pass = 0; pass < passes; ++pass) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sums[i] = sums[i] * factor + addend;
  }
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) hide(sums[i]);
}

// Runs pieces of work until `seconds` are over, and at least a few; the best piece's time, so that what else the
// machine did stays out.
template <typename Work>
double best_time(double seconds, Work work) {
  const auto start = Clock::now();
  double best = 1e30;
  for (int pieces = 0; pieces < 4 || since(start) < seconds; ++pieces) {
    const auto piece = Clock::now();
    work();
    const double time = since(piece);
    if (time < best) best = time;
  }
  return best;
}

template <typename Real>
double fma_rate(double seconds) {
  constexpr int chains = 12;
  constexpr std::int64_t passes = 100000;
  const double time = best_time(seconds, [] { fma_chains<Real, chains>(passes); });
  return 2.0 * (VECTOR_BYTES / sizeof(Real)) * chains * passes / time;
}

// One lap over memory, eight vectors at a time.
std::uint64_t read_all(const unsigned char* memory, std::size_t bytes) {
  using V = Vector<std::uint64_t>::type;
  V sums[8] = {};
  for (std::size_t at = 0; at + 8 * VECTOR_BYTES <= bytes; at += 8 * VECTOR_BYTES) {
    const V* vectors = reinterpret_cast<const V*>(memory + at);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sums[i] ^= vectors[i];
  }
  V all = sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
  hide(all);
  return all[0];
}

// A ring through one line of each page, in an order by chance (Sattolo's). Lines lie at other places of their pages, so
// that they share no set of the first cache.
void link_pages(unsigned char* memory, std::size_t pages) {
  std::size_t order[kMostPages];
  for (std::size_t i = 0; i < pages; ++i) order[i] = i;
  std::uint32_t state = 1;
  for (std::size_t i = pages - 1; i > 0; --i) {
    state = state * 1664525U + 1013904223U;
    const std::size_t other = (state >> 8) % i, kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
  const auto line = [&](std::size_t i) {
    return reinterpret_cast<void**>(memory + order[i % pages] * kPage + order[i % pages] * 64 % kPage);
  };
  for (std::size_t i = 0; i < pages; ++i) *line(i) = line(i + 1);
}

}  // namespace

extern "C" {

// Floating-point operations per second of one thread, an FMA being two.
double fma_rate_float32(double seconds) { return fma_rate<float>(seconds); }
double fma_rate_float64(double seconds) { return fma_rate<double>(seconds); }

// Seconds from one FMA to the next that needs its result.
double fma_latency(double seconds) {
  constexpr std::int64_t passes = 100000;
  return best_time(seconds, [] { fma_chains<float, 1>(passes); }) / passes;
}

// Bytes per second read from a block of this size, again and again; 0 if there is no such memory.
double read_rate(std::size_t bytes, double seconds) {
  bytes -= bytes % (8 * VECTOR_BYTES);
  auto* memory = static_cast<unsigned char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (memory == nullptr) return 0;
  for (std::size_t i = 0; i < bytes; ++i) memory[i] = static_cast<unsigned char>(i);
  const std::size_t laps = bytes < (1 << 20) ? (1 << 20) / bytes : 1;
  std::uint64_t seen = read_all(memory, bytes);
  const double time = best_time(seconds, [&] {
    for (std::size_t lap = 0; lap < laps; ++lap) seen ^= read_all(memory, bytes);
  });
  hide(seen);
  std::free(memory);
  return static_cast<double>(bytes) * static_cast<double>(laps) / time;
}

// Seconds of a load that waits for the one before, each from another page of 4 KiB, again and again over so many of
// them (up to 512): as small pages, or all in one huge page if the kernel grants it. 0 if there is no such memory. The
// pages are the kernel's own, not the heap's, whose pages others get after this.
double chase(std::size_t pages, int huge, double seconds) {
  if (pages > kMostPages) return 0;
  constexpr std::size_t bytes = 2 * kHugePage;
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return 0;
  auto* const memory =
      static_cast<unsigned char*>(mapped) + (kHugePage - reinterpret_cast<std::uintptr_t>(mapped) % kHugePage);
  madvise(memory, kHugePage, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  link_pages(memory, pages);
  constexpr int kLoads = 1 << 14;
  void** at = reinterpret_cast<void**>(memory);
  const double time = best_time(seconds, [&] {
    for (int i = 0; i < kLoads; ++i) at = static_cast<void**>(*at);
    hide(at);
  });
  munmap(mapped, bytes);
  return time / kLoads;
}
}

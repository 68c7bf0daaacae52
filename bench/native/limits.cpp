// What this machine can do at best, for one instruction set: compiled once per set, with VECTOR_BYTES as wide as its
// vectors. FMA from registers alone, the latency of one FMA, and reading memory.
//
// The vectors are GCC's own, and a * b + c becomes one FMA because the compiler is told -ffp-contract=fast.

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

// Runs pieces of work until `seconds` are over; the best piece's time, so that what else the machine did stays out.
template <typename Work>
double best_time(double seconds, Work work) {
  const auto start = Clock::now();
  double best = 1e30;
  do {
    const auto piece = Clock::now();
    work();
    const double time = since(piece);
    if (time < best) best = time;
  } while (since(start) < seconds);
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
}

// Vectors of any width as the compiler's own vector types, and the operations they lack: fma and sqrt.
//
// Every file of this column is compiled once per instruction set, in a namespace of the set's name
// (RNNCORE_ISA, given by CMakeLists.txt), so nothing here may be shared between two of them: C headers
// and own code only, because a standard-library template would leave a weak symbol that the linker
// might take from the widest set and hand to a machine that cannot run it.
//
// + - * / < == ?: and indexing are the compiler's; none of them rounds twice (-ffp-contract=off).
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#if defined(__AVX__) || defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define RNNCORE_INLINE inline __attribute__((always_inline))

// Before a loop over the vectors of a tile: unless it is unrolled whole, the tile is not kept in registers.
#if defined(__clang__)
#define RNNCORE_UNROLL _Pragma("unroll")
#else
#define RNNCORE_UNROLL _Pragma("GCC unroll 16")
#endif

namespace rnncore::RNNCORE_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class Real>
struct VectorOf {
  typedef Real type __attribute__((vector_size(vector_bytes)));
};

// The instruction set's widest vector of Real.
template <class Real>
using Vector = typename VectorOf<Real>::type;

template <class Real>
constexpr int lanes = vector_bytes / static_cast<int>(sizeof(Real));

// The number type of a vector, and the signed integers of the same size that comparisons yield.
template <class V>
struct Element;
template <>
struct Element<Vector<float>> {
  using Real = float;
  using Integers = Vector<int32_t>;
};
template <>
struct Element<Vector<double>> {
  using Real = double;
  using Integers = Vector<int64_t>;
};
template <class V>
using RealOf = typename Element<V>::Real;
template <class V>
using Integers = typename Element<V>::Integers;

template <class V>
RNNCORE_INLINE V load(const RealOf<V>* from) {
  V v;
  memcpy(&v, from, sizeof(V));
  return v;
}

template <class V>
RNNCORE_INLINE void store(RealOf<V>* to, V v) {
  memcpy(to, &v, sizeof(V));
}

// Loads a vector of which only `count` numbers are there; the others are +0.
template <class V>
RNNCORE_INLINE V load_up_to(ptrdiff_t count, const RealOf<V>* from) {
  if (count >= lanes<RealOf<V>>) return load<V>(from);
  if (count <= 0) return V{};
#if defined(__AVX512F__)
  const unsigned mask = (1U << count) - 1;
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from));
  else
    return reinterpret_cast<V>(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), from));
#else
  V v = {};
  memcpy(&v, from, static_cast<size_t>(count) * sizeof(RealOf<V>));
  return v;
#endif
}

// The first `count` lanes, 0 < count < lanes, and nothing beyond them.
template <class V>
RNNCORE_INLINE void store_first(RealOf<V>* to, V v, ptrdiff_t count) {
#if defined(__AVX512F__)
  const unsigned mask = (1U << count) - 1;
  if constexpr (sizeof(RealOf<V>) == 4)
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(mask), reinterpret_cast<__m512>(v));
  else
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(mask), reinterpret_cast<__m512d>(v));
#else
  memcpy(to, &v, static_cast<size_t>(count) * sizeof(RealOf<V>));
#endif
}

// Asks for so many bytes to be brought near, before they are read or, if they may be, written.
template <int bytes, class T>
RNNCORE_INLINE void prefetch(T* at) {
  RNNCORE_UNROLL for (int line = 0; line < (bytes + 63) / 64; ++line)
      __builtin_prefetch(reinterpret_cast<const char*>(at) + line * 64, std::is_const_v<T> ? 0 : 1);
}

// The same of one line, no nearer than into the L2 cache: for what is read after all that the L1 cache holds now.
template <class T>
RNNCORE_INLINE void prefetch_for_later(const T* at) {
  __builtin_prefetch(at, 0, 2);
}

// The same number in every lane. `x - V{}` would do too, but only x - 0 keeps the sign of a zero:
// V{} + x turns -0 into +0.
template <class V>
RNNCORE_INLINE V splat(RealOf<V> x) {
  return x - V{};
}

// The bits of a vector as integers, and back.
template <class V>
RNNCORE_INLINE Integers<V> bits(V v) {
  return reinterpret_cast<Integers<V>>(v);
}
template <class V>
RNNCORE_INLINE V from_bits(Integers<V> i) {
  return reinterpret_cast<V>(i);
}

// The lane numbers 0, 1, ..., count - 1 as a pack.
template <int... lane>
struct LaneNumbers {};
template <int count, int... lane>
struct CountLanes : CountLanes<count - 1, count - 1, lane...> {};
template <int... lane>
struct CountLanes<0, lane...> {
  using Numbers = LaneNumbers<lane...>;
};

// The first `count` lanes of v, then those of `rest`.
template <class V, int... lane>
RNNCORE_INLINE V first_lanes(V v, ptrdiff_t count, V rest, LaneNumbers<lane...>) {
  using Number = decltype(Integers<V>{}[0] + 0);
  return Integers<V>{lane...} < static_cast<Number>(count) ? v : rest;
}

// Numbers of a row of n, loaded from the k-th on, with `rest` in place of those beyond the row.
template <class V>
RNNCORE_INLINE V up_to(ptrdiff_t n, V numbers, ptrdiff_t k, RealOf<V> rest) {
  if (n - k >= lanes<RealOf<V>>) return numbers;
  return first_lanes(numbers, n - k, splat<V>(rest), typename CountLanes<lanes<RealOf<V>>>::Numbers{});
}

// Exchanges blocks of `size` lanes: b's first of each two for a's second.
template <int size, class V, int... lane>
RNNCORE_INLINE void exchange(V& a, V& b, LaneNumbers<lane...>) {
  constexpr int count = sizeof...(lane);
  const V first = __builtin_shufflevector(a, b, (lane & size ? count + lane - size : lane)...);
  b = __builtin_shufflevector(a, b, (lane & size ? count + lane : lane + size)...);
  a = first;
}

// Each lane's neighbour `distance` lanes up, around the end.
template <int distance, class V, int... lane>
RNNCORE_INLINE V rotated(V v, LaneNumbers<lane...>) {
  return __builtin_shufflevector(v, v, ((lane + distance) % static_cast<int>(sizeof...(lane)))...);
}

// All lanes in one: the upper half of them combined with the lower, again and again.
template <int half, class V, class Combine>
RNNCORE_INLINE RealOf<V> fold_lanes(V v, Combine combine) {
  if constexpr (half == 0) {
    return v[0];
  } else {
    constexpr int count = lanes<RealOf<V>>;
    return fold_lanes<half / 2>(combine(v, rotated<half>(v, typename CountLanes<count>::Numbers{})), combine);
  }
}

// Exchanges rows and columns of squares of twice `size` numbers, in as many vectors as there are: blocks first, then
// what is in them.
template <int size, int vectors, class V>
RNNCORE_INLINE void transpose(V* square) {
  if constexpr (size > 0) {
    RNNCORE_UNROLL for (int i = 0; i < vectors; ++i) if (!(i & size))
        exchange<size>(square[i], square[i + size], typename CountLanes<lanes<RealOf<V>>>::Numbers{});
    transpose<size / 2, vectors>(square);
  }
}

// How many numbers fit into 16 bytes.
template <class Real>
constexpr int in_block = 16 / static_cast<int>(sizeof(Real));

// Some numbers of 16 bytes from each of several rows, one after the other in a vector.
template <class V>
RNNCORE_INLINE V load_blocks(const RealOf<V>* from, ptrdiff_t stride) {
  constexpr int numbers = in_block<RealOf<V>>;
#if defined(__AVX512F__)  // a masked load of a block takes no shuffle
  const auto block = [&](int b) { return _mm_loadu_ps(reinterpret_cast<const float*>(from + b * numbers * stride)); };
  __m512 v = _mm512_castps128_ps512(block(0));
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, block(1));
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, block(2));
  v = _mm512_mask_broadcast_f32x4(v, 0xf000, block(3));
  return reinterpret_cast<V>(v);
#elif defined(__AVX__)  // copied into a vector, blocks go through memory
  const auto block = [&](int b) { return _mm_loadu_ps(reinterpret_cast<const float*>(from + b * numbers * stride)); };
  return reinterpret_cast<V>(_mm256_insertf128_ps(_mm256_castps128_ps256(block(0)), block(1), 1));
#else
  V v;
  for (int b = 0; b < lanes<RealOf<V>> / numbers; ++b)
    memcpy(reinterpret_cast<char*>(&v) + 16 * b, from + b * numbers * stride, 16);
  return v;
#endif
}

// Some columns of as many rows as a vector has lanes, whole blocks of 16 bytes: square[c] holds the c-th of each row.
// Blocks find their places as they are loaded; what is left is to exchange rows and columns within them.
template <class Real, int columns = lanes<Real>>
RNNCORE_INLINE void load_columns(const Real* from, ptrdiff_t stride, Vector<Real>* square) {
  constexpr int numbers = in_block<Real>;
  RNNCORE_UNROLL for (int i = 0; i < columns; ++i) square[i] =
      load_blocks<Vector<Real>>(from + i % numbers * stride + i / numbers * numbers, stride);
  transpose<numbers / 2, columns>(square);
}

// The other way round: into the first `count` rows, of which row(r) is the r-th.
template <class Real, int columns, class Row>
RNNCORE_INLINE void store_columns(Vector<Real>* square, ptrdiff_t count, Row row) {
  constexpr int numbers = in_block<Real>;
  transpose<numbers / 2, columns>(square);
  for (ptrdiff_t r = 0; r < count; ++r)
    for (int c = 0; c < columns; c += numbers)
      memcpy(row(r) + c, reinterpret_cast<const Real*>(square + c + r % numbers) + r / numbers * numbers, 16);
}

#if !defined(__FMA__) && !defined(__ARM_NEON)
// No hardware for it: the C library's fma is exact by its standard. Not inlined, for it is many calls.
template <class V>
__attribute__((noinline)) V fma_by_lanes(V a, V b, V c) {
  for (int l = 0; l < lanes<RealOf<V>>; ++l)
    a[l] = sizeof(RealOf<V>) == 4 ? __builtin_fmaf(a[l], b[l], c[l]) : __builtin_fma(a[l], b[l], c[l]);
  return a;
}
#endif

// a * b + c, rounded once.
template <class V>
RNNCORE_INLINE V fma(V a, V b, V c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(
        _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
  else
    return reinterpret_cast<V>(
        _mm512_fmadd_pd(reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b), reinterpret_cast<__m512d>(c)));
#elif defined(__FMA__)
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(
        _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
  else
    return reinterpret_cast<V>(
        _mm256_fmadd_pd(reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b), reinterpret_cast<__m256d>(c)));
#elif defined(__ARM_NEON)
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a),
                                         reinterpret_cast<float32x4_t>(b)));
  else
    return reinterpret_cast<V>(vfmaq_f64(reinterpret_cast<float64x2_t>(c), reinterpret_cast<float64x2_t>(a),
                                         reinterpret_cast<float64x2_t>(b)));
#else
  return fma_by_lanes(a, b, c);
#endif
}

// The square root of each lane, correctly rounded, as IEEE 754 has it.
template <class V>
RNNCORE_INLINE V sqrt(V v) {
#if defined(__AVX512F__)  // with a mask, since GCC 12 warns of what the plain ones leave undefined
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(_mm512_maskz_sqrt_ps(0xffff, reinterpret_cast<__m512>(v)));
  else
    return reinterpret_cast<V>(_mm512_maskz_sqrt_pd(0xff, reinterpret_cast<__m512d>(v)));
#elif defined(__AVX__)
  if constexpr (sizeof(RealOf<V>) == 4)
    return reinterpret_cast<V>(_mm256_sqrt_ps(reinterpret_cast<__m256>(v)));
  else
    return reinterpret_cast<V>(_mm256_sqrt_pd(reinterpret_cast<__m256d>(v)));
#else
  for (int l = 0; l < lanes<RealOf<V>>; ++l)
    v[l] = sizeof(RealOf<V>) == 4 ? __builtin_sqrtf(v[l]) : __builtin_sqrt(v[l]);
  return v;
#endif
}

// As many numbers as a vector of float64 holds, as float64.
RNNCORE_INLINE Vector<double> widen(const double* from) { return load<Vector<double>>(from); }
RNNCORE_INLINE Vector<double> widen(const float* from) {
  typedef float Half __attribute__((vector_size(vector_bytes / 2)));
  Half half;
  memcpy(&half, from, sizeof(half));
#if defined(__AVX512F__)  // GCC makes two conversions of one
  return reinterpret_cast<Vector<double>>(_mm512_maskz_cvtps_pd(0xff, reinterpret_cast<__m256>(half)));
#elif defined(__AVX__)
  return reinterpret_cast<Vector<double>>(_mm256_cvtps_pd(reinterpret_cast<__m128>(half)));
#else
  return __builtin_convertvector(half, Vector<double>);
#endif
}

}  // namespace rnncore::RNNCORE_ISA

// exp, tanh, sigmoid and log of a vector, from + - * /, fma and the bits of the exponent alone, so that every
// column of the grid gets the same bits. Branch-free; within one unit in the last place, sigmoid 1.15.
//
// Every constant is derived by tools/derive_elementary.py, which also checks that this file holds it.
#pragma once

#include "vector.hpp"

namespace rnncore::RNNCORE_ISA::elementary {

template <class Real>
struct Constants;

template <>
struct Constants<float> {
  static constexpr int32_t fraction_bits = 23;
  static constexpr int32_t bias = 127;
  static constexpr float infinity = __builtin_inf();
  static constexpr float nan = __builtin_nan("");
  static constexpr float shift = 0x1.8p+23f;  // adding it rounds to an integer, which the low bits of the sum then hold
  static constexpr float log2_e = 0x1.715476p+0f;
  static constexpr float ln2 = 0x1.62e43p-1f;
  static constexpr float ln2_rest = -0x1.05c61p-29f;  // ln2 + ln2_rest is log(2)
  static constexpr float exp_highest = 0x1.64p+6f;    // e^x is infinite from here on
  static constexpr float exp_lowest = -0x1.ap+6f;     // and 0 from here down
  // e^r = 1 + r + r r q(r)
  static constexpr float exp_q[] = {0x1.fffffcp-2f, 0x1.55548cp-3f, 0x1.555858p-5f, 0x1.123dep-7f, 0x1.6ac75ap-10f};
  static constexpr float tanh_highest = 0x1.6p+5f;  // e^2x overflows soon
  static constexpr float tanh_split = 0x1.ep-1f;    // below it, tanh x = x (1 + u P(u) / Q(u)) with u = x x
  static constexpr float tanh_p[] = {-0x1.d55554p-2f, -0x1.4b347p-6f};
  static constexpr float tanh_q[] = {0x1.6p+0f, 0x1.38a67cp-1f, 0x1.628b9p-6f};
  static constexpr float tanh_scale = 0x1p+96f;  // of 1 - tanh in what is kept of it
  static constexpr float smallest_normal = 0x1p-126f;
  static constexpr float log_scale = 0x1p+24f;  // brings subnormal numbers among the normal ones
  static constexpr float sqrt_half = 0x1.6a09e6p-1f;
  // log(1 + f) = s (2 + z c(z)) with s = f / (2 + f), z = s s
  static constexpr float log_c[] = {0x1.55557ap-1f, 0x1.995ed8p-2f, 0x1.31e03cp-2f};
};

template <>
struct Constants<double> {
  static constexpr int64_t fraction_bits = 52;
  static constexpr int64_t bias = 1023;
  static constexpr double infinity = __builtin_inf();
  static constexpr double nan = __builtin_nan("");
  static constexpr double shift = 0x1.8p+52;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2 = 0x1.62e42fefa39efp-1;
  static constexpr double ln2_rest = 0x1.abc9e3b39803fp-56;
  static constexpr double exp_highest = 0x1.63p+9;
  static constexpr double exp_lowest = -0x1.75p+9;
  static constexpr double exp_q[] = {0x1.000000000000ap-1,  0x1.5555555555503p-3,  0x1.5555555550605p-5,
                                     0x1.1111111124d21p-7,  0x1.6c16c184b59e6p-10, 0x1.a01a013d66a27p-13,
                                     0x1.a019988c3399bp-16, 0x1.71def3d914675p-19, 0x1.28aee9c1cda79p-22,
                                     0x1.add599dd14d14p-26};
  static constexpr double tanh_highest = 0x1.62p+8;
  static constexpr double tanh_split = 0x1.ep-1;
  static constexpr double tanh_p[] = {-0x1.d555555555555p-2, -0x1.e24b67d1e3b3bp-6, -0x1.5eb26db463901p-12,
                                      -0x1.9752025205051p-26};
  static constexpr double tanh_q[] = {0x1.6p+0, 0x1.46d0ab5546f12p-1, 0x1.142415944f4fep-5, 0x1.6e95de570a641p-12};
  static constexpr double tanh_scale = 0x1p+963;
  static constexpr double smallest_normal = 0x1p-1022;
  static constexpr double log_scale = 0x1p+53;
  static constexpr double sqrt_half = 0x1.6a09e667f3bcdp-1;
  static constexpr double log_c[] = {0x1.5555555555592p-1, 0x1.999999997ff64p-2, 0x1.24924941db379p-2,
                                     0x1.c71c521a26335p-3, 0x1.74663ba13b1cep-3, 0x1.39a20bca65a4p-3,
                                     0x1.2f0250916580ap-3};
};

// c[0] + c[1] x + c[2] x^2 + ..., by Horner's rule.
template <class V, int count>
RNNCORE_INLINE V polynomial(V x, const RealOf<V> (&c)[count]) {
  V y = splat<V>(c[count - 1]);
  for (int i = count - 2; i >= 0; --i) y = fma(y, x, splat<V>(c[i]));
  return y;
}

// 2^n of integers n, for n that a normal number can have as exponent.
template <class V>
RNNCORE_INLINE V power_of_two(Integers<V> n) {
  using C = Constants<RealOf<V>>;
  return from_bits<V>((n + C::bias) << C::fraction_bits);
}

// p and n of exp(x) = 2^n (1 + p), |p| < 0.42.
template <class V>
struct Parts {
  V p;
  Integers<V> n;
};

template <class V>
RNNCORE_INLINE Parts<V> exp_parts(V x) {
  using C = Constants<RealOf<V>>;
  V shifted = fma(x, splat<V>(C::log2_e), splat<V>(C::shift));  // the addition rounds to an integer
  V n = shifted - C::shift;
  V high = fma(-n, splat<V>(C::ln2), x);  // exact: a multiple of x's or ln2's last place, and below 1/2
  V r = fma(-n, splat<V>(C::ln2_rest), high);
  V p = high + fma(-n, splat<V>(C::ln2_rest), r * r * polynomial(r, C::exp_q));
  return {p, bits(shifted) - bits(splat<V>(C::shift))};
}

// e^x. Results below the normal numbers are rounded once; NaN stays NaN.
template <class V>
RNNCORE_INLINE V exp(V x) {
  using C = Constants<RealOf<V>>;
  x = x > C::exp_highest ? splat<V>(C::exp_highest) : x;  // comparisons that let NaN pass
  x = x < C::exp_lowest ? splat<V>(C::exp_lowest) : x;
  Parts<V> e = exp_parts(x);
  Integers<V> half = e.n >> 1;  // 2^n itself may be no normal number
  return (1 + e.p) * power_of_two<V>(half) * power_of_two<V>(e.n - half);
}

// tanh |x| = base + base ratio, and the sign of x.
template <class V>
struct TanhParts {
  V base, ratio;
  Integers<V> near, sign;
};

// x (1 + u P(u) / Q(u)) with u = x x near zero, 1 - 2 / (e^2|x| + 1) elsewhere: both share the division.
template <class V>
RNNCORE_INLINE TanhParts<V> tanh_parts(V x) {
  using C = Constants<RealOf<V>>;
  Integers<V> sign = bits(x) & bits(splat<V>(-RealOf<V>(0)));
  V a = from_bits<V>(bits(x) ^ sign);
  a = a > C::tanh_highest ? splat<V>(C::tanh_highest) : a;
  Parts<V> e = exp_parts(a + a);
  V power = power_of_two<V>(e.n);
  V u = a * a;
  Integers<V> near = a < C::tanh_split;
  V above = near ? u * polynomial(u, C::tanh_p) : splat<V>(-2);
  V below = near ? polynomial(u, C::tanh_q) : fma(power, e.p, 1 + power);
  return {near ? a : splat<V>(1), above / below, near, sign};
}

// The hyperbolic tangent.
template <class V>
RNNCORE_INLINE V tanh(V x) {
  TanhParts<V> t = tanh_parts(x);
  return from_bits<V>(bits(fma(t.base, t.ratio, t.base)) | t.sign);
}

// A function's value, and what a cell keeps of it for the way back.
template <class V>
struct AndKept {
  V value, kept;
};

// tanh x, and one number from which it and 1 - tanh^2 x follow without loss, with the sign of x: near zero tanh |x|
// itself, which is below 1; elsewhere 1 + tanh_scale q with q = 1 - tanh |x|. From tanh_highest on that is 1.
template <class V>
RNNCORE_INLINE AndKept<V> tanh_and_kept(V x) {
  using C = Constants<RealOf<V>>;
  TanhParts<V> t = tanh_parts(x);
  V factor = t.near ? t.base : splat<V>(-C::tanh_scale);
  V value = fma(t.base, t.ratio, t.base), kept = fma(factor, t.ratio, t.base);
  return {from_bits<V>(bits(value) | t.sign), from_bits<V>(bits(kept) | t.sign)};
}

// 1 - tanh |x|, from what is kept of tanh x.
template <class V>
RNNCORE_INLINE V tanh_rest(V kept) {
  using C = Constants<RealOf<V>>;
  V a = from_bits<V>(bits(kept) & ~bits(splat<V>(-RealOf<V>(0))));
  return (a - 1) * (a < 1 ? splat<V>(-1) : splat<V>(1 / C::tanh_scale));
}

// tanh x, from what is kept of it: the bits of tanh(x).
template <class V>
RNNCORE_INLINE V tanh_of(V kept) {
  Integers<V> sign = bits(kept) & bits(splat<V>(-RealOf<V>(0)));
  V a = from_bits<V>(bits(kept) ^ sign);
  V y = a < 1 ? a : 1 - tanh_rest(kept);
  return from_bits<V>(bits(y) | sign);
}

// The derivative 1 - tanh^2 x, from what is kept of tanh x.
template <class V>
RNNCORE_INLINE V tanh_slope(V kept) {
  V q = tanh_rest(kept);
  return q * (2 - q);
}

// The logistic function of -|x|, s = 1 / (1 + e^|x|). With e^|x| = 2^n (1 + p) it is 2^(1-n) / (2 + 2p + 2^(1-n)), by a
// quotient mended for its own rounding and that of the sum below it. Twice everything, because 2^(1-n) is a number down
// to the least result; only the multiplication by it can round a subnormal one.
template <class V>
RNNCORE_INLINE V sigmoid_part(V x) {
  using C = Constants<RealOf<V>>;
  V a = from_bits<V>(bits(x) & ~bits(splat<V>(-RealOf<V>(0))));
  a = a > -C::exp_lowest ? splat<V>(-C::exp_lowest) : a;
  Parts<V> e = exp_parts(a);
  V power = power_of_two<V>(C::bias - e.n) * C::smallest_normal;  // 2^(1-n)
  V sum = fma(splat<V>(2), e.p, power);
  V below = 2 + sum;
  V low = sum - (below - 2);  // what below rounded away
  V q = 1 / below;
  V left = fma(-low, q, fma(-below, q, splat<V>(1)));
  return fma(q, left, q) * power;
}

// The logistic function 1 / (1 + e^-x).
template <class V>
RNNCORE_INLINE V sigmoid(V x) {
  V y = sigmoid_part(x);
  return x < 0 ? y : 1 - y;
}

// s = sigmoid x, and one number from which it and 1 - s follow without loss: the smaller of them, with the sign of x.
template <class V>
RNNCORE_INLINE AndKept<V> sigmoid_and_kept(V x) {
  Integers<V> sign = bits(x) & bits(splat<V>(-RealOf<V>(0)));
  V y = sigmoid_part(x);
  return {x < 0 ? y : 1 - y, from_bits<V>(bits(y) | sign)};
}

// s, from what is kept of it.
template <class V>
RNNCORE_INLINE V sigmoid_of(V kept) {
  V y = from_bits<V>(bits(kept) & ~bits(splat<V>(-RealOf<V>(0))));
  return bits(kept) < 0 ? y : 1 - y;
}

// 1 - s, from what is kept of s.
template <class V>
RNNCORE_INLINE V sigmoid_rest(V kept) {
  V y = from_bits<V>(bits(kept) & ~bits(splat<V>(-RealOf<V>(0))));
  return bits(kept) < 0 ? 1 - y : y;
}

// The derivative s (1 - s), from what is kept of s.
template <class V>
RNNCORE_INLINE V sigmoid_slope(V kept) {
  V y = from_bits<V>(bits(kept) & ~bits(splat<V>(-RealOf<V>(0))));
  return y * (1 - y);
}

// The natural logarithm: x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and
// log(1 + f) = f - f f / 2 + s (f f / 2 + z c(z)) with s = f / (2 + f), z = s s.
template <class V>
RNNCORE_INLINE V log(V x) {
  using C = Constants<RealOf<V>>;
  constexpr RealOf<V> half = 0.5;
  Integers<V> tiny = x < C::smallest_normal;
  V a = from_bits<V>(bits(x) & ~bits(splat<V>(-RealOf<V>(0))));  // of numbers below 0, k would overflow
  V y = tiny ? a * C::log_scale : x;
  Integers<V> k = (bits(y) - bits(splat<V>(C::sqrt_half))) >> C::fraction_bits;
  V f = from_bits<V>(bits(y) - (k << C::fraction_bits)) - 1;
  k = tiny ? k - (C::fraction_bits + 1) : k;
  V n = from_bits<V>(bits(splat<V>(C::shift)) + k) - C::shift;  // k as a number
  V s = f / (2 + f);
  V z = s * s;
  V half_square = half * f * f;
  V t = s * fma(z, polynomial(z, C::log_c), half_square);
  V high = fma(n, splat<V>(C::ln2), f);
  V low = f - fma(-n, splat<V>(C::ln2), high);  // what high rounded away
  V rest = fma(n, splat<V>(C::ln2_rest), fma(splat<V>(-half) * f, f, t) + low);
  y = high + rest;
  y = x == C::infinity ? x : y;
  y = x > 0 ? y : splat<V>(C::nan);
  return x == 0 ? splat<V>(-C::infinity) : y;
}

// log(1 + x) of x >= 0 without what 1 + x loses of a small x. With u = 1 + x as it is rounded it is log(u) x / (u - 1)
// nearly: both are off by the same factor.
template <class V>
RNNCORE_INLINE V log1p(V x) {
  V u = 1 + x;
  return u == 1 ? x : log(u) * (x / (u - 1));
}

}  // namespace rnncore::RNNCORE_ISA::elementary

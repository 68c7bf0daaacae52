// Optimizers: the length of a gradient, clipping, and one step along it.
//
// A rule is a small pure function of an element: of the parameter x, the gradient g, what the optimizer
// remembers, and numbers. `step` owns the rest, and reads and writes every vector once.
#pragma once

#include "../problem.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA::optim {

// sum + (unit x)^2 for as many x as there are lanes, in float64.
template <class Real>
RNNCORE_INLINE Vector<double> add_squares(Vector<double> sum, const Real* x, double unit) {
  const Vector<double> scaled = widen(x) * unit;
  return sum + scaled * scaled;
}

// The sum of (unit x)^2, in float64, in sixteen lanes.
template <class Real>
double sum_of_squares(const Real* x, Index n, double unit) {
  constexpr int wide = lanes<double>, vectors = 16 / wide;
  Vector<double> sum[vectors] = {};
  const Index whole = n / 16 * 16;
  for (Index at = 0; at < whole; at += 16)
    RNNCORE_UNROLL for (int i = 0; i < vectors; ++i) sum[i] = add_squares(sum[i], x + at + i * wide, unit);
  Real rest[16] = {};
  memcpy(rest, x + whole, static_cast<size_t>(n - whole) * sizeof(Real));
  double lane[16];
  RNNCORE_UNROLL for (int i = 0; i < vectors; ++i) store(lane + i * wide, add_squares(sum[i], rest + i * wide, unit));
  return linear::fold(lane);
}

// |x|. Where squares would overflow, or lose digits below the normal numbers, x is measured in another unit.
template <class Real>
double norm(const Real* x, Index n) {
  const double sum = sum_of_squares(x, n, 1.0);
  const double unit = sum < 0x1p-900 ? 0x1p+600 : sum > 0x1p+1000 ? 0x1p-600 : 1.0;
  return unit == 1 ? __builtin_sqrt(sum) : __builtin_sqrt(sum_of_squares(x, n, unit)) / unit;
}

// g, no element beyond limit or -limit; comparisons that let NaN pass.
template <class V>
RNNCORE_INLINE V clip_by_value(V g, RealOf<V> limit) {
  g = g > limit ? splat<V>(limit) : g;
  return g < -limit ? splat<V>(-limit) : g;
}

// What to multiply dx by so that scale dx is not longer than `longest`. Its length goes to *length: NaN, unasked
// for, if longest is NaN.
template <class Real>
double clip_by_norm(const Real* dx, Index n, double scale, double longest, double* length) {
  *length = longest == longest ? norm(dx, n) * scale : __builtin_nan("");
  return *length > longest ? scale * (longest / *length) : scale;
}

// x - rate g.
template <class V>
RNNCORE_INLINE V sgd(V x, V g, RealOf<V> rate) {
  return x - rate * g;
}

// v = beta v + g; x - rate v.
template <class V>
RNNCORE_INLINE V momentum(V x, V g, V& v, RealOf<V> rate, RealOf<V> beta) {
  v = beta * v + g;
  return x - rate * v;
}

// v = beta v + g; x - rate (beta v + g).
template <class V>
RNNCORE_INLINE V nesterov(V x, V g, V& v, RealOf<V> rate, RealOf<V> beta) {
  v = beta * v + g;
  return x - rate * (beta * v + g);
}

// s = s + g g; x - rate g / (sqrt(s) + epsilon).
template <class V>
RNNCORE_INLINE V adagrad(V x, V g, V& s, RealOf<V> rate, RealOf<V> epsilon) {
  s = s + g * g;
  return x - rate * (g / (sqrt(s) + epsilon));
}

// s = decay s + rest g g, with rest = 1 - decay; x - rate g / (sqrt(s) + epsilon).
template <class V>
RNNCORE_INLINE V rmsprop(V x, V g, V& s, RealOf<V> rate, RealOf<V> epsilon, RealOf<V> decay, RealOf<V> rest) {
  s = decay * s + rest * (g * g);
  return x - rate * (g / (sqrt(s) + epsilon));
}

// m = beta1 m + rest1 g; v = beta2 v + rest2 g g; x - rate m / (sqrt(whole v) + epsilon): rate and whole undo
// that m and v started from 0.
template <class V, class Real = RealOf<V>>
RNNCORE_INLINE V adam(V x, V g, V& m, V& v, Real rate, Real epsilon, Real beta1, Real rest1, Real beta2, Real rest2,
                      Real whole) {
  m = beta1 * m + rest1 * g;
  v = beta2 * v + rest2 * (g * g);
  return x - rate * (m / (sqrt(v * whole) + epsilon));
}

// Elements of the vectors of a step. Without memory, or a second one, these pointers are null.
template <class Real>
struct Elements {
  Real* x;
  const Real* dx;
  Real *first, *second;

  Elements from(Index i) const { return {x + i, dx + i, first ? first + i : nullptr, second ? second + i : nullptr}; }
};

// One vector of each, the gradient scaled and clipped.
template <class Real, class Rule>
RNNCORE_INLINE void one(Elements<Real> at, Real scale, Real limit, Rule rule) {
  using V = Vector<Real>;
  const V g = clip_by_value(load<V>(at.dx) * scale, limit);
  V first = at.first ? load<V>(at.first) : V{}, second = at.second ? load<V>(at.second) : V{};
  store(at.x, rule(load<V>(at.x), g, first, second));
  if (at.first) store(at.first, first);
  if (at.second) store(at.second, second);
}

// All elements; those past the last whole vector in a room of their own.
template <class Real, class Rule>
void each(Elements<Real> all, Index n, Real scale, Real limit, Rule rule) {
  const Index whole = n / lanes<Real> * lanes<Real>;
  for (Index i = 0; i < whole; i += lanes<Real>) one(all.from(i), scale, limit, rule);
  if (whole == n) return;
  const size_t bytes = static_cast<size_t>(n - whole) * sizeof(Real);
  const Elements<Real> last = all.from(whole);
  Real x[lanes<Real>] = {}, dx[lanes<Real>] = {}, first[lanes<Real>] = {}, second[lanes<Real>] = {};
  memcpy(x, last.x, bytes), memcpy(dx, last.dx, bytes);
  if (last.first) memcpy(first, last.first, bytes);
  if (last.second) memcpy(second, last.second, bytes);
  one(Elements<Real>{x, dx, first, second}, scale, limit, rule);
  memcpy(last.x, x, bytes);
  if (last.first) memcpy(last.first, first, bytes);
  if (last.second) memcpy(last.second, second, bytes);
}

// Whether a gradient of this length may be used: one that was asked for and is not finite may not.
inline bool usable(double length, double longest) { return longest != longest || length < __builtin_inf(); }

// dx, shortened and clipped, in its place; returns the length that it had. If that is not finite, nothing is changed.
template <class Real>
double clip(Real* dx, Index n, double longest, double limit) {
  using V = Vector<Real>;
  double length;
  const Real scale = static_cast<Real>(clip_by_norm(dx, n, 1.0, longest, &length));
  const Elements<Real> all{dx, dx, nullptr, nullptr};
  if (usable(length, longest)) each(all, n, scale, static_cast<Real>(limit), [](V, V g, V&, V&) { return g; });
  return length;
}

// Adds rows of n numbers to total, one after the other, each shortened to `longest` before, unless its length is not
// finite. The lengths that they have go to `lengths`.
template <class Real>
void add_shortened(Real* total, const Real* rows, Index count, Index n, double longest, double* lengths) {
  using V = Vector<Real>;
  const Real no_limit = static_cast<Real>(__builtin_inf());
  for (Index k = 0; k < count; ++k) {
    const Elements<Real> both{total, rows + k * n, nullptr, nullptr};
    const double scale = clip_by_norm(both.dx, n, 1.0, longest, lengths + k);
    each(both, n, static_cast<Real>(usable(lengths[k], longest) ? scale : 1.0), no_limit,
         [](V x, V g, V&, V&) { return x + g; });
  }
}

// One step in place of x and of the memory; returns the length of scale dx. If that is not finite, nothing is changed.
template <class Real>
double step(const OptimizerStep<Real>& now) {
  using V = Vector<Real>;
  double length;
  const Real scale = static_cast<Real>(clip_by_norm(now.dx, now.n, now.scale, now.longest, &length));
  if (!usable(length, now.longest)) return length;
  const auto by = [&](auto rule) {
    each(Elements<Real>{now.x, now.dx, now.first, now.second}, now.n, scale, static_cast<Real>(now.limit), rule);
  };
  Real c[step_numbers];
  for (int i = 0; i < step_numbers; ++i) c[i] = static_cast<Real>(now.numbers[i]);
  const Real rate = c[0], c1 = c[1], c2 = c[2], c3 = c[3], c4 = c[4], c5 = c[5], c6 = c[6];
  switch (now.rule) {
    case Rule::sgd:
      by([=](V x, V g, V&, V&) { return sgd(x, g, rate); });
      break;
    case Rule::momentum:
      by([=](V x, V g, V& v, V&) { return momentum(x, g, v, rate, c1); });
      break;
    case Rule::nesterov:
      by([=](V x, V g, V& v, V&) { return nesterov(x, g, v, rate, c1); });
      break;
    case Rule::adagrad:
      by([=](V x, V g, V& s, V&) { return adagrad(x, g, s, rate, c1); });
      break;
    case Rule::rmsprop:
      by([=](V x, V g, V& s, V&) { return rmsprop(x, g, s, rate, c1, c2, c3); });
      break;
    case Rule::adam:
      by([=](V x, V g, V& m, V& v) { return adam(x, g, m, v, rate, c1, c2, c3, c4, c5, c6); });
      break;
  }
  return length;
}

}  // namespace rnncore::RNNCORE_ISA::optim

// The column, compiled once per instruction set: CMakeLists.txt gives RNNCORE_ISA and the compiler's flags.
#include "optim.hpp"
#include "sampling.hpp"
#include "stack.hpp"

namespace rnncore::RNNCORE_ISA {
namespace {

template <class Real>
bool softmax_rows(Index rows, Index V, const Real* y, Real* p, const Machine& machine) {
  const size_t bytes = static_cast<size_t>(whole_vectors(V)) * sizeof(Real);
  Real* const row = static_cast<Real*>(machine.reserve(machine.given, bytes).at);
  if (!row) return false;
  for (Index r = 0; r < rows; ++r) {
    copy(y + r * V, V, row);
    softmax::softmax(row, V);
    copy(row, V, p + r * V);
  }
  return true;
}

// out = f(x), element by element.
template <class Real, class F>
void map(F f, const Real* x, Real* out, Index n) {
  const Index whole = n / lanes<Real> * lanes<Real>;
  for (Index i = 0; i < whole; i += lanes<Real>) store(out + i, f(load<Vector<Real>>(x + i)));
  Real rest[lanes<Real>] = {};
  copy(x + whole, n - whole, rest);
  store(rest, f(load<Vector<Real>>(rest)));
  copy(rest, n - whole, out + whole);
}

template <class Real>
constexpr Kernels<Real> kernels() {
  using V = Vector<Real>;
  return {
      stack::forward<Real>,
      stack::backward<Real>,
      stack::bptt<Real>,
      stack::outputs<Real>,
      stack::loss<Real>,
      softmax_rows<Real>,
      sampling::sample<Real>,
      {stepping::size<Real>, stepping::hold<Real>, stepping::load<Real>, stepping::put_state<Real>,
       stepping::take_state<Real>, stepping::step<Real>},
      optim::norm<Real>,
      optim::clip<Real>,
      optim::add_shortened<Real>,
      optim::step<Real>,
      [](const Real* x, Real* out, Index n) { map([](V v) { return elementary::exp(v); }, x, out, n); },
      [](const Real* x, Real* out, Index n) { map([](V v) { return elementary::tanh(v); }, x, out, n); },
      [](const Real* x, Real* out, Index n) { map([](V v) { return elementary::sigmoid(v); }, x, out, n); },
      [](const Real* x, Real* out, Index n) { map([](V v) { return elementary::log(v); }, x, out, n); },
      [](const Real* x, Real* out, Index n) { map([](V v) { return elementary::log1p(v); }, x, out, n); },
  };
}

}  // namespace

extern const Column column;
const Column column{cells::shapes, sizeof(cells::shapes) / sizeof(CellShape), kernels<float>(), kernels<double>()};

}  // namespace rnncore::RNNCORE_ISA

// Prints each loss and number of outputs for which rows of moderate numbers have subnormal results. There must be none
// in the padding either: some processors take a hundred times as long for one.
#include <cfenv>
#include <cstdio>
#include <vector>

#include "binary_cross_entropy.hpp"
#include "loops.cpp"
#include "squared_error.hpp"

namespace rnncore::RNNCORE_ISA {

constexpr Index rows = 19, most = 40;

// Rows of V numbers between -2 and 2, with padding.
template <class Real>
struct Batch {
  Index V, ld;
  std::vector<Real> y, e, labels, losses;
  std::vector<int64_t> classes;

  explicit Batch(Index V)
      : V(V), ld(padded<Real>(V)), y(rows * ld), e(ld), labels(rows * V), losses(rows), classes(rows) {
    for (Index r = 0; r < rows; ++r) {
      for (Index v = 0; v < V; ++v) y[r * ld + v] = Real((r * 7 + v * 5) % 17) / 4 - 2, labels[r * V + v] = 1 / Real(V);
      classes[r] = r % V;
    }
  }

  template <class Loss>
  void look(const char* loss, Loss apply) {
    Batch own = *this;
    std::feclearexcept(FE_ALL_EXCEPT);
    apply(own);
    if (std::fetestexcept(FE_UNDERFLOW)) std::printf("%s of float%zu, V = %td\n", loss, 8 * sizeof(Real), V);
  }

  void look() {
    const auto number = [](Index i) { return i; };
    look("cross-entropy of classes", [&](Batch& own) {
      const Labels<Real> given{Loss::cross_entropy, own.classes.data(), nullptr, nullptr};
      cross_entropy::loss<Real>({own.y.data(), ld}, rows, V, given, number, own.e.data(), own.losses.data());
    });
    look("cross-entropy of distributions", [&](Batch& own) {
      const Labels<Real> given{Loss::cross_entropy, nullptr, own.labels.data(), nullptr};
      cross_entropy::loss<Real>({own.y.data(), ld}, rows, V, given, number, own.e.data(), own.losses.data());
    });
    look("binary cross-entropy", [&](Batch& own) {
      for (Index r = 0; r < rows; ++r) binary_cross_entropy::loss(own.y.data() + r * ld, V, own.labels.data() + r * V);
    });
    look("squared error", [&](Batch& own) {
      for (Index r = 0; r < rows; ++r) squared_error::loss(own.y.data() + r * ld, V, own.labels.data() + r * V);
    });
    look("softmax", [&](Batch& own) { softmax::softmax(own.y.data(), V); });
  }
};

}  // namespace rnncore::RNNCORE_ISA

int main() {
  using namespace rnncore::RNNCORE_ISA;
  for (Index V = 1; V <= most; ++V) Batch<float>(V).look(), Batch<double>(V).look();
}

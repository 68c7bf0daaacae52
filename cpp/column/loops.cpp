// The loops that -O3 makes faster. It makes the rest of the column only larger, which is compiled with less:
// CMakeLists.txt.
#include "cells.hpp"
#include "cross_entropy.hpp"

namespace rnncore::RNNCORE_ISA {

namespace linear {

template void row_sum(Rows<const float>, Index, Blocks, float*);
template void row_sum(Rows<const double>, Index, Blocks, double*);

}  // namespace linear

namespace cells {

template <class C, class Real>
constexpr Cell<Real> cell() {
  static_assert(C::shape.gates <= most_gates && C::shape.states <= most_states && C::shape.saved <= most_saved);
  if constexpr (C::shape.gates_after_reset > 0)
    return {
        C::shape, C::splits, C::passes, forward<C, Real>, backward<C, Real>, reset<C, Real>, reset_backward<C, Real>};
  else
    return {C::shape, C::splits, C::passes, forward<C, Real>, backward<C, Real>, nullptr, nullptr};
}

#define RNNCORE_CELL(C) cell<C, Real>()
template <class Real>
const Cell<Real> Cells<Real>::table[sizeof(shapes) / sizeof(CellShape)] = {RNNCORE_CELLS(RNNCORE_CELL)};

template struct Cells<float>;
template struct Cells<double>;

}  // namespace cells

namespace cross_entropy {

template Vector<float> across_rows(Rows<float>, Index, Index, const int64_t*);
template Vector<double> across_rows(Rows<double>, Index, Index, const int64_t*);
template Vector<float> along_rows(Rows<float>, Index, Index, const int64_t*);
template Vector<double> along_rows(Rows<double>, Index, Index, const int64_t*);

}  // namespace cross_entropy

}  // namespace rnncore::RNNCORE_ISA

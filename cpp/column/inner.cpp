// The inner loops, in which a call spends its time: they are compiled for speed, and what surrounds them for size.
#include "cells.hpp"
#include "cross_entropy.hpp"

namespace rnncore::RNNCORE_ISA {

namespace linear {

// The tiles by size: of all M up to tile_side that leave N vectors within the registers. kind##_or_none gives one.
#define RNNCORE_TILES_OF(kind, M)                                                              \
  {kind##_or_none<Real, M, 1>(),  kind##_or_none<Real, M, 2>(),  kind##_or_none<Real, M, 3>(), \
   kind##_or_none<Real, M, 4>(),  kind##_or_none<Real, M, 5>(),  kind##_or_none<Real, M, 6>(), \
   kind##_or_none<Real, M, 7>(),  kind##_or_none<Real, M, 8>(),  kind##_or_none<Real, M, 9>(), \
   kind##_or_none<Real, M, 10>(), kind##_or_none<Real, M, 11>(), kind##_or_none<Real, M, 12>()}
#define RNNCORE_TILES(kind)                                                                                      \
  {RNNCORE_TILES_OF(kind, 1), RNNCORE_TILES_OF(kind, 2),  RNNCORE_TILES_OF(kind, 3),  RNNCORE_TILES_OF(kind, 4), \
   RNNCORE_TILES_OF(kind, 5), RNNCORE_TILES_OF(kind, 6),  RNNCORE_TILES_OF(kind, 7),  RNNCORE_TILES_OF(kind, 8), \
   RNNCORE_TILES_OF(kind, 9), RNNCORE_TILES_OF(kind, 10), RNNCORE_TILES_OF(kind, 11), RNNCORE_TILES_OF(kind, 12)}

template <class Real, int M, int N>
constexpr ProductTile<Real> product_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return product_tile<Real, M, N>;
  else
    return nullptr;
}
template <class Real, int M, int N>
constexpr OuterTile<Real> outer_tile_or_none() {
  if constexpr (M * N <= tile_registers)
    return outer_tile<Real, M, N>;
  else
    return nullptr;
}

template <class Real>
const ProductTile<Real> ProductLoops<Real>::tiles[tile_side][tile_side] = RNNCORE_TILES(product_tile);
template <class Real>
const PanelOfFewRows<Real> ProductLoops<Real>::by_output[tuning::rows_in_place] = {
    product_by_output<Real, 1>, product_by_output<Real, 2>, product_by_output<Real, 3>, product_by_output<Real, 4>};
template <class Real>
const OuterTile<Real> OuterLoops<Real>::tiles[tile_side][tile_side] = RNNCORE_TILES(outer_tile);

template struct ProductLoops<float>;
template struct ProductLoops<double>;
template struct OuterLoops<float>;
template struct OuterLoops<double>;
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

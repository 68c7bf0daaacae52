// How work is cut into tiles, and tables of the tiles of all sizes.
#pragma once

#include "panels.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using tuning::tile_registers;
using tuning::tile_side;

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

// What lies in the rows of a tile is added to it: all of it is read before anything is written, since rows of a large
// layer may be so far apart that the processor takes one for another.
template <int M, int N, class Real>
RNNCORE_INLINE void add_rows(Real* const (&from)[M], Vector<Real> (&tile)[M][N]) {
  RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) tile[m][n] = load<Vector<Real>>(from[m] + n * lanes<Real>) + tile[m][n];
  }
}
template <int M, int N, class Real>
RNNCORE_INLINE void store_rows(const Vector<Real> (&tile)[M][N], Real* const (&to)[M]) {
  RNNCORE_UNROLL for (int m = 0; m < M; ++m) {
    RNNCORE_UNROLL for (int n = 0; n < N; ++n) store(to[m] + n * lanes<Real>, tile[m][n]);
  }
}

// So many things in tiles of at most so many, N vectors wide: `large` tiles of M, then `small` ones of M - 1.
struct Tiling {
  Index large, small, M;
  Tiling(Index things, Index N) : large(1), small(0), M(things) {
    const Index fit = tile_registers / static_cast<int>(N), most = fit < tile_side ? fit : tile_side;
    if (things <= most) return;
    const Index tiles = divide_up(things, most);
    M = divide_up(things, tiles);
    small = tiles * M - things, large = tiles - small;
  }
};

}  // namespace rnncore::RNNCORE_ISA::linear

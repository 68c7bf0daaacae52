// How work is cut into tiles, and tables of the tiles of all sizes.
#pragma once

#include "panels.hpp"

namespace rnncore::RNNCORE_ISA::linear {

using tuning::tile_registers;
using tuning::tile_side;

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

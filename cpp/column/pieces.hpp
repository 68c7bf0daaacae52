// How threads share the sequences of a batch.
#pragma once

#include "span.hpp"

namespace rnncore::RNNCORE_ISA::stack {

// Which sequences go together, if threads take shares of them: pieces of as many steps, as nearly as whole sequences
// allow. More pieces than threads, and who is free takes the next: a thread that has to wait then holds up one piece.
struct Pieces {
  Index count, widest;
  Index* begins;  // (count + 1), by positions; null: the full grid, cut evenly
  Index B;

  Pieces(Arena& arena, const Steps& steps, Index count) : count(count), widest(0), B(steps.B) {
    begins = steps.full() ? nullptr : arena.take<Index>(count + 1);
    if (steps.full()) {
      widest = linear::divide_up(B, count);
      return;
    }
    Index begin = 0, p = 0, before = 0;  // `before`: steps of the sequences before p
    for (Index k = 0; k <= count; ++k, begin = p) {
      const Index wanted = steps.count * k / count;
      for (; p < B && (k == count || before + length(steps, p) / 2 < wanted); ++p) before += length(steps, p);
      widest = max_of(widest, p - begin);
      if (begins) begins[k] = p;
    }
  }
  Index begin(Index piece) const { return begins ? begins[piece] : B * piece / count; }

  // How many pieces of something that is cut into no smaller ones.
  static Index pieces_of(Index things, Index at_least, int threads) {
    const Index wanted = min_of(things / at_least, tuning::pieces_a_thread * threads);
    return max_of(wanted, threads);
  }

 private:
  static Index length(const Steps& steps, Index p) { return steps.lengths[steps.order[p]]; }
};

}  // namespace rnncore::RNNCORE_ISA::stack

// How the steps of a ragged batch are packed: src/rnncore/steps.py does the same for the other columns.
#pragma once

#include <vector>

#include "problem.hpp"

namespace rnncore {

class PackedSteps {
 public:
  // lengths (B) in the user's order, each at most T, B > 0; packed: whether the arrays of the call have no holes.
  PackedSteps(const int64_t* lengths, ptrdiff_t T, ptrdiff_t B, bool packed);
  PackedSteps(PackedSteps&&) = default;  // what it points at stays where it is

  const Steps& steps() const { return steps_; }

 private:
  void sort_by_length();
  void number_rows();

  std::vector<int64_t> lengths_, order_, start_, address_, by_place_;
  Steps steps_;
};

}  // namespace rnncore

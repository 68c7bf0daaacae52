// The steps of a batch whose sequences differ in length, which are packed, or are reset: src/rnncore/steps.py does the
// same for the other columns.
#pragma once

#include <memory>
#include <vector>

#include "problem.hpp"

namespace rnncore {

class PackedSteps {
 public:
  // lengths (B) in the user's order, each at most T, B > 0; packed: whether the arrays of the call have no holes; one:
  // whether they have no axis for sequences; resets: at the addresses, NumPy's booleans, whose bytes are 0 or
  // anything else, or null; order: of arrays that are packed by rows, the sequence at each position, or null.
  PackedSteps(const int64_t* lengths, ptrdiff_t T, ptrdiff_t B, bool packed, bool one, const uint8_t* resets,
              const int64_t* order);
  PackedSteps(PackedSteps&&) = default;  // what it points at stays where it is

  const Steps& steps() const { return steps_; }
  bool is_one() const { return one_; }

 private:
  void pack(ptrdiff_t T, bool packed);
  void sort_by_length();
  void number_rows();
  void take_resets(const uint8_t* resets);

  std::vector<int64_t> lengths_, order_, start_, address_, by_place_, rank_;
  std::unique_ptr<bool[]> resets_;
  bool one_;
  Steps steps_;
};

}  // namespace rnncore

// The instruction sets that were compiled in, worst first, and which of them this machine runs.
#pragma once

#include "problem.hpp"

namespace rnncore {

struct InstructionSet {
  const char* name;
  bool runs_here;
  const Column* column;
};

constexpr int instruction_set_count = RNNCORE_ISA_COUNT;

const InstructionSet* instruction_sets();

}  // namespace rnncore

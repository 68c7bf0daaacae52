#include "dispatch.hpp"

namespace rnncore {

namespace baseline {
extern const Columns columns;
}
#ifdef RNNCORE_X86
namespace avx2 {
extern const Columns columns;
}
namespace avx512 {
extern const Columns columns;
}
#endif

const InstructionSet* instruction_sets() {
  static const InstructionSet sets[instruction_set_count] = {
      {"baseline", true, &baseline::columns},
#ifdef RNNCORE_X86
      {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), &avx2::columns},
      {"avx512",
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"),
       &avx512::columns},
#endif
  };
  return sets;
}

}  // namespace rnncore

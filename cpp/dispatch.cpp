#include "dispatch.hpp"

namespace rnncore {

namespace baseline {
extern const Column column;
}
#ifdef RNNCORE_X86
namespace avx2 {
extern const Column column;
}
namespace avx512 {
extern const Column column;
}
#endif

const InstructionSet* instruction_sets() {
  static const InstructionSet sets[instruction_set_count] = {
      {"baseline", true, &baseline::column},
#ifdef RNNCORE_X86
      {"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), &avx2::column},
      {"avx512",
       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma"),
       &avx512::column},
#endif
  };
  return sets;
}

}  // namespace rnncore

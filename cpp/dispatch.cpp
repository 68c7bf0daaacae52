#include "dispatch.hpp"

#include "system/system.hpp"

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
      {"avx2", system::has_avx2(), &avx2::column},
      {"avx512", system::has_avx512(), &avx512::column},
#endif
  };
  return sets;
}

}  // namespace rnncore

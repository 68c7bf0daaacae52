// The rounding mode of the processor.
#pragma once

#include <cstdint>

namespace rnncore {

// The mode that every result assumes: round to nearest even, subnormals kept, no traps.
extern const uint64_t standard_rounding_mode;

// Sets this thread's mode and returns what it was.
uint64_t set_rounding_mode(uint64_t mode);

// The standard mode; what was set before comes back at the end of the scope.
class StandardRounding {
 public:
  StandardRounding() : before_(set_rounding_mode(standard_rounding_mode)) {}
  ~StandardRounding() { set_rounding_mode(before_); }
  StandardRounding(const StandardRounding&) = delete;
  StandardRounding& operator=(const StandardRounding&) = delete;

 private:
  uint64_t before_;
};

}  // namespace rnncore

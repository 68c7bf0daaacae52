// What speed depends on that processors do not have in common.
#pragma once

namespace rnncore {

// Fills tuning::chosen, once, before any kernel runs: by what is found here, or as `said`: names and numbers of bytes,
// like "far_row_bytes=2560 far_weights_bytes=1048576", null for nothing. Throws std::invalid_argument if that says
// something else.
void choose_numbers(const char* said);

}  // namespace rnncore

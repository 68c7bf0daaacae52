#include "processor.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

#include "../tuning.hpp"
#include "memory.hpp"
#include "system.hpp"

namespace rnncore {

tuning::Chosen tuning::chosen{};

namespace {

// The usual page. On larger ones rows as far apart share a page, and a load finds that it takes fewer translations.
constexpr ptrdiff_t page = 4096, none = std::numeric_limits<ptrdiff_t>::max();

// How long a load takes that waits for the one before, over a line of each of so many pages: in no order that a
// processor foresees, and in all sets of the L1 cache.
double seconds_of_a_load(char* memory, ptrdiff_t pages) {
  constexpr ptrdiff_t step = 37, loads = 1024;  // odd, and the numbers of pages are powers of two: it comes to all
  const auto line = [&](ptrdiff_t i) {
    return memory + i * page + i % (page / tuning::cache_line) * tuning::cache_line;
  };
  for (ptrdiff_t i = 0; i < pages; ++i) *reinterpret_cast<char**>(line(i)) = line((i + step) % pages);
  using Clock = std::chrono::steady_clock;
  double least = 1;
  for (int turn = 0; turn < 9; ++turn) {
    const Clock::time_point start = Clock::now();
    char* at = memory;
    for (ptrdiff_t i = 0; i < loads; ++i) at = *reinterpret_cast<char* volatile*>(at);
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count() / loads);
  }
  return least;
}

// Whether the processor has the translations of as many pages at hand as two blocks of rows have.
bool has_pages_at_hand() try {
  const Pages memory(tuning::huge_page + 1);
  auto* const at = static_cast<char*>(memory.at());
  const double few = seconds_of_a_load(at, 16);
  return seconds_of_a_load(at, 256) < tuning::near_load * few;
} catch (const std::bad_alloc&) {
  return false;
}

ptrdiff_t far_weights_bytes() {
  const ptrdiff_t l2 = system::l2_bytes();
  return (l2 > 0 ? l2 : tuning::usual_l2_bytes) / 2;
}

// The number of "name=number".
ptrdiff_t number_of(const std::string& word) {
  const std::string digits = word.substr(std::min(word.find('='), word.size() - 1) + 1);
  std::istringstream stream(digits);
  ptrdiff_t number = -1;
  if (digits.find_first_not_of("0123456789") != std::string::npos || !(stream >> number))
    throw std::invalid_argument("RNNCORE_TUNING must have numbers of bytes, got " + word);
  return number;
}

}  // namespace

void choose_numbers(const char* said) {
  tuning::Chosen& chosen = tuning::chosen;
  chosen = {has_pages_at_hand() ? none : tuning::far_row_bytes, far_weights_bytes()};
  std::istringstream words(said ? said : "");
  for (std::string word; words >> word;) {
    const std::string name = word.substr(0, word.find('='));
    if (name == "far_row_bytes")
      chosen.far_row_bytes = number_of(word);
    else if (name == "far_weights_bytes")
      chosen.far_weights_bytes = number_of(word);
    else
      throw std::invalid_argument("RNNCORE_TUNING may name far_row_bytes and far_weights_bytes, got " + word);
  }
}

}  // namespace rnncore

#include "steps.hpp"

#include <algorithm>
#include <numeric>

namespace rnncore {

PackedSteps::PackedSteps(const int64_t* lengths, ptrdiff_t T, ptrdiff_t B, bool packed, bool one, const uint8_t* resets,
                         const int64_t* order)
    : lengths_(lengths, lengths + B), one_(one) {
  const bool full = std::all_of(lengths, lengths + B, [T](int64_t length) { return length == T; });
  if (order) order_.assign(order, order + B);
  if (full && !packed)
    steps_ = Steps::grid(T, B);
  else
    pack(T, packed);
  if (order) steps_.address = steps_.read = nullptr;
  if (resets) take_resets(resets);
}

void PackedSteps::pack(ptrdiff_t T, bool packed) {
  if (order_.empty()) sort_by_length();
  const ptrdiff_t longest = lengths_[static_cast<size_t>(order_[0])];
  const ptrdiff_t count = std::accumulate(lengths_.begin(), lengths_.end(), ptrdiff_t{0});
  start_.resize(static_cast<size_t>(longest) + 1);
  address_.resize(static_cast<size_t>(count));
  by_place_.resize(static_cast<size_t>(count));
  rank_.resize(static_cast<size_t>(count));
  steps_ = {T,
            static_cast<ptrdiff_t>(lengths_.size()),
            count,
            longest,
            packed,
            lengths_.data(),
            order_.data(),
            start_.data(),
            by_place_.data(),
            rank_.data(),
            address_.data(),
            address_.data(),
            nullptr};
  number_rows();
  if (std::is_sorted(rank_.begin(), rank_.end())) steps_.rank = nullptr;
}

void PackedSteps::take_resets(const uint8_t* resets) {
  resets_ = std::make_unique<bool[]>(static_cast<size_t>(steps_.count));
  for (ptrdiff_t row = 0; row < steps_.count; ++row)
    resets_[static_cast<size_t>(row)] = resets[steps_.address_of(row)] != 0;
  steps_.resets = resets_.get();
}

// Longest first, equals in the order of the batch.
void PackedSteps::sort_by_length() {
  order_.resize(lengths_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto longer = [&](int64_t a, int64_t b) {
    return lengths_[static_cast<size_t>(a)] > lengths_[static_cast<size_t>(b)];
  };
  std::stable_sort(order_.begin(), order_.end(), longer);
}

// Step by step: the sequences that have it, in the order of the batch, and the position of each.
void PackedSteps::number_rows() {
  struct Sequence {
    int64_t b, length, position, begin;  // begin: where it begins in packed arrays
  };
  std::vector<Sequence> there(lengths_.size());
  int64_t begin = 0;
  for (size_t b = 0; b < there.size(); begin += lengths_[b++])
    there[b] = {static_cast<int64_t>(b), lengths_[b], 0, begin};
  for (size_t p = 0; p < order_.size(); ++p) there[static_cast<size_t>(order_[p])].position = static_cast<int64_t>(p);
  int64_t row = 0, rank = 0;
  for (int64_t t = 0; t < steps_.longest; ++t) {
    start_[static_cast<size_t>(t)] = row;
    const auto ended = [t](const Sequence& sequence) { return sequence.length <= t; };
    there.erase(std::remove_if(there.begin(), there.end(), ended), there.end());
    for (const Sequence& sequence : there) {
      const int64_t own = row + sequence.position;
      by_place_[static_cast<size_t>(rank)] = own, rank_[static_cast<size_t>(own)] = rank++;
      address_[static_cast<size_t>(own)] = steps_.packed ? sequence.begin + t : t * steps_.B + sequence.b;
    }
    row += static_cast<int64_t>(there.size());
  }
  start_.back() = row;
}

}  // namespace rnncore

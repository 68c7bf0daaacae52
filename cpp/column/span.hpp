// Which rows of a batch a thread works on, and in which order.
//
// rnncore/steps.py tells rows, places and addresses apart. A row is where a step lies in the memory of a call, a
// position is that of its sequence, longest first: row(t) + p is step t of the sequence at position p. A rank is where
// a row is in the order of places, in which the gradients' sums run.
#pragma once

#include "arena.hpp"
#include "linear.hpp"

namespace rnncore::RNNCORE_ISA {

using linear::Blocks;
using linear::Rows;

// Which ways a call goes, what it needs on the way back, and whether it sums the weights' gradients.
struct Ways {
  bool forward, back, dy, dinputs, sums;
};

// The most that there can be: rows of a span, and threads; and how many shares, and spans of these, there are.
struct Limits {
  Index rows;
  int threads;
  Index shares, spans;
  Index shared_rows;  // of a chunk whose sums all threads take before they go on; 0: they do not
};

// Time in chunks. A chunk has as many steps as a block of the gradients' sums; where few sequences of a ragged batch
// are left, it has several blocks. What lives for a chunk stays in the cache.
struct Chunks {
  const Steps& steps;
  Index block_steps, count;
  Index* begins;  // (count + 1); null: the full grid

  Chunks(Arena& arena, const Steps& steps)
      : steps(steps), block_steps(max_of(1, min_of(linear::RowBlocks{steps.B}.steps(), steps.longest))) {
    const Index blocks = linear::divide_up(steps.longest, block_steps);
    count = blocks;
    begins = steps.full() ? nullptr : arena.take<Index>(blocks + 1);
    if (!begins) return;
    count = begins[0] = 0;
    for (Index t = 0; t < steps.longest; begins[++count] = t) t = end_of_chunk(t);
  }

  Index begin(Index chunk) const { return begins ? begins[chunk] : min_of(chunk * block_steps, steps.longest); }
  // The most rows that so many sequences have in a chunk.
  Index most_rows(Index sequences) const {
    const Index rows = block_steps * sequences;
    return steps.even() ? rows : min_of(steps.count, max_of(rows, tuning::chunk_rows));
  }
  Index most_steps() const { return steps.full() ? block_steps : max_of(block_steps, tuning::chunk_rows); }

 private:
  Index end_of_chunk(Index t0) const {
    Index t = min_of(t0 + block_steps, steps.longest);
    while (t < steps.longest) {
      const Index next = min_of(t + block_steps, steps.longest);
      if (steps.row(next) - steps.row(t0) > tuning::chunk_rows) break;
      t = next;
    }
    return t;
  }
};

// Whether any of the flags is set. It is inlined because a step has few.
RNNCORE_INLINE bool any_of(const bool* flags, Index count) {
  Index i = 0;
  for (uint64_t word; i + Index{sizeof(word)} <= count; i += Index{sizeof(word)}) {
    memcpy(&word, flags + i, sizeof(word));
    if (word) return true;
  }
  while (i < count && !flags[i]) ++i;
  return i < count;
}

// What one thread takes of a pass forward and back: the sequences at the positions [p0, p1), or, where there are
// too few for all threads, one of `parts` of the work on all of them, meeting the others at every step.
struct Share {
  int thread;
  Index p0, p1;
  int part, parts;

  Index from(Index count) const { return count * part / parts; }
  Index to(Index count) const { return count * (part + 1) / parts; }
  int area() const { return parts > 1 ? 0 : thread; }  // whose scratch buffers hold the rows of a span
};

// What one thread takes of the weights' gradients: all that belongs to the gates [g0, g1), that is rows of dW_hh,
// columns of dW_xh, which lies with the input first, and numbers of the biases; and the columns [j0, j1) of dW_hy.
struct Shard {
  int thread;
  Index j0, j1, g0, g1;
};

// The steps [t0, t1) of a share: its rows, numbered step by step.
struct Span {
  const Steps& steps;
  Index t0, t1, p0, p1, count;
  const int64_t* rows;                       // null: they lie one after the other
  const int64_t *addresses, *reads, *ranks;  // as steps.address, read and rank; null: they are the rows
  const Index* firsts;                       // the number at which each step begins, where rows are listed

  // scratch: scratch_size numbers
  Span(const Steps& steps, Index t0, Index t1, const Share& share, int64_t* scratch, Index most_rows)
      : steps(steps),
        t0(t0),
        t1(t1),
        p0(share.p0),
        p1(share.p1),
        rows(nullptr),
        addresses(nullptr),
        reads(nullptr),
        ranks(nullptr),
        firsts(nullptr) {
    const bool whole = p0 == 0 && p1 >= steps.there(t0);
    if (whole || t1 - t0 == 1) {
      const Index first = steps.row(t0) + p0;
      count = whole ? steps.row(t1) - steps.row(t0) : there(t0);
      if (steps.address) addresses = steps.address + first;
      if (steps.read) reads = steps.read + first;
      if (steps.rank) ranks = steps.rank + first;
    } else {
      list_rows(scratch, most_rows);
    }
  }
  static Index scratch_size(const Chunks& chunks, Index most_rows) { return 4 * most_rows + chunks.most_steps() + 1; }

  // Whether the rows of all steps lie at the same distance from their numbers, and so do those of the steps before.
  bool is_grid() const { return steps.full() && !rows && p0 == 0; }

  Index first(Index t) const { return firsts ? firsts[t - t0] : t == t1 ? count : steps.row(t) - steps.row(t0); }
  Index row(Index t) const { return steps.row(t) + p0; }  // of the first number of step t
  Index address(Index i) const { return number(addresses, i); }
  Index read(Index i) const { return number(reads, i); }

  // Which row of Trace::h is the state before the i-th row of step t. The initial states come first, by positions.
  Index number_before(Index t, Index i) const { return t > 0 ? steps.B + steps.rank_of(row(t - 1) + i) : p0 + i; }

  // These rows of an array by rows, of one in the order of places, of an array of the call, and of what is read.
  template <class Real>
  Rows<Real> by_row(Real* at, Index stride) const {
    return rows ? Rows<Real>{at, stride, rows} : Rows<Real>{at + row(t0) * stride, stride};
  }
  template <class Real>
  Rows<Real> by_rank(Real* at, Index stride) const {
    return ranks ? Rows<Real>{at, stride, ranks} : by_row(at, stride);
  }
  // The rows of step t alone in an array in the order of places; `first` is the number of the first.
  template <class Real>
  Rows<Real> step_by_rank(Real* at, Index stride, Index t, Index first) const {
    return steps.rank ? Rows<Real>{at, stride, steps.rank + row(t) - first}
                      : Rows<Real>{at + (row(t) - first) * stride, stride};
  }
  template <class Real>
  Rows<Real> by_address(Real* at, Index stride) const {
    return addresses ? Rows<Real>{at, stride, addresses} : by_row(at, stride);
  }
  template <class Real>
  Rows<Real> by_read(Real* at, Index stride) const {
    return reads ? Rows<Real>{at, stride, reads} : by_row(at, stride);
  }

 private:
  Index number(const int64_t* listed, Index i) const { return listed ? listed[i] : rows ? rows[i] : row(t0) + i; }
  Index there(Index t) const { return max_of(0, min_of(p1, steps.there(t)) - p0); }
  void list_rows(int64_t* scratch, Index most_rows) {
    int64_t* const listed = scratch;
    Index* const starts = reinterpret_cast<Index*>(scratch + 4 * most_rows);
    count = 0;
    for (Index t = t0; t < t1; ++t) {
      starts[t - t0] = count;
      for (Index p = p0, end = p0 + there(t); p < end; ++p) listed[count++] = steps.row(t) + p;
    }
    starts[t1 - t0] = count;
    rows = listed, firsts = starts;
    addresses = pick(steps.address, scratch + most_rows);
    reads = steps.read == steps.address ? addresses : pick(steps.read, scratch + 2 * most_rows);
    ranks = pick(steps.rank, scratch + 3 * most_rows);
  }
  const int64_t* pick(const int64_t* numbers, int64_t* found) const {
    for (Index i = 0; numbers && i < count; ++i) found[i] = numbers[rows[i]];
    return numbers ? found : nullptr;
  }
};

// The rows of a chunk in the order of places, and the blocks of the gradients' sums that they make.
struct SumRows {
  Index row0, count;
  const int64_t* rows;               // null: the full grid, where they lie one after the other
  int64_t* before;                   // of h of the step before; null: likewise
  const int64_t *addresses, *reads;  // as steps.address and steps.read; null: they are the rows
  const int64_t* ranks = nullptr;    // as steps.rank; null: they lie one after the other
  const bool* resets = nullptr;      // of these rows, on the full grid, if there are any: before is not listed yet
  Index zeros;                       // a row of zeros in h
  bool has_block_before;             // whether arrays by rows hold the rows of the block before in front
  Blocks blocks;

  // scratch: scratch_size numbers
  SumRows(const Steps& steps, Index t0, Index t1, int64_t* scratch)
      : row0(steps.row(t0)),
        count(steps.row(t1) - row0),
        rows(nullptr),
        before(nullptr),
        addresses(nullptr),
        reads(nullptr),
        zeros(zeros_of(steps)),
        has_block_before(t0 > 0) {
    Index* const ends = reinterpret_cast<Index*>(scratch);
    if (steps.full()) {
      cut_grid(steps.B, ends);
      if (steps.resets && any_of(steps.resets + row0, count))
        resets = steps.resets + row0, before = scratch + linear::RowBlocks{steps.B}.per_step() + 1;
      if (steps.address) addresses = steps.address + row0;
      if (steps.read) reads = steps.read + row0;
    } else {
      list_places(steps, t0, t1, scratch, ends + 3 * count);
    }
  }
  static Index scratch_size(const Steps& steps, Index most_rows) {
    if (!steps.full()) return 4 * most_rows + 1;
    return linear::RowBlocks{steps.B}.per_step() + 1 + (steps.resets ? most_rows : 0);
  }

  // Those of the sequence at a position alone, of the steps [t0, t1), one block of the sums as if it were the only one.
  SumRows(const Steps& steps, Index p, Index t0, Index t1, int64_t* scratch)
      : row0(0), count(t1 - t0), addresses(nullptr), reads(nullptr), zeros(zeros_of(steps)), has_block_before(false) {
    Index* const ends = reinterpret_cast<Index*>(scratch + 5 * count);
    int64_t *const own = scratch, *const earlier = scratch + count, *const listed = scratch + 4 * count;
    for (Index i = 0; i < count; ++i) {
      const Index t = t0 + i;
      own[i] = steps.row(t) + p;
      const bool is_reset = steps.resets && steps.resets[own[i]];
      earlier[i] = is_reset ? zeros : t > 0 ? steps.B + steps.rank_of(steps.row(t - 1) + p) : p;
    }
    rows = own, before = earlier, ends[0] = 0, ends[1] = count;
    ranks = steps.rank ? pick(steps.rank, listed) : rows;
    blocks = {ends, 1};
    addresses = pick(steps.address, scratch + 2 * count);
    reads = steps.read == steps.address ? addresses : pick(steps.read, scratch + 3 * count);
  }
  static constexpr Index scratch_size_of_one = 5 * linear::block + 2;

  // Calls f with as many blocks at a time as are no larger together than one can be, from the last on.
  template <class Function>
  void each_group(Function f) const {
    for (Index end = blocks.count, k; end > 0; end = k) {
      for (k = end - 1; k > 0 && blocks.ends[end] - blocks.ends[k - 1] <= linear::block;) --k;
      f(Blocks{blocks.ends + k, end - k});
    }
  }

  // These rows of an array by rows, of one in the order of places, of the h before, which begins with the initial
  // states, of an array of the call, and of what is read. Where steps are reset only the blocks' rows of the h before
  // are listed.
  template <class Real>
  Rows<const Real> by_row(const Real* at, Index stride) const {
    return rows ? Rows<const Real>{at, stride, rows} : Rows<const Real>{at + row0 * stride, stride};
  }
  template <class Real>
  Rows<const Real> by_rank(const Real* at, Index stride) const {
    return ranks ? Rows<const Real>{at, stride, ranks} : Rows<const Real>{at + row0 * stride, stride};
  }
  template <class Real>
  Rows<const Real> by_row_before(const Real* h, Index stride, Blocks blocks) const {
    for (Index i = blocks.ends[0]; resets && i < blocks.ends[blocks.count]; ++i)
      before[i] = resets[i] ? zeros : row0 + i;
    return before ? Rows<const Real>{h, stride, before} : Rows<const Real>{h + row0 * stride, stride};
  }
  template <class Real>
  Rows<const Real> by_address(const Real* at, Index stride) const {
    return addresses ? Rows<const Real>{at, stride, addresses} : by_row(at, stride);
  }
  template <class Real>
  Rows<const Real> by_read(const Real* at, Index stride) const {
    return reads ? Rows<const Real>{at, stride, reads} : by_row(at, stride);
  }

 private:
  void cut_grid(Index B, Index* ends) {
    const Index size = B <= linear::block ? count : linear::block;
    Index k = 0;
    for (ends[0] = 0; ends[k] < count; ++k) ends[k + 1] = min_of(ends[k] + size, count);
    blocks = {ends, k};
  }

  // The row of zeros stands behind the others in h.
  static Index zeros_of(const Steps& steps) { return steps.B + steps.count; }

  void list_places(const Steps& steps, Index t0, Index t1, int64_t* scratch, Index* ends) {
    int64_t* const earlier = scratch;
    rows = steps.by_place + row0, before = earlier;
    const Index block_steps = linear::RowBlocks{steps.B}.steps();
    Index k = 0, i = 0;
    for (Index t = t0; t < t1; ++t) {
      const Index to_before = t > 0 ? steps.row(t - 1) - steps.row(t) : 0;
      for (Index run = -1; i < steps.row(t + 1) - row0; ++i) {
        const Index now = steps.order[rows[i] - steps.row(t)] / linear::block;
        if (now != run && (steps.B > linear::block || (run < 0 && t % block_steps == 0))) ends[k++] = i;
        run = now;
        const bool is_reset = steps.resets && steps.resets[rows[i]];
        earlier[i] = is_reset ? zeros : t > 0 ? steps.B + steps.rank_of(rows[i] + to_before) : rows[i];
      }
    }
    ends[k] = count;
    blocks = {ends, k};
    addresses = pick(steps.address, scratch + count);
    reads = steps.read == steps.address ? addresses : pick(steps.read, scratch + 2 * count);
  }
  const int64_t* pick(const int64_t* numbers, int64_t* found) const {
    for (Index i = 0; numbers && i < count; ++i) found[i] = numbers[rows[i]];
    return numbers ? found : nullptr;
  }
};

}  // namespace rnncore::RNNCORE_ISA

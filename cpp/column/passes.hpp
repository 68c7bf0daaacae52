// How threads share the work of a call: sequences on the way forward and back, then the sums for the weights.
#pragma once

#include "span.hpp"

namespace rnncore::RNNCORE_ISA::stack {

// Which sequences go together, if threads take shares of them: pieces of as many steps, as nearly as whole sequences
// allow. More pieces than threads, and who is free takes the next: a thread that has to wait then holds up one piece.
struct Pieces {
  Index count, widest;
  Index* begins;  // (count + 1), by positions; null: the full grid, cut evenly
  Index B;

  Pieces(Arena& arena, const Steps& steps, Index count) : count(count), widest(0), B(steps.B) {
    begins = steps.full() ? nullptr : arena.take<Index>(count + 1);
    if (steps.full()) {
      widest = linear::divide_up(B, count);
      return;
    }
    Index begin = 0, p = 0, before = 0;  // `before`: steps of the sequences before p
    for (Index k = 0; k <= count; ++k, begin = p) {
      const Index wanted = steps.count * k / count;
      for (; p < B && (k == count || before + length(steps, p) / 2 < wanted); ++p) before += length(steps, p);
      widest = max_of(widest, p - begin);
      if (begins) begins[k] = p;
    }
  }
  // If there are fewer sequences than threads, the calling thread has one, for only it looks whether to stop.
  Index begin(Index piece) const { return begins ? begins[piece] : linear::divide_up(B * piece, count); }

  // How many pieces of something that is cut into no smaller ones: as many for each thread.
  static Index pieces_of(Index things, Index at_least, int threads) {
    const Index for_each = min_of(things / at_least / threads, tuning::pieces_a_thread);
    return max_of(for_each, 1) * threads;
  }

 private:
  static Index length(const Steps& steps, Index p) { return steps.lengths[steps.order[p]]; }
};

// What threads share: pieces of the batch, of which each takes the next on the way forward and back, and then shards of
// the sums; chunks of time, each thread forward and back with its own sequences, and then a shard of the chunk's sums;
// or the rows of each step.
enum class Sharing { pieces, chunks, rows };

// What all passes over steps share: chunks of time, threads, scratch buffers.
template <class Real>
struct Passes {
  const Machine& machine;
  const Steps& steps;
  Sharing sharing;
  Chunks chunks;
  Pieces pieces;
  Limits limits;
  Index scratch_size = 0;
  int64_t* scratch = nullptr;  // (threads, scratch_size): lists of rows
  Index strip_size = 0, panels_size = 0;
  linear::Copies<Real> copies{};  // the first thread's; the others' follow
  Index next_piece = 0, next_shard = 0;
  bool stopped = false, agreed[2] = {};

  // times: how often these steps will be taken
  Passes(Arena& arena, const Steps& steps, const Machine& machine, Sharing sharing, Index times)
      : machine(machine),
        steps(steps),
        sharing(sharing),
        chunks(arena, steps),
        pieces(arena, steps, pieces_for(sharing)),
        limits{chunks.most_rows(pieces.widest), machine.threads, times * pieces.count,
               times * pieces.count * chunks.count, sharing == Sharing::chunks ? chunks.most_rows(steps.B) : 0} {}

  // listed: the numbers that a list of rows for sums needs; widest: numbers of the longest row that they read.
  void take_scratch(Arena& arena, Ways ways, Index listed, Index widest) {
    scratch_size = max_of(Span::scratch_size(chunks, limits.rows), listed);
    if (ways.sums) scratch_size = max_of(scratch_size, SumRows::scratch_size_of_one);
    scratch = arena.take<int64_t>(machine.threads * scratch_size);
    if (!ways.sums) return;
    const Index rows = min_of(steps.count, linear::block);
    strip_size = copies.strip_size(rows, widest), panels_size = copies.panels_size(rows, widest);
    copies = {arena.take<Real>(machine.threads * strip_size), arena.take<Real>(machine.threads * panels_size)};
  }

  // Packs the weights, takes the passes forward and back, and those for the weights' gradients, if it sums them: what
  // call.pack, call.pass and call.weight_pass do. One thread does the latter within the former.
  template <class Call>
  bool run(Call& call, bool sums) {
    if (machine.threads == 1) {
      Look look(machine, 0, &stopped);
      call.pack(0, 1);
      call.pass({0, 0, steps.B, 0, 1}, look);
      return !stopped;
    }
    struct Task {
      Passes& passes;
      Call& call;
      bool sums;
    } task{*this, call, sums};
    const auto take_all = [](void* given, int thread) {
      const Task& own = *static_cast<Task*>(given);
      own.passes.take_all(own.call, own.sums, thread);
    };
    return machine.parallel(machine.given, machine.threads, take_all, &task) && !stopped;
  }

  Span span_of(Index chunk, const Share& share) const {
    return {steps, chunks.begin(chunk), chunks.begin(chunk + 1), share, scratch_of(share.thread), limits.rows};
  }
  int64_t* scratch_of(int thread) const { return scratch + thread * scratch_size; }
  linear::Copies<Real> copies_of(const Shard& shard) const {
    return {copies.strip + shard.thread * strip_size, copies.panels + shard.thread * panels_size};
  }

  // Waits for those who share the rows.
  void meet(const Share& share) const {
    if (share.parts > 1) machine.meet();
  }
  // Whether to give up. Those who share rows must agree: none works on, and finds that the user wants the call to stop,
  // before all have looked.
  bool stop(const Share& share) const {
    meet(share);
    const bool found = __atomic_load_n(&stopped, __ATOMIC_RELAXED);
    meet(share);
    return found;
  }
  // The same for all who share chunks, each time in another round than before. Only the calling thread finds that the
  // user wants to stop; what it had found when it came here is what all see, however late they look.
  bool stop_together(int thread, Index round) {
    if (thread == 0) agreed[round % 2] = __atomic_load_n(&stopped, __ATOMIC_RELAXED);
    machine.meet();
    return agreed[round % 2];
  }

  // What a thread sums of a chunk: its part, of all that there is.
  Shard shard_of(const Shard& all) const {
    if (sharing != Sharing::chunks) return all;
    return part_of(all, all.thread, machine.threads);
  }

 private:
  Index pieces_for(Sharing sharing) const {
    if (machine.threads == 1 || sharing == Sharing::rows) return 1;
    if (sharing == Sharing::chunks) return machine.threads;
    return Pieces::pieces_of(steps.B, tuning::piece_sequences, machine.threads);
  }
  template <class Call>
  void take_all(Call& call, bool sums, int thread) {
    Look look(machine, thread, &stopped);
    call.pack(thread, machine.threads);
    machine.meet();
    if (sharing == Sharing::rows)
      call.pass({thread, 0, steps.B, thread, machine.threads}, look);
    else if (sharing == Sharing::chunks)
      return call.pass({thread, pieces.begin(thread), pieces.begin(thread + 1), 0, 1}, look);
    else
      for (Index k; (k = __atomic_fetch_add(&next_piece, 1, __ATOMIC_RELAXED)) < pieces.count;)
        call.pass({thread, pieces.begin(k), pieces.begin(k + 1), 0, 1}, look);
    if (!sums) return;
    machine.meet();
    take_weight_passes(call, thread, look);
  }
  template <class Call>
  void take_weight_passes(Call& call, int thread, Look& look) {
    const Shard all = call.whole(thread);
    const Index vectors = linear::divide_up(max_of(all.g1, all.j1), lanes<Real>);
    const Index wanted = Pieces::pieces_of(vectors, tuning::piece_vectors, machine.threads);
    const Index shards = min_of(wanted, vectors);
    for (Index k; (k = __atomic_fetch_add(&next_shard, 1, __ATOMIC_RELAXED)) < shards;)
      call.weight_pass(part_of(all, k, shards), look);
  }
  static Shard part_of(const Shard& all, Index k, Index parts) {
    return {all.thread, cut(all.j1, k, parts), cut(all.j1, k + 1, parts), cut(all.g1, k, parts),
            cut(all.g1, k + 1, parts)};
  }
  // Where the k-th part of so many numbers begins, at a whole vector.
  static Index cut(Index numbers, Index k, Index parts) {
    return min_of(linear::divide_up(numbers, lanes<Real>) * k / parts * lanes<Real>, numbers);
  }
};

}  // namespace rnncore::RNNCORE_ISA::stack

// A layer in one direction, and the output layer if it reads that: who does what when.
//
// Once the weights are packed, two passes suffice for any number of threads: forward and back over shares of the
// sequences, then the gradients of the weights over shards of them. One thread takes both a chunk at a time, while the
// chunk is warm.
#pragma once

#include "head.hpp"
#include "layer.hpp"
#include "layer_sums.hpp"
#include "optim.hpp"
#include "passes.hpp"

namespace rnncore::RNNCORE_ISA::stack {

// The sums for the gradients of all weights.
template <class Real>
struct AllSums {
  const Net& net;
  layer::Sums<Real> layer;
  head::Sums<Real> head;
  bool has_dy;  // whether there are gradients through the outputs

  void place(Real* flat) { layer.place(layer_of(net, flat)), head.place(head_of(net, flat)); }
  void begin(const Shard& shard) const {
    layer.begin(shard);
    if (has_dy) head.begin(shard);
  }
  void go_on(const Shard& shard, const Real* later) const {
    layer.go_on(shard, layer_of(net, later));
    if (has_dy) head.go_on(shard, head_of(net, later));
  }
  void take(bool begun, const Shard& shard, Real* flat) const {
    layer.take(begun, shard, layer_of(net, flat)), head.take(begun && has_dy, shard, head_of(net, flat));
  }
};

// One call: its memory, and its passes.
template <class Real>
struct OneLayer {
  const Problem<Real>& problem;
  const Machine& machine;
  const Steps& steps;
  Ways ways;
  Passes<Real> passes;
  layer::Sizes<Real> n;
  layer::Trace<Real> trace;
  layer::Resets<Real> resets;
  layer::Forward<Real> forward_layer;
  layer::Backward<Real> backward_layer;
  Steps head_steps;  // those of the output layer
  Real* last_h;      // (B, ldH): what it reads, if that is last states, in the order of places
  Index* positions;  // (B): of each sequence, where gradients of each may be asked for, null on the full grid
  head::Head<Real> head;
  AllSums<Real> sums;

  Labels<Real> labels{};
  Real* losses = nullptr;
  Outputs<Real> outputs{};
  OutputGradients<Real> given{};
  Gradients<Real> grads{};

  // reads: how many steps the caller will have read in the end
  OneLayer(Arena& arena, const Problem<Real>& problem, const Machine& machine, Ways ways, Index reads)
      : problem(problem),
        machine(machine),
        steps(problem.steps),
        ways(ways),
        passes(arena, steps, machine, sharing_of(problem, ways, machine.threads), times_to(reads)),
        n(problem.net, steps.B),
        trace(arena, n, steps, ways.forward && ways.back),
        resets(arena, trace, steps, passes.limits),
        forward_layer(arena, resets, problem, passes.limits, ways.forward, reads),
        backward_layer(arena, resets, problem, passes.limits, ways, forward_layer.a),
        head_steps(problem.last ? last_steps(steps) : steps),
        last_h(arena.take<Real>(problem.last ? n.B * n.ldH : 0)),
        positions(arena.take<Index>(ways.sums && !steps.full() ? n.B : 0)),
        head(arena, problem.net, problem.flat, head_steps.count,
             {problem.last ? last_h : trace.h + n.B * n.ldH, n.ldH, false}, passes.limits, ways),
        sums{problem.net,
             {arena, trace, backward_layer.gates, problem.inputs, steps.count, ways.sums ? machine.threads : 0},
             {arena, head, ways.sums && ways.dy},
             ways.dy} {
    const Index listed = max_of(SumRows::scratch_size(steps, passes.chunks.most_rows(steps.B)),
                                SumRows::scratch_size(head_steps, head_steps.count));
    passes.take_scratch(arena, ways, listed, max_of(max_of(n.ldG, n.ldH), max_of(n.ldX, head.ldV)));
    if (arena.at) trace.put_state(steps, problem.state);
  }
  OneLayer(const OneLayer&) = delete;
  OneLayer& operator=(const OneLayer&) = delete;

  bool run() { return passes.run(*this, ways.sums); }

  // Where the gradients go.
  void give(const Gradients<Real>& to) {
    grads = to;
    if (ways.sums) sums.place(to.flat);
    for (Index p = 0; to.each.row && !steps.full() && p < n.B; ++p) positions[steps.sequence(p)] = p;
  }

  // The first step alone, y (B, ldV), by the calling thread; after go_on it can be taken again.
  Rows<Real> step_forward(Look& look) const {
    const Share all{0, 0, steps.B, 0, 1};
    const Span span = passes.span_of(0, all);
    forward_layer.forward(span, all, look, [] {});
    if (head.V > 0) head.forward(span, all, look);
    return head.y_of(span, all);
  }

  // Packs the weights, or one of several parts of them, before anything is multiplied.
  void pack(int part, int parts) const {
    forward_layer.pack(part, parts);
    backward_layer.pack(part, parts);
    head.pack(part, parts);
  }

  // All units and gates, as a shard.
  Shard whole(int thread) const { return {thread, 0, n.H, 0, n.G}; }

  // Forward and back over a share of the sequences; by one thread alone, or by all chunk by chunk, with the weights'
  // gradients.
  void pass(const Share& share, Look& look) {
    const bool together = passes.sharing == Sharing::chunks;
    const bool sums_now = (machine.threads == 1 || together) && ways.sums && !grads.each.row;
    const Shard own = passes.shard_of(whole(share.thread));
    if (!forward_pass(share, look) && !together) return;
    const bool last = problem.last && head_steps.count > 0;
    if (last) read_by_head(share);
    if (last && ways.forward) forward_head(last_span(share), share, look);
    if (!ways.back && !ways.sums) return;
    if (share.part == 0 && ways.back) backward_layer.begin(steps, share, given.dstate);
    passes.meet(share);
    if (together && passes.stop_together(share.thread, passes.chunks.count)) return;
    if (last && ways.dy && ways.back) add_to_last(share, look);
    bool first = begin_sums(own, sums_now, look);
    for (Index chunk = passes.chunks.count; chunk-- > 0;) {
      if (!together && passes.stop(share)) return;
      backward(passes.span_of(chunk, share), share, look);
      if (together && passes.stop_together(share.thread, chunk)) return;
      if (sums_now) weight_gradients(chunk, own, first, look);
      passes.meet(share);
    }
    if (share.part == 0 && ways.back) backward_layer.end(steps, share, given.has_dstate(), grads.dstate);
    if (sums_now) take_gradients(own);
    if (machine.threads == 1 && grads.each.row) weight_pass(own, look);
  }

  // The weights' gradients for a shard.
  void weight_pass(const Shard& shard, Look& look) {
    if (grads.each.row) return each_weight_pass(shard, look);
    bool first = begin_sums(shard, true, look);
    for (Index chunk = passes.chunks.count; chunk-- > 0;) {
      if (passes.stop({shard.thread, 0, 0, 0, 1})) return;
      weight_gradients(chunk, shard, first, look);
    }
    take_gradients(shard);
  }

 private:
  // How often the steps are taken until so many have been read.
  Index times_to(Index reads) const {
    return reads <= steps.count || steps.count == 0 ? 1 : linear::divide_up(reads, steps.count);
  }
  // Threads take chunks together where the gradients with respect to all gates would not fit into the caches, and there
  // is so much to do in a chunk that to meet costs little. Of a ragged batch a thread's sequences may have many steps
  // in some chunks, and none in others.
  static Sharing sharing_of(const Problem<Real>& problem, Ways ways, int threads) {
    const Net& net = problem.net;
    const Steps& steps = problem.steps;
    if (net.shares_units(steps.B, threads)) return Sharing::rows;
    const Index rows = min_of(linear::RowBlocks{steps.B}.steps(), steps.longest) * steps.B;
    const double of_a_row = 4.0 * static_cast<double>(net.G() * (net.X + net.H) + net.H * net.V);  // back, and the sums
    const bool is_much = of_a_row * static_cast<double>(rows) >= tuning::operations_worth_a_meeting * threads;
    const bool are_large = steps.count * net.G() * Index{sizeof(Real)} >= tuning::gates_worth_meeting;
    const bool may = threads > 1 && ways.back && ways.sums && steps.even();
    return may && is_much && are_large ? Sharing::chunks : Sharing::pieces;
  }

  // All chunks forward, or, if that is not wanted any more, some: then false.
  bool forward_pass(const Share& share, Look& look) const {
    for (Index chunk = 0; ways.forward && chunk < passes.chunks.count; ++chunk) {
      if (passes.stop(share)) return false;
      forward(passes.span_of(chunk, share), share, look);
      passes.meet(share);
    }
    return true;
  }

  // h_t and y_t of a span, and the losses or the results of forward.
  void forward(const Span& span, const Share& share, Look& look) const {
    forward_layer.forward(span, share, look, [&] { passes.meet(share); });
    if (!problem.last && head.V > 0) forward_head(span, share, look);
    if (!losses) take(span.by_rank(trace.h + n.B * n.ldH, n.ldH), span, share, n.H, outputs.h);
  }

  // y of a span, and the losses or a result of forward.
  void forward_head(const Span& span, const Share& share, Look& look) const {
    head.forward(span, share, look);
    if (losses)
      head.loss(span, share, labels, losses);
    else
      take(head.y_of(span, share), span, share, head.V, Strided<Real>{outputs.y, head.V});
  }

  static void take(Rows<Real> rows, const Span& span, const Share& share, Index width, Strided<Real> to) {
    for (Index i = share.from(span.count); i < share.to(span.count); ++i)
      copy(rows(i), width, to.at + span.address(i) * to.stride);
  }

  // The rows of the output layer where it reads last states.
  Span last_span(const Share& share) const {
    return {head_steps, 0, 1, share, passes.scratch_of(share.thread), passes.limits.rows};
  }

  // The last states, for the output layer.
  void read_by_head(const Share& share) const {
    const Span span = last_span(share);
    for (Index i = share.from(span.count); i < share.to(span.count); ++i) {
      const Index p = span.p0 + i, t = steps.length(steps.sequence(p)) - 1;
      copy(trace.h_at(steps, steps.row(t) + p), n.ldH, last_h + head_steps.rank_of(p) * n.ldH);
    }
  }

  // Adds to the gradients with respect to the last states what comes through the outputs.
  void add_to_last(const Share& share, Look& look) const {
    const Span span = last_span(share);
    const Rows<Real> dh = backward_layer.dh_of(share);
    head.backward(span, share, given.dy, dh, look);
    for (Index i = share.from(span.count); i < share.to(span.count); ++i) {
      Real* const carried = backward_layer.carried + (span.p0 + i) * n.ldH;
      for (Index j = 0; j < n.H; ++j) carried[j] = dh(i)[j] + carried[j];
    }
  }

  // da_t and du_t of a span, and the gradients with respect to its inputs.
  void backward(const Span& span, const Share& share, Look& look) const {
    if (ways.back) backward_in_time(span, share, look);
    if (grads.dinputs) layer::input_gradients(backward_layer, span, share, grads, look);
  }

  void backward_in_time(const Span& span, const Share& share, Look& look) const {
    const Rows<Real> dh = backward_layer.dh_of(share);
    if (ways.dy && !problem.last)
      head.backward(span, share, given.dy, dh, look);
    else
      take_from_outputs(span, share, dh);
    passes.meet(share);
    backward_layer.backward(span, share, given.dh, look, [&] { passes.meet(share); });
  }

  // What comes through outputs that are not made here: nothing to add, which is -0, unless it is given.
  void take_from_outputs(const Span& span, const Share& share, Rows<Real> dh) const {
    const Strided<const Real> from = given.from_outputs;
    for (Index i = share.from(span.count); i < share.to(span.count); ++i)
      if (from.at)
        copy(from.at + span.address(i) * from.stride, n.H, dh(i)), fill(dh(i) + n.H, n.ldH - n.H, Real(0));
      else
        fill(dh(i), n.ldH, Real(-0.0));
  }

  // Begins the sums of a shard, if they are wanted: with those of the steps after these, and with outputs that are made
  // of last states. Returns whether none has begun.
  bool begin_sums(const Shard& shard, bool wanted, Look& look) const {
    if (!wanted) return true;
    if (grads.later) sums.go_on(shard, grads.later);
    if (problem.last && ways.dy && head_steps.count > 0) last_weight_gradients(shard, look);
    return !grads.later;
  }

  // The weights' gradients of each sequence by itself, for a shard. One thread alone adds them to others.
  void each_weight_pass(const Shard& shard, Look& look) {
    const Each& each = grads.each;
    const Shortened<Real>& to = grads.shortened;
    for (Index b = each.first; b < each.end; ++b) {
      if (passes.stop({shard.thread, 0, 0, 0, 1})) return;
      Real* const flat = grads.flat + (to.total ? 0 : b - each.first) * each.row;
      sequence_gradients(steps.full() ? b : positions[b], flat, shard, look);
      if (to.total) optim::add_shortened(to.total, flat, 1, each.row, to.longest, to.lengths + b);
    }
  }

  // Those of the sequence at a position: blocks of its own steps.
  void sequence_gradients(Index p, Real* flat, const Shard& shard, Look& look) const {
    AllSums<Real> own = sums;
    own.place(flat);
    own.begin(shard);
    const Index length = steps.length(steps.sequence(p));
    bool first = true;
    for (Index end = length, t = 0; end > 0; end = t, first = false) {
      t = (end - 1) / linear::block * linear::block;
      const SumRows rows(steps, p, t, end, passes.scratch_of(shard.thread));
      add_blocks(own, rows, rows.blocks, shard, first, look);
    }
    if (problem.last && ways.dy && length > 0) {
      const SumRows rows(head_steps, p, 0, 1, passes.scratch_of(shard.thread));
      own.head.weight_gradients(rows, rows.blocks, shard, given.dy, true, passes.copies_of(shard), look);
    }
    own.take(length > 0, shard, flat);
  }

  // The weights' gradients: the blocks of a chunk, from the last to the first, for a shard.
  void weight_gradients(Index chunk, const Shard& shard, bool& first, Look& look) const {
    const Chunks& chunks = passes.chunks;
    const SumRows rows(steps, chunks.begin(chunk), chunks.begin(chunk + 1), passes.scratch_of(shard.thread));
    rows.each_group([&](const Blocks& blocks) {
      add_blocks(sums, rows, blocks, shard, first, look);
      first = false;
    });
  }
  void add_blocks(const AllSums<Real>& to, const SumRows& rows, const Blocks& blocks, const Shard& shard, bool first,
                  Look& look) const {
    const linear::Copies<Real> own = passes.copies_of(shard);
    to.layer.weight_gradients(rows, blocks, shard, first, own, look);
    if (ways.dy && !problem.last) to.head.weight_gradients(rows, blocks, shard, given.dy, first, own, look);
  }

  // The gradients of the output layer's weights where it reads last states.
  void last_weight_gradients(const Shard& shard, Look& look) const {
    const SumRows rows(head_steps, 0, 1, passes.scratch_of(shard.thread));
    bool first = !grads.later;
    rows.each_group([&](const Blocks& blocks) {
      sums.head.weight_gradients(rows, blocks, shard, given.dy, first, passes.copies_of(shard), look);
      first = false;
    });
  }

  void take_gradients(const Shard& shard) const { sums.take(steps.count > 0 || grads.later, shard, grads.flat); }
};

// Each returns false if it was interrupted.
template <class Real>
bool run_forward(OneLayer<Real>& call, const Outputs<Real>& outputs) {
  call.outputs = outputs;
  call.trace.tape = outputs.tape;
  const bool done = call.run();
  clear_padding(call.n.H, call.n.P, call.steps.count * call.n.shape().kept(), outputs.tape);
  call.trace.take_state(call.steps, outputs.last);
  return done;
}

template <class Real>
bool run_backward(OneLayer<Real>& call, const Kept<Real>& kept, const OutputGradients<Real>& given,
                  const Gradients<Real>& grads) {
  call.trace.tape = const_cast<Real*>(kept.tape);  // which is only read, going back
  call.trace.put_h(call.steps, kept.h, grads.each);
  call.given = given;
  call.give(grads);
  call.backward_layer.dstates = grads.dstates;
  return call.run();
}

template <class Real>
bool run_bptt(OneLayer<Real>& call, const Labels<Real>& labels, const Losses<Real>& losses,
              const Gradients<Real>& grads) {
  call.labels = labels;
  call.losses = losses.each;
  call.given.dstate = losses.dstate;
  call.give(grads);
  const bool done = call.run();
  call.trace.take_state(call.steps, losses.last);
  return done;
}

}  // namespace rnncore::RNNCORE_ISA::stack

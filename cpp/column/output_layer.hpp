// The output layer by itself, where it reads both directions of a layer: from h to y, to the loss, and back to dh.
#pragma once

#include "head.hpp"
#include "passes.hpp"

namespace rnncore::RNNCORE_ISA::stack {

template <class Real>
struct OutputLayer {
  const Machine& machine;
  const Steps& steps;
  Ways ways;
  Passes<Real> passes;
  head::Head<Real> head;
  head::Sums<Real> sums;

  Labels<Real> labels{};
  Real *losses = nullptr, *y = nullptr;  // one of them: the losses, or the user's y
  const Real* dy = nullptr;              // the user's own, unless it comes from the loss
  Strided<Real> dh{};                    // (N, W) by rows
  Real* flat = nullptr;                  // of the gradients
  const Real* later = nullptr;           // and of those from the steps after these
  Each each{};                           // as Gradients has it
  const Net& net;

  // h: (N, W) by rows
  OutputLayer(Arena& arena, const Net& net, const Real* flat, Strided<const Real> h, const Steps& steps,
              const Machine& machine, Ways ways)
      : machine(machine),
        steps(steps),
        ways(ways),
        passes(arena, steps, machine, Sharing::rows, 1),
        head(arena, net, flat, steps.count, {h.at, h.stride, true}, passes.limits, ways),
        sums(arena, head, ways.sums && ways.dy),
        net(net) {
    passes.take_scratch(arena, ways, SumRows::scratch_size(steps, passes.chunks.most_rows(steps.B)),
                        max_of(head.read.ld, head.ldV));
  }

  bool run() {
    if (ways.sums) sums.place(head_of(net, flat));
    return passes.run(*this, ways.sums);
  }

  void pack(int part, int parts) const { head.pack(part, parts); }
  Shard whole(int thread) const { return {thread, 0, head.H, 0, 0}; }

  // Chunk by chunk, from the last to the first, which is the order of the sums.
  void pass(const Share& share, Look& look) {
    const Chunks& chunks = passes.chunks;
    const Shard all = whole(share.thread);
    const bool sums_now = machine.threads == 1 && ways.sums && !each.row;
    bool first = sums_now && begin_sums(all);
    for (Index chunk = chunks.count; chunk-- > 0;) {
      if (passes.stop(share)) return;
      const Span span = passes.span_of(chunk, share);
      if (ways.forward) forward(span, share, look);
      if (ways.back) head.backward(span, share, dy, span.by_row(dh.at, dh.stride), look);
      if (sums_now) weight_gradients(chunk, all, first, look);
    }
    if (sums_now) take_gradients(all);
    if (machine.threads == 1 && each.row) weight_pass(all, look);
  }

  // The weights' gradients for a shard.
  void weight_pass(const Shard& shard, Look& look) {
    if (each.row) return each_weight_pass(shard, look);
    bool first = begin_sums(shard);
    for (Index chunk = passes.chunks.count; chunk-- > 0;) {
      if (passes.stop({shard.thread, 0, 0, 0, 1})) return;
      weight_gradients(chunk, shard, first, look);
    }
    take_gradients(shard);
  }

 private:
  void forward(const Span& span, const Share& share, Look& look) const {
    head.forward(span, share, look);
    if (losses) return head.loss(span, share, labels, losses);
    const Rows<Real> made = head.y_of(span, share);
    for (Index i = share.from(span.count); i < share.to(span.count); ++i)
      copy(made(i), head.V, y + span.address(i) * head.V);
  }

  void weight_gradients(Index chunk, const Shard& shard, bool& first, Look& look) const {
    const Chunks& chunks = passes.chunks;
    const SumRows rows(steps, chunks.begin(chunk), chunks.begin(chunk + 1), passes.scratch_of(shard.thread));
    rows.each_group([&](const Blocks& blocks) {
      sums.weight_gradients(rows, blocks, shard, dy, first, passes.copies_of(shard), look);
      first = false;
    });
  }

  // Returns whether no sum has begun: those of the steps after these go on.
  bool begin_sums(const Shard& shard) const {
    if (later) sums.go_on(shard, head_of(net, later));
    return !later;
  }

  // The weights' gradients of each sequence by itself: blocks of its own steps.
  void each_weight_pass(const Shard& shard, Look& look) {
    head::Sums<Real> own = sums;
    for (Index p = 0; p < steps.B; ++p) {
      if (passes.stop({shard.thread, 0, 0, 0, 1})) return;
      const Index b = steps.sequence(p), length = min_of(steps.length(b), steps.longest);
      if (!each.has(b)) continue;
      const HeadArrays<Real> to = head_of(net, flat + (b - each.first) * each.row);
      own.place(to);
      own.begin(shard);
      bool first = true;
      for (Index end = length, t = 0; end > 0; end = t, first = false) {
        t = (end - 1) / linear::block * linear::block;
        const SumRows rows(steps, p, t, end, passes.scratch_of(shard.thread));
        own.weight_gradients(rows, rows.blocks, shard, dy, first, passes.copies_of(shard), look);
      }
      own.take(length > 0, shard, to);
    }
  }

  void take_gradients(const Shard& shard) const { sums.take(steps.count > 0 || later, shard, head_of(net, flat)); }
};

}  // namespace rnncore::RNNCORE_ISA::stack

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

  Labels<Real> labels{};
  Real *losses = nullptr, *y = nullptr;  // one of them: the losses, or the user's y
  const Real* dy = nullptr;              // the user's own, unless it comes from the loss
  Strided<Real> dh{};                    // (N, W) by rows
  Real* flat = nullptr;                  // of the gradients
  const Net& net;

  // h: (N, W) by rows
  OutputLayer(Arena& arena, const Net& net, const Real* flat, Strided<const Real> h, const Steps& steps,
              const Machine& machine, Ways ways)
      : machine(machine),
        steps(steps),
        ways(ways),
        passes(arena, steps, machine, true),
        head(arena, net, flat, steps.count, {h.at, h.stride}, passes.limits, ways),
        net(net) {
    passes.take_scratch(arena, ways.back, SumRows::scratch_size(steps, passes.chunks.most_rows(steps.B)), head.ldH);
  }

  bool run() { return passes.run(*this, ways.back); }

  void pack(int part, int parts) const { head.pack(part, parts); }
  Shard whole(int thread) const { return {thread, 0, head.H, 0, 0}; }

  // Chunk by chunk, from the last to the first, which is the order of the sums.
  void pass(const Share& share, Look& look) {
    const Chunks& chunks = passes.chunks;
    bool first = true;
    for (Index chunk = chunks.count; chunk-- > 0;) {
      if (passes.stop(share)) return;
      const Span span = passes.span_of(chunk, share);
      if (ways.forward) forward(span, share, look);
      if (!ways.back) continue;
      head.backward(span, share, dy, span.by_row(dh.at, dh.stride), look);
      if (machine.threads == 1) weight_gradients(chunk, whole(share.thread), first, look);
    }
    if (ways.back && machine.threads == 1) take_gradients(whole(share.thread));
  }

  // The weights' gradients for a shard.
  void weight_pass(const Shard& shard, Look& look) {
    bool first = true;
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
      head.weight_gradients(rows, blocks, shard, dy, first, passes.gathered_of(shard), look);
      first = false;
    });
  }

  void take_gradients(const Shard& shard) const { head.take(steps.count > 0, shard, head_of(net, flat)); }
};

}  // namespace rnncore::RNNCORE_ISA::stack

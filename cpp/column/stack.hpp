// Who does what when: the passes forward and back over chunks of time, by one thread or several.
//
// Once the weights are packed, two passes suffice for any number of threads: forward and back over shares of the
// sequences, then the gradients of the weights over shards of them. One thread takes both a chunk at a time, while the
// chunk is warm.
#pragma once

#include "head.hpp"
#include "layer.hpp"
#include "pieces.hpp"

namespace rnncore::RNNCORE_ISA::stack {

// One call: its memory, and its passes.
template <class Real>
struct Stack {
  const Problem<Real>& problem;
  const Machine& machine;
  const Steps& steps;
  Ways ways;
  bool shares_units;  // rather than sequences, among threads
  Chunks chunks;
  Pieces pieces;
  Limits limits;
  layer::Sizes<Real> n;
  layer::Trace<Real> trace;
  layer::Forward<Real> forward_layer;
  layer::Backward<Real> backward_layer;
  layer::Sums<Real> sums;
  Steps head_steps;  // those of the output layer
  Real* last_h;      // (B, ldH): what it reads, if that is last states, by positions
  head::Head<Real> head;
  Index scratch_size;
  int64_t* scratch;                 // (threads, scratch_size): lists of rows
  linear::Gathered<Real> gathered;  // the first thread's; the others' follow

  Labels<Real> labels{};
  Real* losses = nullptr;
  Outputs<Real> outputs{};
  OutputGradients<Real> given{};
  Gradients<Real> grads{};
  Index next_piece = 0, next_shard = 0;
  bool stopped = false;

  // reads: how many steps the caller will have read in the end
  Stack(Arena& arena, const Problem<Real>& problem, const Machine& machine, Ways ways, Index reads)
      : problem(problem),
        machine(machine),
        steps(problem.steps),
        ways(ways),
        shares_units(share_units(problem, machine.threads)),
        chunks(arena, steps),
        pieces(arena, steps,
               shares_units || machine.threads == 1
                   ? 1
                   : Pieces::pieces_of(steps.B, tuning::piece_sequences, machine.threads)),
        limits{chunks.most_rows(pieces.widest), machine.threads},
        n(problem.net, steps.B),
        trace(arena, n, steps, ways.forward && ways.back),
        forward_layer(arena, trace, problem, limits, ways.forward, reads),
        backward_layer(arena, trace, problem, limits, ways, forward_layer.a),
        sums(arena, trace, backward_layer.gates, problem.inputs, ways.back ? machine.threads : 0),
        head_steps(problem.last ? last_steps(steps) : steps),
        last_h(arena.take<Real>(problem.last ? n.B * n.ldH : 0)),
        head(arena, problem.net, problem.flat, head_steps.count, {problem.last ? last_h : trace.h + n.B * n.ldH, n.ldH},
             limits, ways) {
    const Index listed = max_of(SumRows::scratch_size(steps, chunks.most_rows(steps.B)),
                                SumRows::scratch_size(head_steps, head_steps.count));
    scratch_size = max_of(Span::scratch_size(chunks, limits.rows), listed);
    scratch = arena.take<int64_t>(machine.threads * scratch_size);
    const Index listed_threads = ways.back && !steps.full() ? machine.threads : 0;
    gathered.stride = max_of(n.ldG, n.ldH);
    gathered.strip = arena.take<Real>(listed_threads * gathered.strip_size());
    gathered.rows = arena.take<Real>(listed_threads * linear::block * gathered.stride);
    if (arena.at) trace.put_state(steps, problem.state);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  bool run() {
    if (machine.threads == 1) {
      Look look(machine, 0, &stopped);
      pack(0, 1);
      pass({0, 0, steps.B, 0, 1}, look);
    } else {
      machine.parallel(
          machine.threads, [](void* call, int thread) { static_cast<Stack*>(call)->take_all(thread); }, this);
    }
    return !stopped;
  }

  // The first step alone, y (B, ldV), by the calling thread; it can be taken again, from the states it has left.
  Rows<Real> step_forward(Look& look) const {
    const Share all{0, 0, steps.B, 0, 1};
    const Span span = span_of(0, all);
    forward_layer.forward(span, all, look, [] {});
    head.forward(span, all, look);
    trace.go_on();
    return head.y_of(span, all);
  }

  // Packs the weights, or one of several parts of them, before anything is multiplied.
  void pack(int part, int parts) const {
    forward_layer.pack(part, parts);
    backward_layer.pack(part, parts);
    head.pack(part, parts);
  }

 private:
  static bool share_units(const Problem<Real>& problem, int threads) {
    const Net& net = problem.net;
    return threads > 1 && problem.steps.B < tuning::shared_sequences * threads && net.H >= tuning::shared_units &&
           net.shape.gates_after_reset == 0;
  }

  Span span_of(Index chunk, const Share& share) const {
    const Index t0 = chunks.begin(chunk), t1 = chunks.begin(chunk + 1);
    return {steps, t0, t1, share, scratch + share.thread * scratch_size, limits.rows};
  }

  // Waits for those who share the sequences.
  void meet(const Share& share) const {
    if (share.parts > 1) machine.meet();
  }
  // Whether to give up. Those who share sequences must agree.
  bool stop(const Share& share) const {
    meet(share);
    return __atomic_load_n(&stopped, __ATOMIC_RELAXED);
  }

  // h_t and y_t of a span, and the losses or the results of forward.
  void forward(const Span& span, const Share& share, Look& look) const {
    forward_layer.forward(span, share, look, [&] { meet(share); });
    if (!problem.last) forward_head(span, share, look);
    if (!losses) take(span.by_row(trace.h + n.B * n.ldH, n.ldH), span, share, n.H, outputs.h);
  }

  // y of a span, and the losses or a result of forward.
  void forward_head(const Span& span, const Share& share, Look& look) const {
    head.forward(span, share, look);
    if (losses)
      head.loss(span, share, labels, losses);
    else
      take(head.y_of(span, share), span, share, head.V, outputs.y);
  }

  static void take(Rows<Real> rows, const Span& span, const Share& share, Index width, Real* to) {
    for (Index i = share.from(span.count); i < share.to(span.count); ++i)
      copy(rows(i), width, to + span.address(i) * width);
  }

  // The rows of the output layer where it reads last states.
  Span last_span(const Share& share) const {
    return {head_steps, 0, 1, share, scratch + share.thread * scratch_size, limits.rows};
  }

  // The last states, for the output layer.
  void read_by_head(const Share& share) const {
    const Span span = last_span(share);
    for (Index i = share.from(span.count); i < share.to(span.count); ++i) {
      const Index p = span.p0 + i, t = steps.length(steps.sequence(p)) - 1;
      copy(trace.h + (n.B + steps.row(t) + p) * n.ldH, n.ldH, last_h + p * n.ldH);
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
    const Rows<Real> dh = backward_layer.dh_of(share);
    if (ways.dy && !problem.last)
      head.backward(span, share, given.dy, dh, look);
    else  // nothing to add, which is -0
      for (Index i = share.from(span.count); i < share.to(span.count); ++i) fill(dh(i), n.ldH, Real(-0.0));
    meet(share);
    backward_layer.backward(span, share, given.dh, look, [&] { meet(share); });
    if (grads.dinputs) layer::input_gradients(backward_layer, span, share, grads.dinputs, look);
  }

  // The weights' gradients: the blocks of a chunk, from the last to the first, for a shard.
  void weight_gradients(Index chunk, const Shard& shard, bool& first, Look& look) const {
    const SumRows rows(steps, chunks.begin(chunk), chunks.begin(chunk + 1), scratch + shard.thread * scratch_size);
    const linear::Gathered<Real> own = gathered_of(shard);
    rows.each_group([&](const Blocks& blocks) {
      sums.weight_gradients(rows, blocks, shard, first, own, look);
      if (ways.dy && !problem.last) head.weight_gradients(rows, blocks, shard, given.dy, first, own, look);
      first = false;
    });
  }
  linear::Gathered<Real> gathered_of(const Shard& shard) const {
    return {gathered.strip + shard.thread * gathered.strip_size(),
            gathered.rows + shard.thread * linear::block * gathered.stride, gathered.stride};
  }

  // The gradients of the output layer's weights where it reads last states.
  void last_weight_gradients(const Shard& shard, Look& look) const {
    const SumRows rows(head_steps, 0, 1, scratch + shard.thread * scratch_size);
    bool first = true;
    rows.each_group([&](const Blocks& blocks) {
      head.weight_gradients(rows, blocks, shard, given.dy, first, gathered_of(shard), look);
      first = false;
    });
  }

  void take_gradients(const Shard& shard) const {
    const bool begun = steps.count > 0;
    sums.take(begun, shard, layer_of(problem.net, grads.flat));
    head.take(begun && ways.dy, shard, head_of(problem.net, grads.flat));
  }

  // Forward and back over a share of the sequences; by one thread alone, with the weights' gradients.
  void pass(const Share& share, Look& look) {
    const Shard all{share.thread, 0, n.H, 0, n.G};
    for (Index chunk = 0; ways.forward && chunk < chunks.count; ++chunk) {
      if (stop(share)) return;
      forward(span_of(chunk, share), share, look);
      meet(share);
    }
    const bool last = problem.last && head_steps.count > 0;
    if (last) read_by_head(share);
    if (last && ways.forward) forward_head(last_span(share), share, look);
    if (!ways.back) return;
    if (share.part == 0) backward_layer.begin(steps, share, given.dstate);
    meet(share);
    if (last && ways.dy) add_to_last(share, look);
    if (last && ways.dy && machine.threads == 1) last_weight_gradients(all, look);
    bool first = true;
    for (Index chunk = chunks.count; chunk-- > 0;) {
      if (stop(share)) return;
      backward(span_of(chunk, share), share, look);
      if (machine.threads == 1) weight_gradients(chunk, all, first, look);
      meet(share);
    }
    if (share.part == 0) backward_layer.end(steps, share, given.has_dstate(), grads.dstate);
    if (machine.threads == 1) take_gradients(all);
  }

  // The weights' gradients for a shard.
  void weight_pass(const Shard& shard, Look& look) {
    bool first = true;
    if (problem.last && ways.dy && head_steps.count > 0) last_weight_gradients(shard, look);
    for (Index chunk = chunks.count; chunk-- > 0;) {
      if (stop({shard.thread, 0, 0, 0, 1})) return;
      weight_gradients(chunk, shard, first, look);
    }
    take_gradients(shard);
  }

  void take_passes(int thread, Look& look) {
    if (shares_units) return pass({thread, 0, steps.B, thread, machine.threads}, look);
    for (Index k; (k = __atomic_fetch_add(&next_piece, 1, __ATOMIC_RELAXED)) < pieces.count;)
      pass({thread, pieces.begin(k), pieces.begin(k + 1), 0, 1}, look);
  }
  void take_weight_passes(int thread, Look& look) {
    const Index vectors = linear::divide_up(n.G, lanes<Real>);
    const Index wanted = Pieces::pieces_of(vectors, tuning::piece_vectors, machine.threads);
    const Index shards = min_of(wanted, vectors);
    for (Index k; (k = __atomic_fetch_add(&next_shard, 1, __ATOMIC_RELAXED)) < shards;)
      weight_pass({thread, cut(n.H, k, shards), cut(n.H, k + 1, shards), cut(n.G, k, shards), cut(n.G, k + 1, shards)},
                  look);
  }
  // Where the k-th part of so many numbers begins, at a whole vector.
  static Index cut(Index numbers, Index k, Index parts) {
    return min_of(linear::divide_up(numbers, lanes<Real>) * k / parts * lanes<Real>, numbers);
  }

  void take_all(int thread) {
    Look look(machine, thread, &stopped);
    pack(thread, machine.threads);
    machine.meet();
    take_passes(thread, look);
    if (!ways.back) return;
    machine.meet();
    take_weight_passes(thread, look);
  }
};

// What does not exist is +0.
template <class Real>
void clear_holes(const Steps& steps, Index n, Real* array) {
  if (array && steps.has_holes()) fill(array, steps.rows_in_arrays() * n, Real(0));
}

// So are outputs and losses that do not exist.
template <class Real>
void clear_outputs(const Problem<Real>& problem, Index n, Real* array) {
  if (problem.last)
    fill(array, problem.steps.B * n, Real(0));
  else
    clear_holes(problem.steps, n, array);
}

// Nor does what lies beyond n numbers in rows of `width`, where whole vectors have been written.
template <class Real>
void clear_margin(Index n, Index width, Index rows, Real* at) {
  for (Index r = 0; n < width && r < rows; ++r) fill(at + r * width + n, width - n, Real(0));
}

template <class Real>
bool forward(const Problem<Real>& problem, const Outputs<Real>& outputs, const Machine& machine) {
  const Steps& steps = problem.steps;
  Stack<Real> call = allocate<Stack<Real>>(machine, problem, machine, Ways{true, false, false, false}, steps.count);
  call.outputs = outputs;
  call.trace.tape = outputs.tape;
  clear_outputs(problem, problem.net.V, outputs.y);
  clear_holes(steps, problem.net.H, outputs.h);
  const bool done = call.run();
  clear_margin(call.n.H, call.n.P, steps.count * call.n.shape().kept(), outputs.tape);
  call.trace.take_state(steps, outputs.last);
  return done;
}

template <class Real>
bool backward(const Problem<Real>& problem, const Kept<Real>& kept, const OutputGradients<Real>& given,
              const Gradients<Real>& grads, const Machine& machine) {
  const Steps& steps = problem.steps;
  const Ways ways{false, true, given.dy != nullptr, grads.dinputs != nullptr};
  Stack<Real> call = allocate<Stack<Real>>(machine, problem, machine, ways, steps.count);
  call.trace.tape = const_cast<Real*>(kept.tape);  // which is only read, going back
  call.trace.put_h(steps, kept.h);
  call.given = given;
  call.grads = grads;
  clear_holes(steps, problem.net.X, grads.dinputs);
  return call.run();
}

template <class Real>
double total(const Steps& steps, const Real* losses);

template <class Real>
bool bptt(const Problem<Real>& problem, const Labels<Real>& labels, const Losses<Real>& losses,
          const Gradients<Real>& grads, const Machine& machine) {
  const Steps& steps = problem.steps;
  const Ways ways{true, true, true, grads.dinputs != nullptr};
  Stack<Real> call = allocate<Stack<Real>>(machine, problem, machine, ways, steps.count);
  call.labels = labels;
  call.losses = losses.each;
  call.grads = grads;
  clear_outputs(problem, 1, losses.each);
  clear_holes(steps, problem.net.X, grads.dinputs);
  const bool done = call.run();
  call.trace.take_state(steps, losses.last);
  *losses.total = total(call.head_steps, losses.each);
  return done;
}

// Padded rows for some outputs.
template <class Real>
struct OutputRows {
  static constexpr Index most = linear::block;
  Index ldV;
  Real *y, *e;
  OutputRows(Arena& arena, Index V) : ldV(linear::padded<Real>(V)) {
    y = arena.take<Real>(most * ldV), e = arena.take<Real>(ldV);
  }
};

template <class Real>
bool loss(const Steps& steps, Index V, const Real* y, const Labels<Real>& labels, Real* losses, Real* dy,
          const Machine& machine) {
  const OutputRows<Real> rows = allocate<OutputRows<Real>>(machine, V);
  const Rows<Real> now{rows.y, rows.ldV};
  clear_holes(steps, 1, losses);
  clear_holes(steps, V, dy);
  for (Index r0 = 0; r0 < steps.count; r0 += rows.most) {
    const Index count = min_of(rows.most, steps.count - r0);
    const auto address = [&](Index i) { return steps.address_of(r0 + i); };
    for (Index i = 0; i < count; ++i) copy(y + address(i) * V, V, now(i));
    head::apply_loss(now, count, V, labels, address, rows.e, losses);
    for (Index i = 0; i < count; ++i) copy(now(i), V, dy + address(i) * V);
  }
  return true;
}

// J: the losses of all places t*B + b, in float64, in sixteen lanes. Those that do not exist would add +0.
template <class Real>
double total(const Steps& steps, const Real* losses) {
  double lane[16] = {};
  for (Index i = 0; steps.full() && i < steps.count; ++i) lane[i % 16] = lane[i % 16] + static_cast<double>(losses[i]);
  for (Index t = 0, i = 0; !steps.full() && t < steps.longest; ++t)
    for (const Index row = steps.row(t), end = steps.row(t + 1); i < end; ++i) {
      const Index listed = steps.by_place[i], place = t * steps.B + steps.order[listed - row];
      lane[place % 16] = lane[place % 16] + static_cast<double>(losses[steps.address[listed]]);
    }
  return linear::fold(lane);
}

}  // namespace rnncore::RNNCORE_ISA::stack

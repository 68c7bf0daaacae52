// The recurrent layers of a net of several parts: one after the other, each in one direction or in both.
//
// A part is a layer in one direction, on its own. What it reads and gives lies by rows, those of the packing that all
// parts share; the reverse direction reads and writes them in the opposite order, through lists of rows. The output
// layer goes with the last layer where that has one direction, or else follows by itself.
#pragma once

#include "one_layer.hpp"
#include "output_layer.hpp"

namespace rnncore::RNNCORE_ISA::stack {

template <class Real>
struct Layers {
  const Problem<Real>& problem;
  const Machine& machine;
  const Net& net;
  const Steps& steps;
  Ways ways;
  Index N, W, ldW;
  bool attached;         // whether the output layer goes with the last layer
  int64_t* turned;       // (N): of each row of the reverse direction, the row of the same step
  int64_t* turned_read;  // (N): where the inputs of that are
  Steps head_steps;      // those of an output layer by itself
  Real* tape;            // as problem.py's Kept has it; of bptt our own, but for what goes with the output layer
  Real *top, *last_top;  // (N, ldW) (B, ldW): what both directions of the last layer give, and in the end, by positions
  Real* masked;          // (N, W)
  Real *dgiven, *dread;  // (N, W): the gradients with respect to what a layer gives and reads
  Real* dtop;            // (N, ldW) or (B, ldW): that with respect to top or last_top, through the outputs
  Real* own_dh;          // (N, W): the user's own, by rows
  Real* own_dstate;      // (S, D, B, H): that with respect to the last states of the last layer
  States<const Real> last_dstate{};  // the same, if what comes through the outputs was added to it
  Arena stage;                       // the memory of the part that runs

  Layers(Arena& arena, const Problem<Real>& problem, const Machine& machine, Ways ways, bool own_dh)
      : problem(problem),
        machine(machine),
        net(problem.net),
        steps(problem.steps),
        ways(ways),
        N(steps.count),
        W(net.W()),
        ldW(linear::padded<Real>(W)),
        attached(net.directions == 1),
        head_steps(problem.last ? last_steps(steps) : steps) {
    const bool both = !attached, keeps = ways.forward && ways.back, last = both && problem.last;
    turned = arena.take<int64_t>(both ? N : 0);
    turned_read = arena.take<int64_t>(both && steps.read ? N : 0);
    tape = arena.take<Real>(keeps ? own_tape_size() : 0);
    top = arena.take_rows<Real>(both ? N : 0, W, ldW);
    last_top = arena.take_rows<Real>(last ? steps.B : 0, W, ldW);
    masked = arena.take<Real>(problem.masks ? N * W : 0);
    const Index between = ways.back && net.layers > 1 ? N * W : 0;
    dgiven = arena.take<Real>(between), dread = arena.take<Real>(between);
    dtop = arena.take<Real>(both && ways.back && ways.dy ? head_steps.count * ldW : 0);
    this->own_dh = arena.take<Real>(both && own_dh ? N * W : 0);
    own_dstate = arena.take<Real>(last && ways.back ? net.shape.states * W * steps.B : 0);
    if (arena.at && both) list_turned();
    stage = arena;
    (void)arena.take<char>(static_cast<Index>(stage_size()));
  }
  Layers(const Layers&) = delete;
  Layers& operator=(const Layers&) = delete;

  // What the layers give, and the last states; of an attached last layer: what run_last does. Each of these returns
  // false if it was interrupted.
  template <class Last>
  bool forward(const States<Real>& last, Last run_last) {
    for (Index part = 0; part < net.parts(); ++part) {
      if (part % net.directions == 0) read_by_layer(part);
      if (is_last(part) && attached) return run_last(part);
      const Strided<Real> to = of_part(given(part / net.directions), part);
      const bool done = with_part(part, true, [&](OneLayer<Real>& call) {
        return run_forward(call, Outputs<Real>{nullptr, to, tape_of(part), last.from(part * steps.B * net.H)});
      });
      if (!done) return false;
    }
    return true;
  }

  // What a layer reads is multiplied by its mask, if it has one.
  void read_by_layer(Index part) const {
    const Index number = part / net.directions;
    if (!problem.masks || number == 0) return;
    const Strided<Real> below = given(number - 1);
    for (Index row = 0; row < N; ++row) {
      const Real* const mask = problem.masks[number - 1] + steps.address_of(row) * W;
      for (Index j = 0; j < W; ++j) masked[row * W + j] = below.at[row * below.stride + j] * mask[j];
    }
  }
  // The rows of the reverse direction, and where their inputs are.
  void list_turned() const {
    for (Index t = 0; t < steps.longest; ++t)
      for (Index p = 0; p < steps.there(t); ++p) {
        const Index row = steps.row(t) + p;
        turned[row] = steps.row(steps.length(steps.sequence(p)) - 1 - t) + p;
        if (steps.read) turned_read[row] = steps.read[turned[row]];
      }
  }

  // The gradients of the layers. by: with respect to what the last layer gives; of an attached one: what run_last does.
  template <class Last>
  bool backward(const OutputGradients<Real>& by, const Gradients<Real>& grads, Last run_last) {
    OutputGradients<Real> from = by;
    for (Index number = net.layers; number-- > 0; from = {nullptr, {dgiven, W}, by.dstate, {nullptr, 0}}) {
      read_by_layer(number * net.directions);
      for (Index part = number * net.directions; part < (number + 1) * net.directions; ++part)
        if (!(is_last(part) && attached ? run_last(part) : part_backward(part, from, grads))) return false;
      mask_gradients(number);
      Real* const read = dread;
      dread = dgiven, dgiven = read;
    }
    return true;
  }

  // The way back through a part that has no output layer with it.
  bool part_backward(Index part, const OutputGradients<Real>& from, const Gradients<Real>& grads) {
    const Gradients<Real> own = gradients_of(part, grads);
    const Index begin = part * steps.B * net.H, top_begin = (net.parts() - net.directions) * steps.B * net.H;
    const bool through_last = is_last(part) && last_dstate.each[0];
    const States<const Real> dstate = through_last ? last_dstate.from(begin - top_begin) : from.dstate.from(begin);
    const OutputGradients<Real> by{nullptr, of_part(from.dh, part), dstate, of_part(from.from_outputs, part)};
    const Strided<Real> h = of_part(given(part / net.directions), part);
    return with_part(part, false, [&](OneLayer<Real>& call) {
      return run_backward(call, Kept<Real>{{h.at, h.stride}, tape_of(part)}, by, own);
    });
  }

  // The columns of a part in what its layer gives, or in the gradient of that.
  template <class T>
  Strided<T> of_part(Strided<T> rows, Index part) const {
    return {rows.at ? rows.at + part % net.directions * net.H : nullptr, rows.stride};
  }

  // The problem of a part: its net and steps are the caller's to keep.
  Problem<Real> problem_of(Index part, const Net& own, const Steps& own_steps) const {
    const Index number = part / net.directions;
    const Real* const below = number == 0 ? nullptr : problem.masks ? masked : given(number - 1).at;
    const Real* const counted = problem.flat;  // stands for below while memory is only counted, and is not read
    const Inputs<Real> read = number == 0 ? problem.inputs : Inputs<Real>{nullptr, below ? below : counted};
    Problem<Real> alone{own, problem.flat, read, problem.state.from(part * steps.B * net.H), own_steps};
    alone.last = own.V > 0 && problem.last;
    if (problem.gates) alone.gates = problem.gates + part * gates_size();
    if (problem.apart) alone.apart = problem.apart + part;
    return alone;
  }
  // Of the gradients with respect to the gates of a part.
  Index gates_size() const { return (cells::Cells<Real>::table[net.cell].splits ? 2 : 1) * N * padded<Real>(net.G()); }
  bool is_last(Index part) const { return part >= net.parts() - net.directions; }
  Net net_of(Index part) const { return net.part(part, attached && is_last(part)); }
  Steps steps_of(Index part) const {
    Steps own = steps;
    const bool reverse = part % net.directions == 1, first = part < net.directions;
    if (!(attached && is_last(part))) own.address = reverse ? turned : nullptr, own.packed = !steps.full();
    own.read = reverse ? turned : nullptr;
    if (first) own.read = reverse && steps.read ? turned_read : reverse ? turned : steps.read;
    return own;
  }

  // What a pass over a part does: forward, or back; the last one both, if the output layer goes with it.
  Ways ways_of(Index part, bool forward) const {
    const bool dx = part >= net.directions ? ways.back : ways.dinputs;
    if (attached && is_last(part)) return {ways.forward, ways.back, ways.dy, dx, ways.sums};
    return forward ? Ways{true, false, false, false, false} : Ways{false, ways.back, false, dx, ways.sums};
  }

  // Calls run with the pass over a part, forward or back.
  template <class Run>
  bool with_part(Index part, bool forward, Run run) {
    const Net own = net_of(part);
    const Steps own_steps = steps_of(part);
    const Problem<Real> own_problem = problem_of(part, own, own_steps);
    Arena memory = stage;
    OneLayer<Real> call(memory, own_problem, machine, ways_of(part, forward), N);
    return run(call);
  }
  // The same with the output layer by itself.
  template <class Run>
  bool with_output_layer(Run run) {
    Arena memory = stage;
    const Strided<const Real> h{problem.last ? last_top : top, ldW};
    OutputLayer<Real> call(memory, net, problem.flat, h, head_steps, machine, ways);
    call.dh = {dtop, ldW};
    return run(call);
  }

  // Where the gradients with respect to what a part reads go, and the others of it.
  Gradients<Real> gradients_of(Index part, const Gradients<Real>& grads) const {
    Gradients<Real> own = grads;
    own.dstate = grads.dstate.from(part * steps.B * net.H);
    if (part >= net.directions) own.dinputs = ways.back ? dread : nullptr;
    own.adds = part % net.directions == 1;
    if (grads.dstates) own.dstates = grads.dstates + part * net.shape.states * N * net.H;
    return own;
  }
  Real* tape_of(Index part) const { return tape + (net.layers - 1) * N * W + part * net.tape_size(N); }
  // What a layer gives, by rows.
  Strided<Real> given(Index number) const {
    if (number == net.layers - 1) return {top, ldW};
    return {tape ? tape + number * N * W : nullptr, W};
  }

  // Between the user's order of h and that of top.
  void put_top(Strided<const Real> h) const {
    for (Index row = 0; row < N; ++row) copy(h.at + steps.address_of(row) * h.stride, W, top + row * ldW);
  }
  void take_top(Strided<Real> h) const {
    for (Index row = 0; row < N; ++row) copy(top + row * ldW, W, h.at + steps.address_of(row) * h.stride);
  }
  void put_own_dh(const Real* dh) const {
    for (Index row = 0; row < N; ++row) copy(dh + steps.address_of(row) * W, W, own_dh + row * W);
  }

  // What an output layer by itself reads, if that is last states: the reverse direction ends at the first step.
  void read_by_head() const {
    for (Index p = 0; problem.last && p < head_steps.count; ++p) {
      const Index length = steps.length(steps.sequence(p));
      copy(top + (steps.row(length - 1) + p) * ldW, net.H, last_top + p * ldW);
      copy(top + p * ldW + net.H, net.H, last_top + p * ldW + net.H);
    }
  }

  // To the gradients with respect to the last states of the last layer: what comes through the outputs.
  void add_to_last(const States<const Real>& dstate) {
    const Index begin = (net.parts() - net.directions) * steps.B * net.H, size = steps.B * W;
    for (int s = 0; s < net.shape.states; ++s) {
      Real* const own = own_dstate + s * size;
      for (Index d = 0; d < net.directions; ++d)
        for (Index p = 0; p < steps.B; ++p) {
          const Index b = steps.sequence(p), at = (d * steps.B + b) * net.H;
          const Real *const given = dstate.each[s], *const dh = dtop + p * ldW + d * net.H;
          for (Index j = 0; j < net.H; ++j) {
            const Real before = given ? given[begin + at + j] : steps.length(b) > 0 ? Real(-0.0) : Real(0);
            own[at + j] = s == 0 && p < head_steps.count ? dh[j] + before : before;
          }
        }
      last_dstate.each[s] = own;
    }
  }

 private:
  Index own_tape_size() const {
    return (net.layers - 1) * N * W + (net.parts() - (attached ? 1 : 0)) * net.tape_size(N);
  }

  size_t stage_size() {
    size_t most = 0;
    for (Index part = 0; part < net.parts(); ++part) {
      const Net own = net_of(part);
      const Steps own_steps = steps_of(part);
      const Problem<Real> own_problem = problem_of(part, own, own_steps);
      for (int way = 0; way < 2; ++way) {
        const bool forward = way == 0;
        Arena memory;
        if (!(forward ? ways.forward : ways.back || ways.sums)) continue;
        (void)OneLayer<Real>(memory, own_problem, machine, ways_of(part, forward), N);
        if (most < memory.used) most = memory.used;
      }
    }
    Arena memory;
    (void)OutputLayer<Real>(memory, net, problem.flat, {top, ldW}, head_steps, machine, ways);
    return most < memory.used ? memory.used : most;
  }

  // The gradient with respect to what a layer reads is multiplied by the same mask.
  void mask_gradients(Index number) const {
    if (!problem.masks || number == 0 || !ways.back) return;
    for (Index row = 0; row < N; ++row) {
      const Real* const mask = problem.masks[number - 1] + steps.address_of(row) * W;
      for (Index j = 0; j < W; ++j) dread[row * W + j] = dread[row * W + j] * mask[j];
    }
  }
};

}  // namespace rnncore::RNNCORE_ISA::stack

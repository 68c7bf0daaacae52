// How much work a call is, and how many threads that is worth.
#pragma once

#include "../system/threads.hpp"
#include "arguments.hpp"

namespace rnncore {

// How many floating-point operations the products of so many steps have, on the way forward, or back, or in the sums
// for the weights; or those without the inputs', which are not taken step by step, and which tokens do not have.
inline double operations_of(const Net& net, double steps, bool without_inputs = false) {
  const double first = static_cast<double>(net.G() * ((without_inputs ? 0 : net.X) + net.H));
  const double later = static_cast<double>((net.layers - 1) * net.G() * (net.W() + net.H));
  return 2.0 * steps * (static_cast<double>(net.directions) * (first + later) + static_cast<double>(net.W() * net.V));
}

// What a call computes: passes through time, sums for the weights, and whether it begins on the way forward.
struct Work {
  int passes, sums;
  bool forward;
};

// How much of its work threads can share: all; less of what has been on the way forward before; little of few
// sequences, of one that is longer than all others, and where weights are not packed, because each thread lays out all
// of them; nothing of a pass through one sequence.
inline double share_of(const Net& net, const Steps& steps, Work work) {
  const auto has = [&](ptrdiff_t sequences) { return steps.count >= sequences * steps.longest; };
  const double most = work.forward ? 1 : tuning::share_without_forward;
  const bool packs = steps.longest > tuning::uses_worth_packing;
  if ((packs && has(tuning::sequences_worth_sharing)) || net.shares_units(steps.B, 2)) return most;
  return work.sums > 0 || has(2) ? most * tuning::share_of_few_sequences : 0;
}

// As many threads as the work in a layer is worth, and no more than asked for (see Options), or than have a sequence or
// a hidden unit to work on.
template <class Real>
int threads_for(int asked, const Net& net, const SeenProblem<Real>& seen, Work work) {
  if (asked == 1) return 1;
  const Steps& steps = seen.steps();
  const ptrdiff_t most = std::min<ptrdiff_t>(std::max(steps.B, net.H), 1024);
  if (asked < 0) return static_cast<int>(std::min<ptrdiff_t>(-static_cast<ptrdiff_t>(asked), most));
  const double N = static_cast<double>(steps.count), T = static_cast<double>(std::max<ptrdiff_t>(steps.longest, 1));
  const double share = share_of(net, steps, work) / static_cast<double>(net.parts());
  const double all = (work.passes + work.sums) * operations_of(net, N, seen.has_tokens());
  const int worth = threads_worth(share * all, share * operations_of(net, N / T, true));
  return static_cast<int>(std::min<ptrdiff_t>(asked ? std::min(asked, worth) : worth, most));
}

}  // namespace rnncore

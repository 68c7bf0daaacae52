// What one call is about, and the table of kernels that each instruction set fills: all that the two sides of the
// dispatch share. Arrays are those of src/rnncore/problem.py; nothing here knows Python.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tuning.hpp"

namespace rnncore {

// What is general in a cell: rnncore/cells.py says what the words mean.
struct CellShape {
  const char* name;
  int gates, states, saved;
  bool own_recurrent_bias;
  int gates_after_reset;

  constexpr int kept() const { return states - 1 + saved; }
  constexpr int gates_before_reset() const { return gates - gates_after_reset; }
};
constexpr int most_states = 2, most_gates = 4, most_saved = 5;

// So many numbers with padding to whole vectors of every instruction set.
constexpr ptrdiff_t whole_vectors(ptrdiff_t n) { return (n + 15) / 16 * 16; }

// A leading dimension for rows of n numbers: whole vectors of every instruction set, and, unless a row is short, an odd
// number of cache lines apart, so that the same numbers of successive rows fall into all lines of the L1 cache.
template <class Real>
constexpr ptrdiff_t padded(ptrdiff_t n) {
  constexpr ptrdiff_t line = tuning::cache_line / ptrdiff_t{sizeof(Real)};
  const ptrdiff_t whole = whole_vectors(n);
  return whole / line % 2 == 0 && whole > tuning::short_row_lines * line ? whole + line : whole;
}

// Where the arrays of a layer in one direction begin in flat, and those of the output layer. b_x is b_h where a cell
// has but one bias.
struct LayerPlaces {
  ptrdiff_t W_xh, W_hh, b_x, b_h;
};
struct HeadPlaces {
  ptrdiff_t W_hy, b_y;
};

// T steps, B sequences, N steps that exist, X inputs, H hidden units, V outputs, G numbers for all gates of a step,
// D directions, W = D H numbers that a layer gives, S states, K rows a step on the tape. A part is one layer in one
// direction; they are counted layer by layer, forward before reverse. Every array is C-contiguous.
struct Net {
  int cell;  // its number
  CellShape shape;
  ptrdiff_t X, H, V, layers, directions;
  int tokens;         // whether it reads tokens, 1, or vectors, 0; -1: either
  LayerPlaces first;  // of its first part
  HeadPlaces head;

  ptrdiff_t G() const { return shape.gates * H; }
  ptrdiff_t W() const { return directions * H; }
  ptrdiff_t parts() const { return layers * directions; }
  ptrdiff_t read_by(ptrdiff_t part) const { return part < directions ? X : W(); }
  ptrdiff_t biases() const { return shape.own_recurrent_bias ? 2 * G() : G(); }
  ptrdiff_t size() const { return head.b_y + V; }
  // Whether so many threads share the hidden units of each step, rather than the B sequences.
  bool shares_units(ptrdiff_t B, int threads) const {
    return threads > 1 && B < tuning::shared_sequences * threads && H >= tuning::shared_units &&
           shape.gates_after_reset == 0;
  }
  ptrdiff_t tape_size(ptrdiff_t steps) const { return steps * shape.kept() * whole_vectors(H); }  // of a part

  // The order of flat: all matrices in the order of use, then all biases; rnncore/cells.py sets it.
  static Net of(int cell, const CellShape& shape, ptrdiff_t X, ptrdiff_t H, ptrdiff_t V, ptrdiff_t layers = 1,
                ptrdiff_t directions = 1, int tokens = -1) {
    Net net{cell, shape, X, H, V, layers, directions, tokens, {}, {}};
    net.head.W_hy = net.matrices_before(net.parts());
    net.head.b_y = net.head.W_hy + V * net.W() + net.parts() * net.biases();
    net.first = net.places_of(0);
    return net;
  }
  LayerPlaces places_of(ptrdiff_t part) const {
    const ptrdiff_t W_xh = matrices_before(part), b_x = head.W_hy + V * W() + part * biases();
    return {W_xh, W_xh + G() * read_by(part), b_x, b_x + biases() - G()};
  }
  // An output layer alone: it reads W numbers a step as inputs, and flat is W_hy, then b_y.
  static Net of_outputs(ptrdiff_t W, ptrdiff_t V) {
    constexpr CellShape none{"", 0, 1, 0, false, 0};
    return {0, none, W, W, V, 1, 1, 0, {}, {0, V * W}};
  }
  // The net that a part is by itself, in the same flat; with the output layer, which only reads one direction then.
  Net part(ptrdiff_t part, bool with_head) const {
    return {cell, shape, read_by(part), H, with_head ? V : 0, 1, 1, part < directions ? tokens : 0, places_of(part),
            head};
  }

 private:
  ptrdiff_t matrices_before(ptrdiff_t part) const {
    const ptrdiff_t low = part < directions ? part : directions;
    return G() * (low * (X + H) + (part - low) * (W() + H));
  }
};

// The parameters of a layer, or their gradients: (G, X) (G, H) (G) (G). b_x is b_h where a cell has but one bias.
template <class T>
struct LayerArrays {
  T *W_xh, *W_hh, *b_x, *b_h;
};

// The parameters of the output layer, or their gradients: (V, W) (V).
template <class T>
struct HeadArrays {
  T *W_hy, *b_y;
};

// Of a net of one part, or a part by itself: its arrays in flat.
template <class T>
LayerArrays<T> layer_of(const Net& net, T* flat) {
  const LayerPlaces& at = net.first;
  return {flat + at.W_xh, flat + at.W_hh, flat + at.b_x, flat + at.b_h};
}
template <class T>
HeadArrays<T> head_of(const Net& net, T* flat) {
  return {flat + net.head.W_hy, flat + net.head.b_y};
}

// Which steps there are: src/rnncore/steps.py says what the words mean. Of the full grid, rows, places and addresses
// are one number, t*B + b, and all pointers but resets are null.
struct Steps {
  ptrdiff_t T, B;
  ptrdiff_t count, longest;  // steps that exist, in all and of the longest sequence
  bool packed;               // the arrays of the call have no holes
  const int64_t *lengths, *order, *start, *by_place;
  const int64_t* rank;            // of each row, where it is in by_place; null: the row itself
  const int64_t *address, *read;  // of each row, in the arrays of the call, and of what is read; null: the row itself
  const bool* resets;             // of each row, whether the states before it are zero; null: of none

  static Steps grid(ptrdiff_t T, ptrdiff_t B) {
    return {T, B, T * B, T, false, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  }

  bool full() const { return !lengths; }
  bool even() const { return count == longest * B; }  // no sequence is shorter than another
  bool has_holes() const { return lengths && !packed; }
  ptrdiff_t row(ptrdiff_t t) const { return full() ? t * B : start[t]; }  // the first of step t
  ptrdiff_t there(ptrdiff_t t) const { return row(t + 1) - row(t); }      // sequences that have step t
  ptrdiff_t sequence(ptrdiff_t position) const { return full() ? position : order[position]; }
  ptrdiff_t length(ptrdiff_t sequence) const { return full() ? T : lengths[sequence]; }
  ptrdiff_t address_of(ptrdiff_t row) const { return address ? address[row] : row; }
  ptrdiff_t rank_of(ptrdiff_t row) const { return rank ? rank[row] : row; }
};

// The steps of the output layer where it reads the last state of each sequence only: one, of those that have any.
inline Steps last_steps(const Steps& of) {
  if (of.full()) return Steps::grid(of.T > 0 ? 1 : 0, of.B);
  const ptrdiff_t count = of.longest > 0 ? of.start[1] : 0;
  return {1,        of.B,        count,   count > 0 ? 1 : 0, false,    of.lengths, of.order,
          of.start, of.by_place, of.rank, of.order,          of.order, nullptr};
}

// One of the two: tokens (N) or vectors (N, X), where Steps::read says.
template <class Real>
struct Inputs {
  const int64_t* tokens;
  const Real* vectors;
};

// The losses of rnncore/losses.py, in its order.
enum class Loss { cross_entropy, squared_error, binary_cross_entropy };

// What is asked of a call, and how it is done: rnncore/problem.py says what the words mean. threads: as many at
// most, 0 where the core chooses, or if negative so many whatever the work is worth.
struct Options {
  bool need_dinputs, last;
  Loss loss;
  int threads;
};

// One of the two: classes (N), -1 for none, or reals (N, V); weights (N), or null for 1 each; all at their addresses.
template <class Real>
struct Labels {
  Loss loss;
  const int64_t* classes;
  const Real* reals;
  const Real* weights;
};

// States, each (parts, B, H) in the user's order; null pointers: zeros, or none given, or none wanted.
template <class T>
struct States {
  T* each[most_states];

  // Those of a part, each (B, H), which begin so many numbers later.
  States from(ptrdiff_t numbers) const {
    States part{};
    for (int s = 0; s < most_states; ++s)
      if (each[s]) part.each[s] = each[s] + numbers;
    return part;
  }
};

// What every pass is given.
template <class Real>
struct Problem {
  const Net& net;
  const Real* flat;
  Inputs<Real> inputs;
  States<const Real> state;
  const Steps& steps;
  // Whether outputs are made of the last state of each sequence only: N is B in what belongs to them.
  bool last = false;
  const Real* const* masks = nullptr;  // (layers - 1) of (N, W) at their addresses, what a layer reads is multiplied by
  // (parts, 1 or 2, N, padded G), by rows: where da and du of all steps are kept; null: they live for a call.
  Real* gates = nullptr;
  const LayerArrays<const Real>* apart = nullptr;  // of each part, its arrays where these do not lie in flat, or null

  // The arrays of the one part that the net has.
  LayerArrays<const Real> layer() const { return apart ? *apart : layer_of(net, flat); }
};

// Rows of numbers, each so far from the one before.
template <class T>
struct Strided {
  T* at;
  ptrdiff_t stride;
};

// What forward gives, at the addresses, but the tape: (N, V) (N, W) and, by rows, what problem.py's Kept says.
template <class Real>
struct Outputs {
  Real* y;
  Strided<Real> h;
  Real* tape;
  States<Real> last;
};

// What forward kept, and what backward is given, each null for what J does not depend on directly. from_outputs: of a
// part by itself, the gradient with respect to h as far as it comes through outputs, like dh. has_gates: whether
// Problem::gates are there already, so that only the sums are left to do.
template <class Real>
struct Kept {
  Strided<const Real> h;
  const Real* tape;
  bool has_gates = false;
};
template <class Real>
struct OutputGradients {
  const Real* dy;
  Strided<const Real> dh;
  States<const Real> dstate;
  Strided<const Real> from_outputs;
  bool has_dstate() const { return dstate.each[0] != nullptr; }
};

// The sequences [first, end), of which each is asked for by itself, as if it were the only one; what belongs to them
// lies so many numbers apart. row 0: all are meant, together.
struct Each {
  ptrdiff_t first = 0, end = 0, row = 0;
  ptrdiff_t count() const { return row ? end - first : 1; }
  bool has(ptrdiff_t sequence) const { return first <= sequence && sequence < end; }
};

// Where the gradients of sequences go that nobody keeps: each is shortened to `longest`, unless its length is not
// finite, and added to total, in the order of the batch; its length before goes to `lengths` (B). Null: they are kept.
template <class Real>
struct Shortened {
  Real* total = nullptr;
  double longest = 0;
  double* lengths = nullptr;
};

// Gradients with respect to the parameters, as they lie in flat, or of each of some sequences, the initial states, and
// the inputs (N, X) where Steps::read says, or null where they are not wanted. adds: whether the last are added to what
// is there. later: those from the steps after these, to which flat adds, or null. dstates (parts, S, N, H), by rows:
// with respect to the states after each step, or null. shortened: where the gradients of sequences are not kept; flat
// has room for one.
template <class Real>
struct Gradients {
  Real* flat;
  States<Real> dstate;
  Real* dinputs;
  bool adds = false;
  Each each{};
  Shortened<Real> shortened{};
  const Real* later = nullptr;
  Real* dstates = nullptr;
};

// What bptt gives beside the gradients: J, the losses (N) at their addresses, the last states; and what it is given
// beside labels: the gradients with respect to the last states.
template <class Real>
struct Losses {
  double* total;
  Real* each;
  States<Real> last;
  States<const Real> dstate{};
};

// What sample is given: tokens `first` (B), uniforms (T, B); and gives: tokens (T, B), the last states.
template <class Real>
struct Sampling {
  ptrdiff_t T;
  const double* uniforms;
  double temperature;
  int64_t* tokens;
  States<Real> last;
};

// What a net that is held between steps is given for one: inputs of its B sequences, and which of them begin with
// states of zeros, or null for none. Where y (B, V) goes, or h (B, H) of a net without outputs.
template <class Real>
struct OneStep {
  Inputs<Real> inputs;
  const unsigned char* reset;
  Real* out;
};

// The rules of rnncore/optim.py, in its order.
enum class Rule { sgd, momentum, nesterov, adagrad, rmsprop, adam };
constexpr int step_numbers = 7;  // as many as a rule has at most

// One step of an optimizer.
template <class Real>
struct OptimizerStep {
  Rule rule;
  ptrdiff_t n;
  Real* x;
  const Real* dx;
  Real *first, *second;          // (n) each: what the optimizer remembers, null where its rule has no such vector
  double numbers[step_numbers];  // in the order of the rule's parameters
  double scale;                  // multiplies dx
  double longest, limit;         // of scale dx, the length and the elements; longest NaN: the length is not asked for
};

// Some memory, aligned to 64 bytes.
struct Memory {
  void* at;
  size_t size;
};

// What a kernel needs of the machine. Kernels are compiled for one instruction set each and must not
// use the standard library (vector.hpp says why), so memory and threads are handed in.
struct Machine {
  int threads;
  void* given;  // by the system for this call: handed to reserve and parallel
  // Memory for one call, so many bytes at least; 0: what is there. Its contents are arbitrary. Null if there is none.
  Memory (*reserve)(void* given, size_t bytes);
  // Runs task(argument, 0) ... task(argument, threads - 1) at the same time and waits for all. Returns false, and runs
  // none, if there are no such threads to be had.
  bool (*parallel)(void* given, int threads, void (*task)(void*, int), void* argument);
  // Called by each of these tasks, waits until all have called it.
  void (*meet)();
  // Whether the user wants the call to stop. Called from the calling thread only.
  bool (*interrupted)();
};

// A net that is held between steps, with packed weights and its states, in memory that is handed in: how much it takes,
// aligned to 64 bytes; puts it there; other parameters; its states; a step, false if it was interrupted.
template <class Real>
struct Holding {
  size_t (*size)(const Net&, const Real* flat, ptrdiff_t B, const Machine&);
  void (*hold)(void* memory, const Net&, const Real* flat, ptrdiff_t B, const Machine&);
  void (*load)(void* memory, const Real* flat);
  void (*put_state)(void* memory, const States<const Real>&);
  void (*take_state)(void* memory, const States<Real>&);
  bool (*step)(void* memory, const OneStep<Real>&);
};

template <class Real>
struct Kernels {
  // Each returns false if it was interrupted.
  bool (*forward)(const Problem<Real>&, const Outputs<Real>&, const Machine&);
  bool (*backward)(const Problem<Real>&, const Kept<Real>&, const OutputGradients<Real>&, const Gradients<Real>&,
                   const Machine&);
  bool (*bptt)(const Problem<Real>&, const Labels<Real>&, const Losses<Real>&, const Gradients<Real>&, const Machine&);
  // An output layer alone, which reads h as inputs: the losses, and gradients with respect to flat and to the inputs.
  bool (*outputs)(const Problem<Real>&, const Labels<Real>&, const Losses<Real>&, const Gradients<Real>&,
                  const Machine&);
  // Outputs y (N, V) into losses (N) and dy (N, V), all at the addresses of the steps.
  bool (*loss)(const Steps&, ptrdiff_t V, const Real* y, const Labels<Real>&, Real* losses, Real* dy, const Machine&);
  bool (*softmax)(ptrdiff_t rows, ptrdiff_t V, const Real* y, Real* p, const Machine&);
  // The problem has one step: the tokens to begin with, and the states.
  bool (*sample)(const Problem<Real>&, const Sampling<Real>&, const Machine&);
  Holding<Real> holding;
  double (*norm)(const Real* x, ptrdiff_t n);
  double (*clip)(Real* dx, ptrdiff_t n, double longest, double limit);
  void (*add_shortened)(Real* total, const Real* rows, ptrdiff_t count, ptrdiff_t n, double longest, double* lengths);
  double (*step)(const OptimizerStep<Real>&);
  void (*exp)(const Real* x, Real* out, ptrdiff_t n);
  void (*tanh)(const Real* x, Real* out, ptrdiff_t n);
  void (*sigmoid)(const Real* x, Real* out, ptrdiff_t n);
  void (*log)(const Real* x, Real* out, ptrdiff_t n);
  void (*log1p)(const Real* x, Real* out, ptrdiff_t n);
};

// What one instruction set compiles to.
struct Column {
  const CellShape* cells;
  int cell_count;
  Kernels<float> float32;
  Kernels<double> float64;
};

}  // namespace rnncore

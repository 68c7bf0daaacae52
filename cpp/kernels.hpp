// What one call is about, and the table of kernels that each instruction set fills: all that the two
// sides of the dispatch share.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace rnncore {

// What is general in a cell: rnncore/cells.py says what the words mean.
struct CellShape {
  const char* name;
  int gates, states, saved;
  bool apart;
  int late;

  constexpr int kept() const { return states - 1 + saved; }
};
constexpr int most_states = 2, most_gates = 4, most_saved = 5;

// What the tape keeps of a unit lies in rows of whole sixteens.
constexpr ptrdiff_t tape_width(ptrdiff_t H) { return (H + 15) / 16 * 16; }

// T steps, B sequences, X inputs, H hidden units, V outputs, G gates, S states, K kept on the tape. Every matrix is
// C-contiguous.
template <class Real>
struct Net {
  int cell;  // its number
  ptrdiff_t X, H, V;
  const Real *W_xh, *W_hh, *W_hy, *b_x, *b_h, *b_y;  // (GH, X) (GH, H) (V, H) (GH), or null, (GH) (V)
};

template <class Real>
struct Batch {
  ptrdiff_t T, B;
  const int64_t* tokens;   // (T, B), or null:
  const Real* vectors;     // (T, B, X)
  const Real* state;       // h_0 and what other states there are (S, B, H), or null: zeros
  const int64_t* lengths;  // (B), or null: T steps each
  ptrdiff_t tokens_ahead;  // how many the caller will have read in the end
};

template <class Real>
struct Labels {
  const int64_t* classes;     // (T, B), -1 for none; or null:
  const Real* distributions;  // (T, B, V), a row of zeros for none
};

// What forward gives.
template <class Real>
struct Outputs {
  Real *y, *h, *tape, *last;  // (T, B, V) (T, B, H) (T, B, K, tape_width) (S, B, H)
};

// What backward is given, each null for what J does not depend on directly.
template <class Real>
struct OutputGradients {
  const Real *dy, *dh, *dstate;  // (T, B, V) (T, B, H) (S, B, H)
};

template <class Real>
struct Gradients {
  Real *dW_xh, *dW_hh, *dW_hy, *db_x, *db_h, *db_y;  // shaped like the parameters
  Real *dstate, *dinputs;                            // (S, B, H) (T, B, X); dinputs null: not wanted
};

// What to learn by: the rules of rnncore/optim.py, in its order.
enum class Rule { sgd, momentum, nesterov, adagrad, rmsprop, adam };
constexpr int step_numbers = 7;  // as many as a rule has at most

// One step of an optimizer.
template <class Real>
struct Step {
  Rule rule;
  ptrdiff_t n;
  Real* x;
  const Real* dx;
  Real *first, *second;          // (n) each: what the optimizer remembers, null where its rule has no such vector
  double numbers[step_numbers];  // in the order of the rule's parameters
  double scale;                  // multiplies dx
  double longest, limit;         // of scale dx, the length and the elements; longest NaN: the length is not asked for
};

// What a kernel needs of the machine. Kernels are compiled for one instruction set each and must not
// use the standard library (vector.hpp says why), so memory and threads are handed in.
struct Machine {
  int threads;
  // Memory for one call, aligned to 64 bytes; its contents are arbitrary.
  void* (*reserve)(size_t bytes);
  // Runs task(argument, 0) ... task(argument, threads - 1) at the same time and waits for all. Throws, and runs
  // none, if there are no such threads to be had.
  void (*parallel)(int threads, void (*task)(void*, int), void* argument);
  // Called by each of these tasks, waits until all have called it.
  void (*meet)();
  // Whether the user wants the call to stop. Called from the calling thread only.
  bool (*interrupted)();
};

template <class Real>
struct Kernels {
  // Each returns false if it was interrupted.
  bool (*forward)(const Net<Real>&, const Batch<Real>&, const Outputs<Real>&, const Machine&);
  // h and tape as forward gave them.
  bool (*backward)(const Net<Real>&, const Batch<Real>&, const Real* h, const Real* tape, const OutputGradients<Real>&,
                   const Gradients<Real>&, const Machine&);
  // losses (T, B), last (S, B, H); J goes to *loss.
  bool (*bptt)(const Net<Real>&, const Batch<Real>&, const Labels<Real>&, double* loss, Real* losses, Real* last,
               const Gradients<Real>&, const Machine&);
  // Rows of y (T, B, V) into losses (T, B) and dy (T, B, V).
  bool (*cross_entropy)(const Batch<Real>&, ptrdiff_t V, const Real* y, const Labels<Real>&, Real* losses, Real* dy,
                        const Machine&);
  bool (*softmax)(ptrdiff_t rows, ptrdiff_t V, const Real* y, Real* p, const Machine&);
  // Tokens (T, B) drawn by uniforms (T, B) after the tokens `first` (B) and the states; last (S, B, H).
  bool (*sample)(const Net<Real>&, ptrdiff_t T, ptrdiff_t B, const int64_t* first, const Real* state,
                 const double* uniforms, double temperature, int64_t* tokens, Real* last, const Machine&);
  double (*norm)(const Real* x, ptrdiff_t n);
  double (*clip)(Real* dx, ptrdiff_t n, double longest, double limit);
  double (*step)(const Step<Real>&);
  void (*exp)(const Real* x, Real* out, ptrdiff_t n);
  void (*tanh)(const Real* x, Real* out, ptrdiff_t n);
  void (*sigmoid)(const Real* x, Real* out, ptrdiff_t n);
  void (*log)(const Real* x, Real* out, ptrdiff_t n);
};

// What one instruction set compiles to.
struct Columns {
  const CellShape* cells;
  int cell_count;
  Kernels<float> float32;
  Kernels<double> float64;
};

}  // namespace rnncore

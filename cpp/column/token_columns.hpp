// The input part of tokens: a token k stands for the k-th column of W_xh.
#pragma once

#include "trace.hpp"

namespace rnncore::RNNCORE_ISA::layer {

// Panels begin with the bias, and then have a row for each token; a table of columns is one panel.
template <class Real>
void add_column(const Panels<Real>& W_xh, Index token, Real* to) {
  using V = Vector<Real>;
  for (Index p = 0; p < W_xh.count; ++p) {
    const Index width = W_xh.column(p + 1) - W_xh.column(p);
    const Real *const bias = W_xh.panel(p), *const column = bias + (token + 1) * width;
    for (Index j = 0; j < width; j += lanes<Real>, to += lanes<Real>)
      store(to, load<V>(bias + j) + load<V>(column + j));
  }
}

// The same from W_xh itself, which lies by rows. Beyond the last unit it is +0.
template <class Real>
void gather_column(const LayerArrays<const Real>& arrays, const Sizes<Real>& n, Index token, Real* to) {
  const Real* const column = arrays.W_xh + token;
  for (Index j = 0; j < n.H; j += lanes<Real>)
    for (Index gate = 0; gate < n.shape().gates; ++gate, to += lanes<Real>)
      for (Index l = 0; l < lanes<Real>; ++l) {
        const Index row = gate * n.H + j + l;
        to[l] = j + l < n.H ? arrays.b_x[row] + column[row * n.X] : 0;
      }
}

// W_xh for tokens is one panel, that is a table of its columns, if it is not much larger than what is read of it.
template <class Real>
Panels<Real> take_input_panels(Arena& arena, const Sizes<Real>& n, const Inputs<Real>& inputs, Use spans, Index reads) {
  if (inputs.vectors) return linear::fit_panels<Real>(arena, n.H, n.X, spans, n.shape().gates);
  const Index columns = n.X <= tuning::token_table_factor * reads ? n.H : 0;
  return linear::take_panels<Real>(arena, columns, n.X, n.shape().gates, linear::divide_up(n.H, lanes<Real>));
}

}  // namespace rnncore::RNNCORE_ISA::layer

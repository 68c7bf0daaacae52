"""Parameters from and to the arrays of PyTorch, Keras and ONNX: the orders of their gates, and their biases.

Plain functions on arrays, none of which imports any of those libraries. Each takes what a user of the library holds,
and each ``to_`` gives what its ``from_`` takes.

What all have in common: cell names are those of :class:`rnncore.Params`. Shapes are checked. dtype is that of the
arrays, float32 if all are, float64 if any one is; arrays of another real dtype must say ``dtype=``, and are converted
to it. Arrays are copied. Where a library has two biases and the cell here has one (all but both "gru"), they are added,
with the rounding of one addition; on the way out the second one is zeros. Hence these functions are for parameters,
not for gradients: the gradient with respect to a sum is that with respect to each of its terms, and not their sum.

Stacks and two directions go both ways; all layers have one H. An embedding before a net is taken up: W_xh is the
product of the first layer's input weights and the embedding, and the net reads tokens. It does not come apart again:
on the way out an embedding is the identity, to stay frozen, and a warning says so.

Errors are ValueError for shapes and for what no cell here can represent (projections, peepholes, clipping, other
activations, reverse directions alone, layers of different sizes, directions that are summed), TypeError for dtypes and
names.
"""

from .keras import from_keras, to_keras
from .onnx import from_onnx, from_onnx_nodes, to_onnx, to_onnx_nodes
from .torch import from_torch, to_torch

__all__ = [
    "from_keras",
    "from_onnx",
    "from_onnx_nodes",
    "from_torch",
    "to_keras",
    "to_onnx",
    "to_onnx_nodes",
    "to_torch",
]

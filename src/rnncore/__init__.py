"""Gradients of recurrent networks on the CPU: backpropagation through time, with the same bits from every backend.

>>> import numpy as np, rnncore
>>> params = rnncore.init_params("rnn", inputs=65, hidden=100, outputs=65, seed=0, dtype="float32")
>>> text = np.arange(66) % 65
>>> result = rnncore.bptt(params, text[:-1], text[1:])
>>> params.flat -= 0.1 * result.grads.flat

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from . import convert, optim
from .api import backward, binary_cross_entropy, bptt, cross_entropy, forward, sample, softmax, squared_error
from .engines import backends, release_memory, use_backend
from .flow import GradientFlow, gradient_flow
from .init import init_params
from .masks import dropout_masks
from .params import Params
from .results import BackwardResult, BpttResult, ForwardResult, PerSequence
from .saved import Saved, load
from .stepper import Stepper
from .streams import chunks
from .verify import verify

__version__ = "0.1.0"

__all__ = [
    "BackwardResult",
    "BpttResult",
    "ForwardResult",
    "GradientFlow",
    "Params",
    "PerSequence",
    "Saved",
    "Stepper",
    "__version__",
    "backends",
    "backward",
    "binary_cross_entropy",
    "bptt",
    "chunks",
    "convert",
    "cross_entropy",
    "dropout_masks",
    "forward",
    "gradient_flow",
    "init_params",
    "load",
    "optim",
    "release_memory",
    "sample",
    "softmax",
    "squared_error",
    "use_backend",
    "verify",
]

"""Numbers to fill a shape with: parameters, inputs, labels and the initial state.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from shapes import Shape

import rnncore


@dataclass(frozen=True)
class Problem:
    """A shape with numbers: inputs (T, B, X), or tokens (T, B); labels (T, B); the initial state (B, H)."""

    shape: Shape
    dtype: str
    params: rnncore.Params
    inputs: npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    state: npt.NDArray[np.float32] | npt.NDArray[np.float64]


def problem(shape: Shape, dtype: str, seed: int = 0) -> Problem:
    """Weights large enough for tanh to bend, and small enough for gradients not to explode over the steps."""
    rng = np.random.default_rng(seed)
    X, H, V, B, T = shape.X, shape.H, shape.V, shape.B, shape.T

    def normal(scale: float, *sizes: int) -> npt.NDArray[np.float64]:
        return (scale * rng.standard_normal(sizes)).astype(dtype)

    params = rnncore.Params(
        "rnn",
        W_xh=normal(X**-0.5, H, X),
        W_hh=normal(0.7 * H**-0.5, H, H),
        W_hy=normal(H**-0.5, V, H),
        b_h=normal(0.1, H),
        b_y=normal(0.1, V),
    )
    inputs = rng.integers(0, X, (T, B)) if shape.tokens else normal(1.0, T, B, X)
    return Problem(shape, dtype, params, inputs, rng.integers(0, V, (T, B)), normal(0.5, B, H))

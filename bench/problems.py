"""Numbers to fill a shape with: parameters, inputs, labels and the initial state.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from shapes import Shape

import rnncore
from rnncore.cells import CELLS
from rnncore.cells import shapes as parameters


@dataclass(frozen=True)
class Problem:
    """A shape with numbers: inputs (T, B, X), or tokens (T, B); labels (T, B); the initial states (S, B, H)."""

    shape: Shape
    dtype: str
    params: rnncore.Params
    inputs: npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    states: npt.NDArray[np.float32] | npt.NDArray[np.float64]

    @property
    def state(self) -> Any:
        """As rnncore takes it: h, or for an LSTM the pair of h and c."""
        return self.states[0] if len(self.states) == 1 else tuple(self.states)


def problem(shape: Shape, dtype: str, seed: int = 0) -> Problem:
    """Weights large enough for the gates to bend, and small enough for gradients not to explode over the steps."""
    rng = np.random.default_rng(seed)
    X, H, V, B, T = shape.X, shape.H, shape.V, shape.B, shape.T
    scales = {"W_xh": X**-0.5, "W_hh": 0.7 * H**-0.5, "W_hy": H**-0.5}

    def normal(scale: float, *sizes: int) -> npt.NDArray[np.float64]:
        return (scale * rng.standard_normal(sizes)).astype(dtype)

    named = parameters(shape.cell, X, H, V).items()
    arrays: dict[str, Any] = {name: normal(scales.get(name, 0.1), *sizes) for name, sizes in named}
    inputs = rng.integers(0, X, (T, B)) if shape.tokens else normal(1.0, T, B, X)
    labels, states = rng.integers(0, V, (T, B)), normal(0.5, len(CELLS[shape.cell].states), B, H)
    params = rnncore.Params(shape.cell, tokens=shape.tokens, **arrays)
    return Problem(shape, dtype, params, inputs, labels, states)

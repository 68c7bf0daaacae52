"""The kinds of arrays inside rnncore, for annotations."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Arrays: TypeAlias = tuple[Array, ...]
Indices: TypeAlias = npt.NDArray[np.int64]
Steps: TypeAlias = npt.NDArray[Any]
"""Inputs or labels: one index a step, tokens or classes, or a row of reals, vectors or distributions."""
States: TypeAlias = Any
"""As a user has them: an array, or a tuple of them for a cell with several states."""

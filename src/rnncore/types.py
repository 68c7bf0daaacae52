"""The kinds of arrays inside rnncore, for annotations."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
Array: TypeAlias = npt.NDArray[np.floating[Any]]
Arrays: TypeAlias = tuple[Array, ...]
Indices: TypeAlias = npt.NDArray[np.int64]
Inputs: TypeAlias = npt.NDArray[Any]
"""One token a step, or a row of reals, a vector."""
Labels: TypeAlias = npt.NDArray[Any]
"""One class a step, or a row of reals, a distribution."""
States: TypeAlias = Any
"""As a user has them: an array, or a tuple of arrays for a cell with several states; None for zeros."""

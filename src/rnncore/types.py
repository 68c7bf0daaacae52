"""The kinds of arrays inside rnncore, for annotations."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
Array: TypeAlias = npt.NDArray[np.floating[Any]]
Arrays: TypeAlias = tuple[Array, ...]
Addresses: TypeAlias = tuple[int, ...]
"""Where arrays lie in memory; what holds it is the caller's."""
Indices: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Inputs: TypeAlias = npt.NDArray[Any]
"""One token a step, or a row of reals, a vector."""
Labels: TypeAlias = Any
"""An array: one class a step, or a row of reals; or a tuple of it and weights, one a step."""
States: TypeAlias = Any
"""As a user has them: an array, or a tuple of arrays for a cell with several states; None for zeros."""

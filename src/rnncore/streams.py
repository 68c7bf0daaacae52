"""Long streams, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .lists import as_list
from .types import AnyArray
from .values import SEQUENCES, as_integer, as_numbers
from .words import kind_of, what


def chunks(inputs: Any, labels: Any, steps: int) -> Iterator[tuple[Any, Any]]:
    """Return an iterator over the pieces of a long stream, ``steps`` steps each, the last one perhaps shorter.

    inputs and labels: as :func:`bptt` takes them, with a label for each step: arrays (T, ...), of which a piece is a
    pair of views (steps, ...); or lists of arrays (T_b, ...), of which a piece is a pair of lists of views, empty ones
    where a sequence has ended. Hand the state of one piece to the next: outputs, losses and states then have the bits
    of the whole stream, and the memory of a call is that of a piece.

    The gradients are not those of the whole stream. The state at the beginning of a piece is taken for a constant, so
    that a loss sends nothing to the steps of earlier pieces: that of a piece's first step reaches that step only, that
    of its last step all of the piece ("truncated backpropagation through time": Williams and Peng 1990, "An efficient
    gradient-based algorithm for on-line training of recurrent network trajectories"). What a net has to remember for
    longer than a piece it hardly learns. If parameters change after each piece, its state was made by earlier ones.

    Raises ValueError or TypeError, before the first piece, for anything else.

    >>> import numpy as np, rnncore
    >>> params = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=5, seed=0, tokens=True)
    >>> text, state, J = np.arange(11) % 5, None, 0.0
    >>> for x, labels in chunks(text[:-1], text[1:], 4):
    ...     result = rnncore.bptt(params, x, labels, state=state)
    ...     state, J = result.state, J + result.loss
    ...     print(len(x), end=" ")
    4 4 2
    >>> round(J, 5) == round(rnncore.bptt(params, text[:-1], text[1:]).loss, 5)
    True
    """
    count = as_integer("steps", steps, 1)
    xs, ls = as_list("inputs", inputs), as_list("labels", labels)
    if isinstance(xs, SEQUENCES) != isinstance(ls, SEQUENCES):
        raise TypeError(f"inputs and labels must both be arrays, or both lists, got {what(inputs)} and {what(labels)}")
    if not isinstance(xs, SEQUENCES):
        x, label = _stream("inputs", xs), _stream("labels", ls)
        _require_as_many("inputs", x, "labels", label)
        return ((x[t : t + count], label[t : t + count]) for t in range(0, len(x), count))
    many, own = _streams("inputs", xs), _streams("labels", ls)
    if len(many) != len(own):
        raise ValueError(f"inputs and labels must have as many sequences, got {len(many)} and {len(own)}")
    for b, (x, label) in enumerate(zip(many, own, strict=True)):
        _require_as_many(f"inputs[{b}]", x, f"labels[{b}]", label)
    longest = max(map(len, many))
    return ((_piece(many, t, count), _piece(own, t, count)) for t in range(0, longest, count))


def _piece(sequences: list[AnyArray], start: int, count: int) -> list[AnyArray]:
    """Return so many steps of each sequence, as views."""
    return [sequence[start : start + count] for sequence in sequences]


def _streams(name: str, value: Any) -> list[AnyArray]:
    """Return the arrays of a list of sequences."""
    if not value:
        raise ValueError(f"{name} must have at least one sequence, got an empty {type(value).__name__}")
    return [_stream(f"{name}[{b}]", sequence) for b, sequence in enumerate(value)]


def _stream(name: str, value: object) -> AnyArray:
    """Return an array with an axis for steps; what is in it, ``bptt`` checks. Labels may be booleans."""
    array = value if isinstance(value, np.ndarray) and value.dtype.kind == "b" else as_numbers(name, value)
    if array.ndim == 0:
        raise ValueError(f"{name} must have an axis for steps, got the number {array[()]!s}{_remedy(name)}")
    return array


def _remedy(name: str) -> str:
    """Return what is probably meant where an element of a list is a number."""
    whole, bracket, _ = name.partition("[")
    if not bracket:
        return ": a stream that is cut needs a label for each step"
    return f": a list is a batch of sequences; for one sequence, write np.array({whole})"


def _require_as_many(of_inputs: str, x: AnyArray, of_labels: str, label: AnyArray) -> None:
    """Raise unless there is a label for each step."""
    if len(x) != len(label):
        raise ValueError(
            f"{of_inputs} and {of_labels} must have as many steps, got {kind_of(x)} and {kind_of(label)}: "
            "a stream that is cut needs a label for each step"
        )

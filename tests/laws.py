"""What the laws of the results share: nets by chance, and how a law is tried on them."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from nets import Array, Net, Results, States, as_states, each_state, make_net, with_changes

import rnncore
from rnncore.cells import CELLS

OF_STEPS = ("inputs", "labels", "dh", "resets")
"""What a net has for each step."""

PER_SEQUENCE = ("y", "h", "state", "losses", "dy", "dstate", "dinputs")
"""What is the same to the bit for a sequence alone and in any batch; weight gradients and J are sums over a batch."""

DTYPES = st.sampled_from(("float32", "float64"))


@st.composite
def nets(draw: st.DrawFn, **fixed: Any) -> Net:
    """A net of small sizes; hypothesis shrinks it."""
    arguments = {
        "T": draw(st.integers(0, 9)),
        "B": draw(st.integers(1, 9)),
        "X": draw(st.integers(1, 19)),
        "H": draw(st.integers(1, 34)),
        "V": draw(st.integers(1, 19)),
        "dtype": draw(DTYPES),
        "seed": draw(st.integers(1, 999)),
        "tokens": draw(st.booleans()),
        "labels": draw(st.sampled_from(("classes", "some", "distributions", "last"))),
        "lengths": draw(st.sampled_from(("full", "ragged"))),
        "resets": draw(st.sampled_from(("none", "none", "some", "most", "first"))),
        "state": draw(st.booleans()),
        "own_loss": draw(st.booleans()),
        "scale": draw(st.sampled_from((1.0, 1.0, 20.0, 1e-3))),
    }
    return make_net(**{**arguments, **fixed})


def law(examples: int = 150, **fixed: Any) -> Callable[[Callable[..., None]], Any]:
    """Tries a law on many nets of each cell with the fastest engine and on a few with NumPy; each law has its own."""

    def decorate(test: Callable[..., None]) -> Any:
        @pytest.mark.parametrize(("backend", "examples"), [("fastest", examples), ("numpy", min(8, examples // 10))])
        @pytest.mark.parametrize("cell", CELLS)
        def tried(cell: str, backend: str, examples: int) -> None:
            name = rnncore.backends()[0] if backend == "fastest" else backend
            number = zlib.crc32(test.__name__.encode())
            if cell != "rnn":
                number, examples = zlib.crc32(f"{test.__name__} {cell}".encode()), examples // 2

            @seed(number)
            @settings(max_examples=examples)
            @given(nets(cell=cell, **fixed), st.data())
            def tries(net: Net, data: st.DataObject) -> None:
                test(net, name, data)

            tries()

        tried.__doc__, tried.__name__ = test.__doc__, test.__name__
        return tried

    return decorate


def per_sequence(results: Results) -> Results:
    return {name: array for name, array in results.items() if name.split()[1] in PER_SEQUENCE}


def lengths_of(net: Net) -> Array:
    T, B = net.inputs.shape[:2]
    return np.full(B, T) if net.lengths is None else net.lengths


def exists(net: Net) -> Array:
    """Which cells of the grid (T, B) are steps."""
    return np.arange(len(net.inputs))[:, None] < lengths_of(net)


def sequences(net: Net, which: Array) -> Net:
    """The net with some of its sequences, in the given order."""
    changes = {name: getattr(net, name)[:, which] for name in OF_STEPS if given_(net, name)}
    changes |= {
        name: each_state(lambda array: array[which], getattr(net, name)) for name in ("state", "dstate", "lengths")
    }
    return with_changes(net, **changes)


def given_(net: Net, name: str) -> bool:
    return getattr(net, name) is not None


def pick(results: Results, which: Array) -> Results:
    """The same sequences of results: states are (B, H), all else (T, B, ...)."""
    return {name: array[which] if "state" in name else array[:, which] for name, array in results.items()}


def as_lists(net: Net) -> dict[str, Any]:
    return {
        name: [getattr(net, name)[:n, b] for b, n in enumerate(lengths_of(net))]
        for name in OF_STEPS
        if given_(net, name)
    }


def none(net: Net) -> States:
    """States that are zero."""
    zero = np.zeros((net.inputs.shape[1], net.params.hidden), net.params.dtype)
    return as_states([zero] * len(CELLS[net.params.cell].states))

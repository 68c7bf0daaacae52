"""Computes nets whose rows do not fill vectors, by a core of tools/slow_numbers; prints which of them it reported.

    python tools/call_in_slow_memory.py FILE    # FILE: gets what the core reports

Each net has moderate random numbers, none of them subnormal.
"""

import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import rnncore
from rnncore.cells import CELLS

SIZES = ((1, 7, 3), (5, 6, 20), (33, 9, 1))  # B, T, X
Call = tuple[str, Callable[[], Any]]


def calls(params: rnncore.Params, B: int, T: int, V: int, random: np.random.Generator) -> Iterator[Call]:
    """Yield what a net can be asked for."""
    dtype, tokens = params.dtype, bool(params.net.tokens)
    inputs = (
        random.integers(0, params.net.inputs, (T, B))
        if tokens
        else random.normal(size=(T, B, params.net.inputs)).astype(dtype)
    )
    by: dict[str, Any] = {("dy" if V else "dh"): random.normal(size=(T, B, V or params.net.width)).astype(dtype)}

    def halves(**options: Any) -> None:
        kept = rnncore.forward(params, inputs, **options)
        rnncore.backward(params, kept, **by, need_dinputs=not tokens)

    yield "forward and backward", halves
    if not params.net.bidirectional:
        yield "resets", lambda: halves(resets=random.random((T, B)) < 0.2)
    if V == 0:
        return
    classes, lengths = random.integers(0, V, (T, B)), random.integers(0, T + 1, B)
    reals = np.full((T, B, V), 1 / V, dtype)
    asked: dict[str, tuple[Any, dict[str, Any]]] = {
        "classes": (classes, {}),
        "distributions": (reals, {}),
        "binary": (reals, {"loss": "binary_cross_entropy"}),
        "squared error": (reals, {"loss": "squared_error"}),
        "lengths": (classes, {"lengths": lengths}),
        "norms": (classes, {"per_sequence": "norms"}),
        "gradients": (classes, {"per_sequence": True}),
        "windows": (classes, {"truncate": 3}),
        "last": (classes[0], {}),
    }
    for name, (labels, options) in asked.items():
        yield name, functools.partial(rnncore.bptt, params, inputs, labels, **options)


def nets() -> Iterator[tuple[str, rnncore.Params, int, int, int]]:
    """Yield nets, their names, B, T and V."""
    for cell, dtype, H, V, (B, T, X) in itertools.product(
        CELLS, ("float32", "float64"), (1, 5, 33), (0, 2, 9, 17), SIZES
    ):
        for tokens in (False, True):
            name = f"{cell} {dtype} X={X} H={H} V={V} B={B} T={T} tokens={tokens}"
            yield name, rnncore.init_params(cell, X, H, V, dtype=dtype, seed=0, tokens=tokens), B, T, V
        deep: dict[str, Any] = {"layers": 2, "bidirectional": True, "tokens": False}
        yield f"{name}, layers", rnncore.init_params(cell, X, H, V, dtype=dtype, seed=0, **deep), B, T, V


def main(path: str) -> int:
    """Return 1 if the core reported anything."""
    random, done, found = np.random.default_rng(0), 0, 0
    with open(path, "w+b") as reports:
        shown = os.dup(2)
        os.dup2(reports.fileno(), 2)
        try:
            for net, params, B, T, V in nets():
                for asked, call in calls(params, B, T, V, random):
                    before = os.fstat(2).st_size
                    call()
                    done += 1
                    if os.fstat(2).st_size > before:
                        found += 1
                        print(f"{net}: {asked}")
        finally:
            os.dup2(shown, 2)
    print(f"{found} of {done} calls met subnormal numbers")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

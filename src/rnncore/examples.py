"""The built-in nets of ``python -m rnncore verify``, small enough for the definition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .cells import CELLS
from .init import init_params
from .masks import dropout_masks
from .params import Params
from .verify import verify
from .verify.report import Report


class Example(NamedTuple):
    """Describes a net to verify, and why this one."""

    why: str
    params: Params
    arguments: dict[str, Any]

    def verify(self) -> Report:
        """Return its report."""
        return verify(self.params, **self.arguments)


def examples() -> Iterator[Example]:
    """Yield the examples.

    Every cell has nets of both dtypes, and every kind of net is there in both.
    """
    rng = np.random.default_rng(0)
    kinds = (_stream, _ragged, _vectors, _large, _wide, _both_ways, _stack)
    for n, (cell, kind) in enumerate(itertools.product(CELLS, kinds)):
        dtype = ("float32", "float64")[n % 2]
        why, net, arguments = kind(rng, cell, dtype)
        yield Example(f"{cell}: {why}, {dtype}", net, arguments)


Made: TypeAlias = tuple[str, Params, dict[str, Any]]


def _stream(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=11, hidden=17, outputs=11, seed=1, dtype=dtype)
    text = rng.integers(0, 11, 8)
    return "one stream of tokens", net, {"inputs": text[:-1], "labels": text[1:]}


def _ragged(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=5, hidden=9, outputs=5, seed=2, dtype=dtype)
    texts = [rng.integers(0, 5, n + 1) for n in (3, 0, 5)]
    inputs, labels = [text[:-1] for text in texts], [np.where(text[1:] == 0, -1, text[1:]) for text in texts]
    return "a list of sequences, labels -1", net, {"inputs": inputs, "labels": labels}


def _vectors(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=3, hidden=8, outputs=4, seed=3, dtype=dtype)
    inputs, labels = rng.normal(size=(3, 65, 3)), rng.dirichlet(np.ones(4), (3, 65)).astype(dtype)
    return "vectors, distributions, a state", net, {"inputs": inputs, "labels": labels, "state": _state(rng, net, 65)}


def _large(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=4, hidden=7, outputs=3, seed=4, dtype=dtype)
    net.flat *= 30
    arguments = {"inputs": rng.integers(0, 4, (5, 2)), "labels": rng.integers(0, 3, (5, 2))}
    return "large weights", net, arguments


def _wide(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=131, hidden=130, outputs=2, seed=5, dtype=dtype)
    arguments = {"inputs": rng.normal(size=(2, 131)), "labels": np.array([0, 1]), "state": _state(rng, net, None)}
    return "sums longer than a block", net, arguments


def _both_ways(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=3, hidden=5, outputs=4, layers=2, bidirectional=True, seed=6, dtype=dtype)
    inputs, labels = [rng.normal(size=(n, 3)) for n in (4, 0, 2)], [rng.integers(0, 4, n) for n in (4, 0, 2)]
    masks = dropout_masks(net, inputs, rate=0.3, seed=1)
    return "two layers, two directions, masks", net, {"inputs": inputs, "labels": labels, "dropout_masks": masks}


def _stack(rng: np.random.Generator, cell: str, dtype: str) -> Made:
    net = init_params(cell, inputs=5, hidden=6, outputs=3, layers=3, tokens=True, seed=7, dtype=dtype)
    return "three layers, one label each", net, {"inputs": rng.integers(0, 5, (4, 3)), "labels": rng.integers(0, 3, 3)}


def _state(rng: np.random.Generator, net: Params, B: int | None) -> Any:
    """Return random states of a net for B sequences, or for one without an axis B."""
    shape = (net.hidden,) if B is None else (B, net.hidden)
    states = tuple(rng.uniform(-1, 1, shape) for _ in CELLS[net.cell].states)
    return states if len(states) > 1 else states[0]

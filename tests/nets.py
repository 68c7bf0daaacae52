"""Nets to test with, what an engine makes of one, and the comparison of two results to the last bit.

T steps, B sequences, X inputs, H hidden units, V outputs. Every number comes from ``Numbers``, which
gives the same ones on every machine and with every version of NumPy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import rnncore
from rnncore.cells import CELLS, shapes

Array = npt.NDArray[Any]
Results = dict[str, Array]
States: TypeAlias = Any
"""An array, or a tuple of them, (h, c), of a cell with several states."""


class Numbers:
    """An endless row of pseudo-random numbers: splitmix64, and only exact or IEEE operations on it.

    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """

    def __init__(self, seed: int) -> None:
        self.taken = np.uint64(seed << 32)

    def bits(self, *shape: int) -> Array:
        """Whole numbers below 2^64."""
        n = self.taken + np.arange(1, np.prod(shape, dtype=np.int64) + 1, dtype=np.uint64)
        self.taken += np.uint64(n.size)
        n = n * np.uint64(0x9E3779B97F4A7C15)
        n = (n ^ (n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        n = (n ^ (n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (n ^ (n >> np.uint64(31))).reshape(shape)

    def below(self, end: int, *shape: int) -> Array:
        """Whole numbers from 0 to end - 1."""
        return (self.bits(*shape) % np.uint64(end)).astype(np.int64)

    def fractions(self, *shape: int) -> Array:
        """float64 numbers in [0, 1)."""
        return (self.bits(*shape) >> np.uint64(11)) * 2.0**-53

    def symmetric(self, bound: float, *shape: int) -> Array:
        """float64 numbers in [-bound, bound)."""
        return bound * (2 * self.fractions(*shape) - 1)

    def one_of(self, options: Any) -> Any:
        return options[int(self.below(len(options)))]


@dataclass(frozen=True)
class Net:
    """All that a call needs. Without labels there is no bptt; dh and dstate are a loss of the user's own."""

    params: rnncore.Params
    inputs: Array
    labels: Array | None
    state: States = None
    lengths: Array | None = None
    dh: Array | None = None
    dstate: States = None
    dropout_masks: list[Array] | None = None
    need_dinputs: bool = False
    resets: Array | None = None
    offsets: Array | None = None

    @property
    def own_loss(self) -> bool:
        return self.dh is not None or self.dstate is not None


def make_net(
    T: int,
    B: int,
    X: int,
    H: int,
    V: int,
    dtype: str = "float32",
    *,
    seed: int = 1,
    tokens: bool = False,
    labels: str = "classes",
    lengths: str = "full",
    state: bool = True,
    own_loss: bool = False,
    scale: float = 1.0,
    cell: str = "rnn",
    layers: int = 1,
    bidirectional: bool = False,
    dropout: bool = False,
    resets: str = "none",
) -> Net:
    """A net of these sizes.

    labels: "classes", "distributions", "some" (a third of the classes are -1), "last" (all but the last
    step's are -1), "none" (all are -1), or "absent". lengths: "full" (no argument), "ragged", or "empty".
    resets: "none" (no argument), "some" (a third of the steps), "most" (all but a third), "first" (the first
    steps), or "all"; padding has them like the rest. scale multiplies all weights, which are otherwise small
    enough for gradients neither to vanish nor explode.
    """
    numbers = Numbers(seed)
    bounds = {"W_xh": scale * X**-0.5, "W_hh": scale * 1.5 * H**-0.5, "W_hy": scale * 2 * H**-0.5}
    arrays = {
        name: numbers.symmetric(bounds.get(name.rpartition(".")[2], 0.25), *shape).astype(dtype)
        for name, shape in shapes(cell, X, H, V, layers, bidirectional).items()
    }
    directions = 1 + bidirectional
    parts = layers * directions if layers * directions > 1 else None
    return Net(
        rnncore.Params(cell, tokens=tokens, **arrays),
        numbers.below(X, T, B) if tokens else numbers.symmetric(1.5, T, B, X).astype(dtype),
        None if V == 0 else make_labels(numbers, T, B, V, labels, dtype),
        make_states(numbers, cell, 0.5, B, H, dtype, parts) if state else None,
        make_lengths(numbers, T, B, lengths),
        numbers.symmetric(1.0, T, B, directions * H).astype(dtype) if own_loss else None,
        make_states(numbers, cell, 1.0, B, H, dtype, parts) if own_loss else None,
        [make_mask(numbers, T, B, directions * H, dtype) for _ in range(layers - 1)] if dropout else None,
        need_dinputs=not tokens,
        resets=make_resets(numbers, T, B, resets),
    )


def make_mask(numbers: Numbers, T: int, B: int, width: int, dtype: str) -> Array:
    """A third of the numbers are 0, the others 1.5."""
    return np.where(numbers.below(3, T, B, width) == 0, 0, 1.5).astype(dtype)


def make_states(
    numbers: Numbers, cell: str, bound: float, B: int, H: int, dtype: str, parts: int | None = None
) -> States:
    """States (B, H), or (parts, B, H)."""
    shape = (B, H) if parts is None else (parts, B, H)
    return as_states([numbers.symmetric(bound, *shape).astype(dtype) for _ in CELLS[cell].states])


def as_states(arrays: Any) -> States:
    """Several arrays as a tuple, and one as it is: how rnncore takes and gives the states of a cell."""
    arrays = tuple(arrays)
    return arrays if len(arrays) > 1 else arrays[0]


def state_arrays(states: States) -> tuple[Array, ...]:
    """The arrays of some states, h first."""
    return states if isinstance(states, tuple) else (states,)


def each_state(change: Callable[[Array], Array], states: States) -> States:
    """The states with each array changed; None stays None."""
    return None if states is None else as_states(change(array) for array in state_arrays(states))


def named_states(name: str, cell: str, states: States) -> Results:
    """By name: "state" of a cell with one, "state h" and "state c" of a cell with two."""
    if len(CELLS[cell].states) == 1:
        return {name: states}
    return {f"{name} {letter}": array for letter, array in zip(CELLS[cell].states, states, strict=True)}


def make_labels(numbers: Numbers, T: int, B: int, V: int, kind: str, dtype: str) -> Array | None:
    if kind == "absent":
        return None
    if kind == "distributions":
        return make_distributions(numbers, T, B, V, dtype)
    labels = numbers.below(V, T, B)
    if kind == "some":
        labels[numbers.below(3, T, B) == 0] = -1
    elif kind == "last":
        labels[:-1] = -1
    elif kind == "none":
        labels[:] = -1
    return labels


def make_distributions(numbers: Numbers, T: int, B: int, V: int, dtype: str) -> Array:
    """A third one-hot, a third with holes, a sixth without loss, the rest dense."""
    weights = numbers.fractions(T, B, V) + 2.0**-20
    kind = numbers.below(6, T, B)
    hot = np.arange(V) == numbers.below(V, T, B)[..., None]
    weights[(kind < 2)[..., None] & ~hot] = 0
    weights[((kind == 2) | (kind == 3))[..., None] & ~hot & (numbers.below(2, T, B, V) == 0)] = 0
    weights /= weights.sum(axis=-1, keepdims=True)
    weights[kind == 4] = 0
    return weights.astype(dtype)


def make_lengths(numbers: Numbers, T: int, B: int, kind: str) -> Array | None:
    """Ragged lengths have an empty sequence and a full one wherever there is room for both."""
    if kind == "full":
        return None
    if kind == "empty":
        return np.zeros(B, np.int64)
    lengths = numbers.below(T + 1, B)
    lengths[-1] = 0
    lengths[0] = T
    return lengths


def make_resets(numbers: Numbers, T: int, B: int, kind: str) -> Array | None:
    if kind == "none":
        return None
    if kind in ("first", "all"):
        return np.broadcast_to(np.arange(T)[:, None] < (1 if kind == "first" else T), (T, B)).copy()
    resets = numbers.below(3, T, B) == 0
    resets[T // 2 : T // 2 + 1, B // 2] = True
    return resets == (kind == "some")


def run(net: Net, backend: str, threads: int | None = None) -> Results:
    """Everything that an engine returns for a net, by name: forward, cross_entropy, backward and bptt."""
    return run_parts(net, backend, threads) | run_bptt(net, backend, threads)


def given(net: Net) -> dict[str, Any]:
    """What forward and bptt are given beside inputs and labels."""
    return {name: getattr(net, name) for name in ("state", "lengths", "offsets", "resets", "dropout_masks")}


def run_parts(net: Net, backend: str, threads: int | None = None) -> Results:
    """forward, cross_entropy and backward in a row."""
    options: dict[str, Any] = {"backend": backend, "threads": threads}
    out = rnncore.forward(net.params, net.inputs, **given(net), **options)
    results = {"forward y": out.y, "forward h": out.h} | named_states("forward state", net.params.cell, out.state)
    dy = None
    if net.labels is not None:
        losses, dy = rnncore.cross_entropy(out.y, net.labels, lengths=net.lengths, backend=backend)
        results |= {"cross_entropy losses": losses, "cross_entropy dy": dy}
    back = rnncore.backward(
        net.params, out, dy=dy, dh=net.dh, dstate=net.dstate, need_dinputs=net.need_dinputs, **options
    )
    return results | gradients("backward", back)


def run_bptt(net: Net, backend: str, threads: int | None = None) -> Results:
    """The fused path; a net without labels has none."""
    if net.labels is None:
        return {}
    result = rnncore.bptt(
        net.params,
        net.inputs,
        net.labels,
        **given(net),
        need_dinputs=net.need_dinputs,
        backend=backend,
        threads=threads,
    )
    assert type(result.loss) is float
    results = {"bptt loss": np.array(result.loss), "bptt losses": result.losses}
    return results | named_states("bptt state", net.params.cell, result.state) | gradients("bptt", result)


def gradients(call: str, result: Any) -> Results:
    results = {f"{call} grads.{name}": array for name, array in named_arrays(result.grads).items()}
    results |= named_states(f"{call} dstate", result.grads.cell, result.dstate)
    if result.dinputs is not None:
        results[f"{call} dinputs"] = result.dinputs
    return results


def named_arrays(params: rnncore.Params) -> Results:
    return dict(params)


def reference(net: Net) -> Results:
    """What the NumPy column makes of a net.

    Its bptt is those three calls in a row (test_properties shows it), so they serve for both.
    """
    results = run_parts(net, "numpy")
    if net.labels is None:
        return results
    if net.own_loss:
        return results | run_bptt(net, "numpy")
    bptt = {name.replace("backward", "bptt"): array for name, array in results.items() if name.startswith("backward")}
    losses = results["cross_entropy losses"]
    bptt |= {name.replace("forward", "bptt"): array for name, array in results.items() if "forward state" in name}
    return results | bptt | {"bptt loss": fold(losses), "bptt losses": losses}


def fold(losses: Array) -> Array:
    """J from the losses: float64, row i in lane i mod 16, then folded 8, 4, 2, 1."""
    lanes = [0.0] * 16
    for i, loss in enumerate(losses.reshape(-1).tolist()):
        lanes[i % 16] += loss
    for half in (8, 4, 2, 1):
        lanes = [lanes[i] + lanes[i + half] for i in range(half)]
    return np.array(lanes[0])


def bits(array: Array) -> Array:
    """The bits of every element, with one NaN for all: which NaN an operation returns, no standard says."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return np.asarray(array, order="C").view(f"u{array.itemsize}")


def assert_same_bits(expected: Mapping[str, Array], found: Mapping[str, Array], cell: str = "rnn") -> None:
    """Same names, dtypes, shapes and bits; +0 differs from -0, and any NaN equals any NaN."""
    assert expected.keys() == found.keys()
    complaints = [difference(cell, name, expected[name], found[name]) for name in expected]
    assert not any(complaints), "\n" + "\n".join(filter(None, complaints))


def difference(cell: str, name: str, expected: Array, found: Array) -> str:
    """Where two arrays differ first, and in how many elements; empty if they do not."""
    if expected.dtype != found.dtype or expected.shape != found.shape:
        return f"{cell} {name}: expected {expected.dtype} {expected.shape}, found {found.dtype} {found.shape}"
    differs = bits(expected) != bits(found)
    if not differs.any():
        return ""
    where = tuple(int(i) for i in np.argwhere(differs)[0])
    index = f"[{', '.join(map(str, where))}]" if where else ""
    pair = f"expected {float(expected[where]).hex()}, found {float(found[where]).hex()}"
    return f"{cell} {name}{index}: {pair} ({differs.sum()} of {differs.size} elements differ)"


def with_changes(net: Net, **changes: Any) -> Net:
    return replace(net, **changes)

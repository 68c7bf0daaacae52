"""rnncore's own contenders, and the proof that they agree to the last bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from problems import Problem, problem
from shapes import GATES, SAME_COST, Shape, reduced, same_cost
from timing import Contender, Results, repeat

import rnncore
from rnncore.backends import engines

BASELINE = 20

Bits = dict[str, npt.NDArray[np.unsignedinteger]]


def gradient(task: Problem, backend: str | None, threads: int | None) -> rnncore.BpttResult:
    """The call that is timed: one sequence without its axis where the batch is 1, as a user would."""
    if task.shape.B == 1:
        inputs, labels = task.inputs[:, 0], task.labels[:, 0]
    else:
        inputs, labels = task.inputs, task.labels
    return rnncore.bptt(task.params, inputs, labels, state=initial(task), backend=backend, threads=threads)


def initial(task: Problem) -> Any:
    """The initial state, without the axis of the sequences where there is one."""
    if task.shape.B > 1:
        return task.state
    first = [state[0].copy() for state in task.states]
    return first[0] if len(first) == 1 else tuple(first)


def named(result: rnncore.BpttResult) -> Results:
    """What peers can be compared with: the loss, and the gradients of parameters and initial states (S, B, H)."""
    gradients = {name: getattr(result.grads, name) for name in result.grads.names()}
    dstates = result.dstate if isinstance(result.dstate, tuple) else (result.dstate,)
    return {"loss": np.array(result.loss), "dstate": np.stack([np.atleast_2d(d) for d in dstates]), **gradients}


def contender(task: Problem, backend: str, threads: int | None) -> Contender:
    """An engine through the public function; its arguments are prepared, so that the call alone is timed."""
    one = task.shape.B == 1
    inputs = task.inputs[:, 0].copy() if one else task.inputs
    labels = task.labels[:, 0].copy() if one else task.labels
    state = initial(task)
    params, bptt = task.params, rnncore.bptt

    def call() -> None:
        bptt(params, inputs, labels, state=state, backend=backend, threads=threads)

    return Contender(f"rnncore {backend}", threads, repeat(call), lambda: named(gradient(task, backend, threads)))


def contenders(task: Problem, all_cores: int) -> list[Contender]:
    """The default instruction set on one thread, all cores, and as it chooses; AVX2 if that is not it, and Numba."""
    available = engines()
    chosen: list[tuple[str, int | None]] = []
    if any(name.startswith("cpp.") for name in available):
        chosen += [("cpp", 1), ("cpp", all_cores), ("cpp", None)]
        if "cpp.avx2" in available[:-1]:
            chosen.append(("cpp.avx2", 1))
    if "numba" in available:
        chosen.append(("numba", 1))
    made = [contender(task, backend, threads) for backend, threads in dict.fromkeys(chosen)]
    return made[:1] + yardstick(task.shape, task.dtype) + made[1:] if chosen[:1] == [("cpp", 1)] else made


def yardstick(shape: Shape, dtype: str) -> list[Contender]:
    """What a cell of several gates is measured by: "rnn" with products of the same cost, whose turn is the next one."""
    if GATES[shape.cell] == 1:
        return []
    return [replace(contender(problem(same_cost(shape), dtype), "cpp", 1), name=SAME_COST)]


def bits(task: Problem, backend: str, threads: int | None) -> Bits:
    """All that a call returns, as bit patterns."""
    result = gradient(task, backend, threads)
    arrays = {
        "loss": np.array(result.loss),
        "losses": result.losses,
        "grads": result.grads.flat,
        "state": np.asarray(result.state),
        "dstate": np.asarray(result.dstate),
    }
    return {name: np.ascontiguousarray(array).view(f"u{array.itemsize}") for name, array in arrays.items()}


def differences(task: Problem, runs: list[tuple[str, int | None]]) -> list[str]:
    """Which of these runs differ from the first of them, and where; empty if none does."""
    found: list[str] = []
    if not runs:
        return found
    expected = bits(task, *runs[0])
    for backend, threads in runs[1:]:
        given = bits(task, backend, threads)
        wrong = [name for name in expected if not np.array_equal(expected[name], given[name])]
        if wrong:
            found.append(f"{backend} on {threads or 'auto'} threads differs from {runs[0][0]} in {', '.join(wrong)}")
    return found


def check(shape: Shape, dtype: str, all_cores: int, definition_flops: float) -> dict[str, object]:
    """Every compiled engine and thread count in full, and with NumPy on as much of the shape as NumPy can do.

    The baseline without FMA instructions is between: it does ``BASELINE`` times as much as NumPy.
    """
    available = engines()
    fast = [name for name in available if name != "numpy"]
    full = [name for name in fast if name != "cpp.baseline" or name == fast[-1]]
    counts = (1, all_cores, None)
    small, medium = reduced(shape, definition_flops), reduced(shape, BASELINE * definition_flops)
    wrong = differences(problem(small, dtype), [("numpy", 1), *((name, n) for name in fast for n in counts)])
    if full != fast:
        wrong += differences(problem(medium, dtype), [(name, all_cores) for name in fast])
    wrong += differences(problem(shape, dtype), [(name, n) for name in full for n in counts])
    return {
        "cell": shape.cell,
        "shape": shape.name,
        "dtype": dtype,
        "engines": available,
        "in_full": full,
        "numpy_sizes": small.sizes,
        "equal": not wrong,
        "differences": wrong,
    }

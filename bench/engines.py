"""rnncore's own contenders, and the proof that they agree to the last bit."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from problems import Problem, problem
from shapes import GATES, SAME_COST, TWO_CALLS, WITH_DINPUTS, Shape, reduced, same_cost
from timing import Contender, Results, repeat

import rnncore
from rnncore.engines import engines

BASELINE = 20

Bits = dict[str, npt.NDArray[np.unsignedinteger]]


def gradient(task: Problem, backend: str | None, threads: int | None) -> rnncore.BpttResult:
    """The call that is timed."""
    inputs, labels, state = arguments(task)
    return rnncore.bptt(task.params, inputs, labels, state=state, backend=backend, threads=threads)


def arguments(task: Problem) -> tuple[Any, Any, Any]:
    """Inputs, labels and initial state: one sequence without its axis where the batch is 1, as a user has it."""
    if task.shape.B > 1:
        return task.inputs, task.labels, task.state
    first = [state[0] for state in task.states]
    return task.inputs[:, 0], task.labels[:, 0], first[0] if len(first) == 1 else tuple(first)


def named(result: rnncore.BpttResult) -> Results:
    """What peers can be compared with: the loss, and the gradients of parameters and initial states (S, B, H)."""
    return {"loss": np.array(result.loss), **gradients(result)}


def gradients(result: rnncore.BpttResult | rnncore.BackwardResult) -> Results:
    """Of parameters and initial states."""
    dstates = result.dstate if isinstance(result.dstate, tuple) else (result.dstate,)
    dstate = np.stack([np.atleast_2d(d) for d in dstates])
    return {"dstate": dstate, **{name: getattr(result.grads, name) for name in result.grads.names()}}


def contender(task: Problem, backend: str, threads: int | None) -> Contender:
    """An engine through the public function; its arguments are prepared, so that the call alone is timed."""
    inputs, labels, state = arguments(task)
    params, bptt = task.params, rnncore.bptt

    def call() -> None:
        bptt(params, inputs, labels, state=state, backend=backend, threads=threads)

    return Contender(f"rnncore {backend}", threads, repeat(call), lambda: named(gradient(task, backend, threads)))


def otherwise(task: Problem) -> list[Contender]:
    """The same gradient on one thread by ``forward`` and ``backward``, and with that of the inputs, if these have one.

    What ``backward`` is given, dJ by the outputs, is prepared: a loss of the user's own costs what it costs.
    """
    inputs, labels, state = arguments(task)
    params = task.params
    options: dict[str, Any] = {"backend": "cpp", "threads": 1}
    _, dy = rnncore.cross_entropy(rnncore.forward(params, inputs, state=state, **options).y, labels)

    def two_calls() -> rnncore.BackwardResult:
        return rnncore.backward(params, rnncore.forward(params, inputs, state=state, **options), dy=dy, **options)

    def with_dinputs() -> rnncore.BpttResult:
        return rnncore.bptt(params, inputs, labels, state=state, need_dinputs=True, **options)

    calls: dict[str, Callable[[], rnncore.BpttResult | rnncore.BackwardResult]] = {TWO_CALLS: two_calls}
    if not task.shape.tokens:
        calls[WITH_DINPUTS] = with_dinputs
    return [Contender(name, 1, repeat(call), partial(results_of, call)) for name, call in calls.items()]


def results_of(call: Callable[[], rnncore.BpttResult | rnncore.BackwardResult]) -> Results:
    """What a call of :func:`otherwise` finds."""
    return gradients(call())


def contenders(task: Problem, all_cores: int) -> list[Contender]:
    """The default instruction set on one thread, all cores, and as it chooses; AVX2 if that is not it, and Numba.

    Beside the first of them, what is compared with it.
    """
    available = engines()
    chosen: list[tuple[str, int | None]] = []
    if any(name.startswith("cpp.") for name in available):
        chosen += [("cpp", 1), ("cpp", all_cores), ("cpp", None)]
        if "cpp.avx2" in available[:-1]:
            chosen.append(("cpp.avx2", 1))
    if "numba" in available:
        chosen.append(("numba", 1))
    made = [contender(task, backend, threads) for backend, threads in dict.fromkeys(chosen)]
    if chosen[:1] != [("cpp", 1)]:
        return made
    return made[:1] + otherwise(task) + yardstick(task.shape, task.dtype) + made[1:]


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


def unlike_bptt(task: Problem) -> list[str]:
    """Which of the other calls give other gradients than ``bptt``."""
    expected = gradients(gradient(task, "cpp", 1))
    found = []
    for contender in otherwise(task):
        given = contender.results()
        wrong = [name for name in expected if expected[name].tobytes() != given[name].tobytes()]
        found += [f"{contender.name} differs from rnncore cpp in {', '.join(wrong)}"] if wrong else []
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
    if any(name.startswith("cpp.") for name in fast):
        wrong += unlike_bptt(problem(shape, dtype))
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

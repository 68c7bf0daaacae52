"""rnncore's own contenders, and the proof that they agree to the last bit."""

import numpy as np
import numpy.typing as npt
from problems import Problem, problem
from shapes import Shape, reduced
from timing import Contender, Results, repeat

import rnncore
from rnncore.backends import engines

NAMES = ("W_xh", "W_hh", "W_hy", "b_h", "b_y")
BASELINE = 20
Bits = dict[str, npt.NDArray[np.unsignedinteger]]


def gradient(task: Problem, backend: str | None, threads: int | None) -> rnncore.BpttResult:
    """The call that is timed: one sequence without its axis where the batch is 1, as a user would."""
    if task.shape.B == 1:
        inputs, labels, state = task.inputs[:, 0], task.labels[:, 0], task.state[0]
    else:
        inputs, labels, state = task.inputs, task.labels, task.state
    return rnncore.bptt(task.params, inputs, labels, state=state, backend=backend, threads=threads)


def named(result: rnncore.BpttResult) -> Results:
    """What peers can be compared with: the loss, and the gradients of parameters and initial state."""
    gradients = {name: getattr(result.grads, name) for name in NAMES}
    return {"loss": np.array(result.loss), "dstate": np.atleast_2d(result.dstate), **gradients}


def contender(task: Problem, backend: str, threads: int | None) -> Contender:
    """An engine through the public function; its arguments are prepared, so that the call alone is timed."""
    one = task.shape.B == 1
    inputs = task.inputs[:, 0].copy() if one else task.inputs
    labels = task.labels[:, 0].copy() if one else task.labels
    state = task.state[0].copy() if one else task.state
    params, bptt = task.params, rnncore.bptt

    def call() -> None:
        bptt(params, inputs, labels, state=state, backend=backend, threads=threads)

    return Contender(f"rnncore {backend}", threads, repeat(call), lambda: named(gradient(task, backend, threads)))


def contenders(task: Problem, all_cores: int) -> list[Contender]:
    """The default instruction set on one thread, all cores, and as it chooses; AVX2 if that is not it; Numba."""
    available = engines()
    chosen: list[tuple[str, int | None]] = []
    if any(name.startswith("cpp.") for name in available):
        chosen += [("cpp", 1), ("cpp", all_cores), ("cpp", None)]
        if "cpp.avx2" in available[:-1]:
            chosen += [("cpp.avx2", 1), ("cpp.avx2", all_cores)]
    if "numba" in available:
        chosen.append(("numba", 1))
    return [contender(task, backend, threads) for backend, threads in dict.fromkeys(chosen)]


def bits(task: Problem, backend: str, threads: int | None) -> Bits:
    """All that a call returns, as bit patterns."""
    result = gradient(task, backend, threads)
    arrays = {
        "loss": np.array(result.loss),
        "losses": result.losses,
        "grads": result.grads.flat,
        "state": result.state,
        "dstate": result.dstate,
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
        "shape": shape.name,
        "dtype": dtype,
        "engines": available,
        "in_full": full,
        "numpy_sizes": small.sizes,
        "equal": not wrong,
        "differences": wrong,
    }

"""A call within a call: a signal handler that computes while the same thread computes. Both have their own bits."""

import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

import rnncore

if not hasattr(signal, "setitimer"):
    pytest.skip("this system has no timers that send signals", allow_module_level=True)

NUMBERS = np.random.default_rng(0)
SIZES = {"numpy": (30, 2, 8, 16), "cpp.baseline": (60, 4, 16, 48)}
LARGE = 300, 16, 64, 256
DEPTH = 3


@pytest.fixture
def timer() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("timer")
def test_calls_within_a_call(engine: str) -> None:
    T, B, X, H = SIZES.get(engine, LARGE)
    params = rnncore.init_params("lstm", X, H, X, seed=0)
    inputs, labels = NUMBERS.standard_normal((T, B, X)).astype(np.float32), NUMBERS.integers(0, X, (T, B))

    def gradient(depth: int) -> Any:
        return rnncore.bptt(params, inputs * np.float32(depth + 1), labels, backend=engine, threads=1).grads.flat

    expected = [gradient(depth).tobytes() for depth in range(DEPTH)]
    found: list[tuple[int, bytes]] = []
    depth = 0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal depth
        depth += 1
        if depth < DEPTH - 1:
            signal.setitimer(signal.ITIMER_REAL, 0.004)
        found.append((depth, gradient(depth).tobytes()))
        depth -= 1

    signal.signal(signal.SIGALRM, handler)
    for delay in (0.001, 0.004, 0.012, 0.03):
        signal.setitimer(signal.ITIMER_REAL, delay)
        found.append((0, gradient(0).tobytes()))
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert {depth for depth, _ in found} >= {0, 1}
    assert all(bits == expected[depth] for depth, bits in found)

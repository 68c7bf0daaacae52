"""What the core keeps between calls is bounded over all threads, and given back when a program asks for it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rnncore

pytest.importorskip("rnncore._core", reason="only the compiled core keeps memory")

KEPT = 256 << 20
"""As docs/index.md promises: of work areas, and of large results."""
PARAMS = rnncore.init_params("gru", inputs=3, hidden=64, outputs=3, tokens=True)
SMALL = np.arange(64).reshape(8, 8) % 3
LARGE = np.zeros((100, 400), int)
"""Its work area is some 60 MB: small enough that several may be kept, large enough that not all are."""


@pytest.fixture(autouse=True)
def _core() -> None:
    with rnncore.use_backend("cpp"):
        yield
    rnncore.release_memory()


def bits(tokens: np.ndarray) -> bytes:
    return rnncore.bptt(PARAMS, tokens, tokens, threads=1).grads.flat.tobytes()


def test_the_second_time_there_is_nothing_left() -> None:
    bits(SMALL)
    assert rnncore.release_memory() > 0
    assert rnncore.release_memory() == 0


def test_no_result_changes() -> None:
    want = bits(SMALL)
    out = rnncore.forward(PARAMS, LARGE)
    before = out.h.copy()
    rnncore.release_memory()
    assert bits(SMALL) == want
    assert np.array_equal(out.h, before)  # memory in use is not given back


RESIDENT = """
import numpy as np, rnncore
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
params = rnncore.init_params("gru", inputs=3, hidden=64, outputs=3, tokens=True)
tokens = np.zeros((700, 500), int)
rnncore.bptt(params, tokens[:8], tokens[:8], threads=1)
rnncore.release_memory()
before = resident()
rnncore.bptt(params, tokens, tokens, threads=1)
rnncore.forward(params, tokens)
kept = resident() - before
said = rnncore.release_memory()
print(kept, said, resident() - before)
"""


def in_a_process(code: str, **environment: str) -> str:
    path = os.pathsep.join([str(Path(rnncore.__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_system_gets_it_back() -> None:
    kept, said, left = map(int, in_a_process(RESIDENT).split())
    assert kept > 50 << 20
    assert said > 50 << 20
    assert left < kept / 10


REFUSED = """
import re, resource, sys
import numpy as np, rnncore
params = rnncore.init_params("gru", inputs=3, hidden=64, outputs=3, tokens=True)
tokens, wide = np.zeros((700, 500), int), np.zeros((1, 5_000_000), np.float32)
calls = {
    "bptt": lambda: rnncore.bptt(params, tokens, tokens, threads=1),
    "two threads": lambda: rnncore.bptt(params, tokens, tokens, threads=2),
    "softmax": lambda: rnncore.softmax(wide),
}
def small():
    return rnncore.bptt(params, tokens[:8, :8], tokens[:8, :8], threads=2).grads.flat.tobytes()
want = small()
rnncore.release_memory()
with open("/proc/self/status") as file:
    used = int(re.search(r"VmSize:\\s*(\\d+) kB", file.read())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
for name, call in calls.items():
    try:
        call()
    except MemoryError:
        assert small() == want
        print(name)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_the_system_does_not_give_is_a_memory_error() -> None:
    ran = in_a_process(REFUSED, RNNCORE_THREADS_ALWAYS="1")
    assert ran.splitlines() == ["bptt", "two threads", "softmax"]


def in_threads(count: int, work: Callable[[], object], then: Callable[[], object]) -> list[object]:
    """Run work in threads one after the other, and then something while all of them still live."""
    end = threading.Event()
    found: list[object] = []

    def run(done: threading.Event) -> None:
        with rnncore.use_backend("cpp"):
            found.append(work())
        done.set()
        end.wait()

    threads = []
    for _ in range(count):
        done = threading.Event()
        threads.append(threading.Thread(target=run, args=(done,)))
        threads[-1].start()
        assert done.wait(120)
    found.append(then())
    end.set()
    for thread in threads:
        thread.join()
    return found


def test_the_areas_of_idle_threads_are_bounded_and_given_back() -> None:
    rnncore.release_memory()
    one, alone = in_threads(1, lambda: bits(LARGE), rnncore.release_memory)
    assert isinstance(alone, int)
    assert alone > 20 << 20
    count = KEPT // alone + 4  # more than all may keep
    *each, together = in_threads(count, lambda: bits(LARGE), rnncore.release_memory)
    assert isinstance(together, int)
    assert each == [one] * count
    assert 2 * alone < together <= 2 * KEPT
    assert rnncore.release_memory() == 0


def test_a_thread_that_has_ended_keeps_nothing() -> None:
    rnncore.release_memory()
    in_threads(3, lambda: bits(SMALL), lambda: None)
    time.sleep(1)  # the system's threads end a moment after Python's
    assert rnncore.release_memory() == 0


def test_it_may_come_at_any_time() -> None:
    """While other threads are within calls, whose memory stays."""
    want, found, end = bits(SMALL), [], threading.Event()

    def work() -> None:
        with rnncore.use_backend("cpp"):
            while not end.is_set():
                found.append(bits(SMALL) == want)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2000):
        rnncore.release_memory()
    end.set()
    for thread in threads:
        thread.join()
    assert found
    assert all(found)


def test_a_call_within_a_call_may_ask_for_it() -> None:
    """As a signal handler can: the outer call goes on in its own memory."""
    import signal

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        pytest.skip("needs a timer that interrupts the main thread")
    released, want = [], bits(LARGE)
    before = signal.signal(signal.SIGALRM, lambda *_: released.append((bits(SMALL), rnncore.release_memory())))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)
        assert bits(LARGE) == want
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if not released:
        pytest.skip("the call was over before the timer")
    assert {small for small, _ in released} == {bits(SMALL)}

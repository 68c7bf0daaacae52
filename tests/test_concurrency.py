"""Calls from many threads, in forked children and under Ctrl-C: the same bits, the GIL free, and an end when asked."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS

_core = pytest.importorskip("rnncore._core", reason="the other engines hold the GIL or run one thread")

NETS = [
    nets.make_net(40, 16, 8, 32, 5, dtype, tokens=tokens)
    for dtype in ("float32", "float64")
    for tokens in (False, True)
]


def flat(net: Any, threads: int) -> np.ndarray:
    return rnncore.bptt(net.params, net.inputs, net.labels, state=net.state, backend="cpp", threads=threads).grads.flat


def test_many_callers_at_once() -> None:
    expected = [flat(net, 1) for net in NETS]

    def call(n: int) -> bool:
        return np.array_equal(flat(NETS[n % 4], 1 + n % 3), expected[n % 4])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_computes_as_its_parent() -> None:
    expected = flat(NETS[0], 2)  # nothing of these two threads must be missing in the child
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.starmap(flat, [(NETS[0], threads) for threads in (1, 2, 3)]):
            assert np.array_equal(found, expected)


def test_other_python_threads_run_meanwhile() -> None:
    params = rnncore.init_params("rnn", 64, 256, 64)
    tokens = np.zeros((2000, 8), np.int64)
    ticks, done = [], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    ticker = threading.Thread(target=tick)
    ticker.start()
    try:
        began = time.perf_counter()
        rnncore.bptt(params, tokens, tokens, backend="cpp", threads=1)
        ended = time.perf_counter()
    finally:
        done.set()
        ticker.join()
    assert sum(began < at < ended for at in ticks) >= 3


def test_other_python_threads_run_during_a_large_step() -> None:
    """Nobody is asked to give up the GIL, so that this thread goes on only if the step does so by itself."""
    params, x = rnncore.init_params("gru", 16, 1024, 4), np.zeros((400, 16), np.float32)
    stepper, begun, done = rnncore.Stepper(params, len(x), backend="cpp"), threading.Event(), []

    def step() -> None:
        begun.set()
        done.append(stepper.step(x))

    interval, worker = sys.getswitchinterval(), threading.Thread(target=step)
    sys.setswitchinterval(1000)
    try:
        worker.start()
        begun.wait()
        is_done = bool(done)
        worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not is_done


LONG_CALL = """
import numpy as np, rnncore
params = rnncore.init_params("rnn", 64, 512, 64)
tokens = np.zeros((20000, 16), np.int64)
print("ready", flush=True)
try:
    rnncore.bptt(params, tokens, tokens, backend="cpp", threads={threads})
except KeyboardInterrupt:
    print("stopped", rnncore.bptt(params, tokens[:2], tokens[:2], backend="cpp").loss > 0)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_a_long_call(threads: int) -> None:
    """The call would take minutes; what comes after it works."""
    command = [sys.executable, "-c", LONG_CALL.format(threads=threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()  # if it did not stop, nothing waits for it
    assert output == "stopped True\n"


@pytest.mark.parametrize("lengths", ["full", "ragged"])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("sizes", [(140, 1, 3, 256, 5), (6, 5, 65, 300, 65), (5, 2, 7, 700, 2)], ids=str)
def test_threads_that_share_hidden_units(sizes: tuple[int, ...], tokens: bool, lengths: str) -> None:
    """Few sequences and a large layer: threads then meet at every step."""
    net = nets.make_net(*sizes, tokens=tokens, lengths=lengths, own_loss=True)
    expected = nets.run(net, "cpp", threads=1)
    for threads in (2, 3, 4, 7):
        nets.assert_same_bits(expected, nets.run(net, "cpp", threads=threads))


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize(
    "lengths",
    [[9], [0, 0, 0], [9, 0, 0], [0, 0, 9], [0, 1, 2, 3, 5, 9], [9, 5, 3, 2, 1, 0], [1, 9, 1, 1, 9, 1], [9] * 6],
    ids=str,
)
def test_threads_that_share_ragged_sequences(lengths: list[int], threads: int) -> None:
    """However the steps are spread over the batch, each sequence is one thread's."""
    net = replace(nets.make_net(9, len(lengths), 3, 20, 5, own_loss=True), lengths=np.array(lengths))
    nets.assert_same_bits(nets.run(net, "cpp", threads=1), nets.run(net, "cpp", threads=threads))


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "tokens": {"tokens": True},
    "resets": {"resets": "some"},
    "gradients given": {"own_loss": True},
    "layers": {"layers": 2, "bidirectional": True, "dropout": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_threads_that_take_chunks_together(cell: str, kind: str) -> None:
    """Many steps, whose gates have gradients of more than 8 MB: see gates_worth_meeting in cpp/tuning.hpp."""
    gates, B = len(CELLS[cell].gates), 20
    H = 250 if gates == 1 else 88
    T = (8 << 20) // (4 * B * gates * H) + 3
    net = nets.make_net(T, B, 8, H, 8, cell=cell, **KINDS[kind])
    expected = nets.run(net, "cpp", threads=1)
    for threads in (2, 3):
        nets.assert_same_bits(expected, nets.run(net, "cpp", threads=threads))


def test_threads_that_take_chunks_together_for_last_labels() -> None:
    net = nets.make_net(320, 20, 8, 88, 8, cell="lstm")
    labels = np.arange(20) % 8
    one, two, three = (
        rnncore.bptt(net.params, net.inputs, labels, backend="cpp", threads=threads).grads.flat for threads in (1, 2, 3)
    )
    assert one.tobytes() == two.tobytes() == three.tobytes()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_threads_leave_the_callers_cores_alone() -> None:
    before = os.sched_getaffinity(0)
    flat(NETS[0], 2)
    assert os.sched_getaffinity(0) == before


def cores_of_quota(root: Path, groups: str, files: dict[str, str]) -> int:
    """What the core finds in a made-up system."""
    for name, text in ({"proc/self/cgroup": groups} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, newline="\n")
    return _core.cores_of_quota(str(root))


@pytest.mark.skipif(os.name != "posix", reason="control groups are Linux's")
@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {}, 0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 0),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "250000 100000\n"}, 2),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000\n", "a/cpu.max": "250000 100000\n"}, 1),
        ("0::/elsewhere\n", {"cpu.max": "200000 100000\n"}, 2),
        ("4:memory:/a\n3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, 0),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 4),
        ("3:cpuset:/a\n", {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"}, 0),
        ("nonsense\n", {"cpu.max": "words\n"}, 0),
    ],
)
def test_cpu_quotas_are_seen(tmp_path: Path, groups: str, files: dict[str, str], cores: int) -> None:
    """Of control groups of both versions, and of the groups around a process's own; a busy host changes nothing."""
    assert cores_of_quota(tmp_path, groups, {f"sys/fs/cgroup/{name}": text for name, text in files.items()}) == cores


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_cores_are_those_that_the_process_may_use() -> None:
    quota = _core.cores_of_quota("")
    allowed = len(os.sched_getaffinity(0))
    assert _core.usable_cores() == (min(allowed, quota) if quota else allowed)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_the_work_between_two_looks_is_bounded(cell: str, threads: int) -> None:
    """Ctrl-C is answered in time because a kernel asks after a bounded number of operations, however large a step."""
    between, B, T, X, H, calls = 2e8, 32, 10, 300, 500, 6
    params = rnncore.init_params(cell, X, H, 10)
    operations = 6 * T * B * params.W_hh.shape[0] * (X + H)
    x, labels = np.zeros((T, B, X), np.float32), np.zeros((T, B), np.int64)
    before = _core.looks()
    for _ in range(calls):
        rnncore.bptt(params, x, labels, backend="cpp", threads=threads)
    # dx is not asked for, shares are uneven, and of two threads the other may do more.
    assert _core.looks() - before >= calls * operations / between / threads / 3


FIRST_CALLS = """
import threading
import numpy as np, rnncore
params, tokens = rnncore.init_params("lstm", 3, 4, 3), np.array([0, 1, 2])
begin = threading.Barrier(8)

def call(k):
    begin.wait()
    if k % 2:
        rnncore.bptt(params, tokens, tokens, backend="cpp")
    else:
        rnncore.forward(params, [tokens, tokens[:1]], backend="cpp")

threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all came back")
"""


def test_the_first_calls_may_come_together() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", FIRST_CALLS], capture_output=True, text=True, timeout=60)
        assert done.stdout == "all came back\n"


def test_indices_that_change_during_a_call_do_no_harm() -> None:
    """They are checked in a copy that nobody else can write to."""
    params = rnncore.init_params("rnn", 65, 64, 65)
    tokens = np.zeros((400, 8), np.int64)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            tokens[:] = 2**40
            tokens[:] = 0

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            with contextlib.suppress(ValueError):  # for tokens that are seen out of range
                rnncore.bptt(params, tokens, tokens, backend="cpp", threads=2)
    finally:
        done.set()
        writer.join()


INTERRUPTED = """
import random, signal, sys, time
import numpy as np, rnncore

class Stop(Exception):
    pass

def stop(*_):
    raise Stop

signal.signal(signal.SIGALRM, stop)
params = rnncore.init_params("rnn", 4, {H}, {V}, bidirectional={bidirectional})
inputs, labels = np.zeros((2000, {B}, 4), "f4"), np.zeros((2000, {B}), int)
whole, numbers, stopped, began = 60.0, random.Random(0), 0, time.perf_counter()
while time.perf_counter() - began < (1.5 if stopped else 30):
    start = time.perf_counter()
    if whole < 60:
        signal.setitimer(signal.ITIMER_REAL, 0.002 + numbers.random() * whole)
    try:
        rnncore.bptt(params, inputs, labels, threads={threads}, backend="cpp")
        signal.setitimer(signal.ITIMER_REAL, 0)
        whole = min(whole, time.perf_counter() - start)
    except Stop:
        stopped += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
print("stopped", stopped > 0)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that send signals")
@pytest.mark.parametrize("threads", [2, 3, 6])
@pytest.mark.parametrize(
    ("B", "H", "V", "bidirectional"),
    [(1, 64, 2000, True), (1, 512, 20, False), (1, 256, 20, True), (8, 200, 20, False)],
)
def test_threads_that_meet_stop_together(B: int, H: int, V: int, bidirectional: bool, threads: int) -> None:
    """Whoever finds first that the user wants to stop must not leave the others waiting: calls stopped at any time."""
    code = INTERRUPTED.format(B=B, H=H, V=V, bidirectional=bidirectional, threads=threads)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert done.stdout == "stopped True\n", done.stderr


AT_THE_END = """
import threading, time
import numpy as np, rnncore
params = rnncore.init_params("rnn", 8, 64, 8, layers=2)
inputs, labels = np.zeros((300, 8, 8), "f4"), np.zeros((300, 8), int)
rnncore.bptt(params, inputs[:2], labels[:2], backend="{backend}")

def work():
    while True:
        rnncore.bptt(params, inputs, labels, backend="{backend}", threads={threads})

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
print("the end", flush=True)
"""


@pytest.mark.parametrize(("backend", "threads"), [("cpp", 1), ("cpp", 2), ("numba", 1)])
def test_the_interpreter_ends_while_daemon_threads_compute(backend: str, threads: int) -> None:
    for _ in range(4):
        code = AT_THE_END.format(backend=backend, threads=threads)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (0, "the end\n"), done.stderr

"""The core's worker threads: started once, idle between calls, gone in a forked child, and no more than work is worth.

Most tests look at a process of their own, whose threads they count.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnncore

_core = pytest.importorskip("rnncore._core", reason="the other engines run one thread")
if not Path("/proc/self/task").is_dir():
    pytest.skip("this system does not list a process's threads by their names", allow_module_level=True)

BEGIN = """
import os, resource, signal, sys, threading, time
import numpy as np, rnncore

def name_of(thread):
    try:
        with open(f"/proc/self/task/{thread}/comm") as file:
            return file.read().strip()
    except OSError:  # it has just ended
        return ""

def workers():
    return {int(thread) for thread in os.listdir("/proc/self/task") if name_of(thread) == "rnncore"}

def status(worker, name):
    with open(f"/proc/self/task/{worker}/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name + ":"))

def gradient(B=16, threads=2, H=16, T=20):
    params = rnncore.init_params("gru", 4, H, 4, seed=0)
    inputs, labels = np.ones((T, B, 4), "f4"), np.zeros((T, B), int)
    return rnncore.bptt(params, inputs, labels, backend="cpp", threads=threads).grads.flat.tobytes()

def fork(compute):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # to hang is to fail
        try:
            os._exit(0 if compute() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1]

def become_someone():
    if os.getuid() == 0:
        os.setuid(12345)  # whom limits hold; nobody else has this number

def allow(threads):
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, resource.getrlimit(resource.RLIMIT_NPROC)[1]))

expected = gradient(threads=1)
assert not workers()
"""


def run(code: str, always: bool = True) -> None:
    """Run code after BEGIN; an assertion that fails there fails here."""
    path = os.pathsep.join([str(Path(rnncore.__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    environment["RNNCORE_THREADS_ALWAYS"] = "1" if always else "0"
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code + "\nprint('done')"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr
    assert done.returncode == 0, done.stderr


def test_workers_wait_for_the_next_call() -> None:
    run("""
assert gradient(threads=2) == expected
first = workers()
assert len(first) == 1
for _ in range(50):
    assert gradient(threads=2) == expected
assert workers() == first
assert gradient(threads=4) == expected
assert len(workers()) == 3 and workers() > first
""")


def test_waiting_takes_no_time() -> None:
    run("""
gradient(threads=4)
time.sleep(0.01)  # they look out for more work, but not for long
before = time.process_time()
time.sleep(0.5)
assert time.process_time() - before < 0.05
""")


def test_sixteen_callers_at_once() -> None:
    """Each has workers of its own, or its call would wait for another; they are used again in any order."""
    run("""
begin, found = threading.Barrier(16), []
def work(k):
    begin.wait()
    for n in range(25):
        found.append(gradient(threads=1 + (n + k) % 3) == expected)
for _ in range(2):
    callers = [threading.Thread(target=work, args=(k,)) for k in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
assert len(found) == 800 and all(found)
assert 2 <= len(workers()) <= 32
""")


def test_a_call_within_a_call() -> None:
    """A signal handler that computes takes further workers."""
    run("""
found, within = [], 0
def handler(*_):
    global within
    within += 1
    if within < 3:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
    found.append(gradient() == expected)
    if within < 3:
        found.append(gradient(64, T=2000, H=64) == long)
    within -= 1
long = gradient(64, T=2000, H=64, threads=1)
signal.signal(signal.SIGALRM, handler)
for _ in range(3):
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    found.append(gradient(64, T=2000, H=64) == long)
    signal.setitimer(signal.ITIMER_REAL, 0)
assert len(found) > 3 and all(found)
assert 2 <= len(workers()) <= 4
""")


def test_a_forked_child_makes_its_own() -> None:
    run("""
gradient(threads=3)
def compute():
    assert not workers()
    assert gradient(threads=2) == expected
    assert len(workers()) == 1
    return fork(lambda: gradient(threads=2) == expected) == 0
assert fork(compute) == 0
assert len(workers()) == 2 and gradient(threads=3) == expected
""")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks_while_others_are_within_calls() -> None:
    """Wherever their locks are at that moment."""
    run("""
end, found = threading.Event(), []
def work():
    while not end.is_set():
        found.append(gradient(threads=2) == expected)
callers = [threading.Thread(target=work) for _ in range(3)]
for caller in callers:
    caller.start()
for _ in range(40):
    assert fork(lambda: all(gradient(threads=n) == expected for n in (2, 3, None))) == 0
end.set()
for caller in callers:
    caller.join()
assert found and all(found)
""")


def test_forks_and_signals_while_a_net_is_made() -> None:
    """Nobody waits for the thread that makes it: a child has no such thread, and a signal handler is that thread."""
    run("""
from rnncore import net
made, inside, go_on = net.Net.__init__, threading.Event(), threading.Event()
def slowly(self, *facts):
    if not inside.is_set():
        inside.set()
        assert gradient(threads=1) == expected  # as a signal handler may ask within
        assert go_on.wait(60)
    made(self, *facts)
net.Net.__init__ = slowly
maker = threading.Thread(target=lambda: rnncore.init_params("rnn", 3, 77, 3))
maker.start()
assert inside.wait(60)
def compute():
    other = rnncore.init_params("gru", 3, 78, 3)
    return rnncore.init_params("rnn", 3, 77, 3) != other and gradient(threads=2) == expected
assert fork(compute) == 0
go_on.set()
maker.join()
""")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_workers_keep_to_the_cores_of_the_caller() -> None:
    run("""
allowed = os.sched_getaffinity(0)
gradient()
worker, = workers()
assert os.sched_getaffinity(worker) <= allowed
for core in allowed:
    os.sched_setaffinity(0, {core})
    assert gradient() == expected
    assert workers() == {worker} and os.sched_getaffinity(worker) == {core}
os.sched_setaffinity(0, allowed)
gradient()
assert os.sched_getaffinity(0) == allowed
cores = os.sched_getaffinity(worker)
assert cores < allowed and len(cores) == len(allowed) - 1 if len(allowed) > 1 else cores == allowed
""")


def test_workers_get_no_signals() -> None:
    """But for their own faults, which end the process, or are reported first."""
    run("""
gradient()
worker, = workers()
blocked = int(status(worker, "SigBlk"), 16)
names = {number for number in signal.valid_signals() if number < 32 and blocked >> number - 1 & 1}
faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
assert not names & faults
assert names | faults | {signal.SIGKILL, signal.SIGSTOP} == {n for n in signal.valid_signals() if n < 32}
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
""")


def test_where_the_system_gives_no_thread_a_call_has_one() -> None:
    run("""
become_someone()
allow(0)
for _ in range(3):
    assert gradient(threads=2) == expected
assert not workers()
""")


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="others may run processes of the same user")
def test_where_the_system_gives_too_few_threads_a_call_has_one() -> None:
    """Those that there are stay, for calls that need no more."""
    run("""
become_someone()
assert gradient(threads=2) == expected
first = workers()
allow(3)
for _ in range(3):
    assert gradient(threads=4) == expected
second = workers()
assert second > first and len(second) == 2  # one more than there was
assert gradient(threads=2) == gradient(threads=3) == expected
assert workers() == second
allow(100)
assert gradient(threads=4) == expected
assert len(workers()) == 3
""")


def test_a_small_call_has_one_thread_whatever_is_allowed() -> None:
    run("""
for _ in range(3):
    assert gradient(threads=2) == gradient(threads=16) == gradient(threads=None) == expected
assert not workers()
""", always=False)  # fmt: skip


@pytest.mark.skipif(_core.usable_cores() < 2, reason="a thread is worth nothing here")
def test_a_large_call_has_no_more_threads_than_are_allowed_or_there_are_cores() -> None:
    run("""
large = dict(B=64, H=128, T=100)
one = gradient(**large, threads=1)
assert not workers()
assert gradient(**large, threads=2) == one
assert len(workers()) == 1
assert gradient(**large, threads=500) == gradient(**large, threads=None) == one
assert 1 <= len(workers()) < rnncore._core.usable_cores()
""", always=False)  # fmt: skip


def test_these_tests_run_threads() -> None:
    """Those of the bits rely on it: threads=2 is two threads here, however small a net is."""
    assert os.environ["RNNCORE_THREADS_ALWAYS"] == "1"
    from rnncore import _cpp

    assert _cpp._ALWAYS
    run("""
assert gradient(B=2, H=2, T=1, threads=2) == gradient(B=2, H=2, T=1, threads=1)
assert len(workers()) == 1
""")


AT_THE_END = """
def work():
    while True:
        gradient(threads=3)
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.02)
"""


@pytest.mark.parametrize("sizes", ["", "B=64, H=64, T=5000, "])
def test_a_program_ends_while_workers_work(sizes: str) -> None:
    """In calls that end at any moment, and in such as have long to go."""
    for _ in range(20):
        run(AT_THE_END.replace("threads=3", f"{sizes}threads=3"))

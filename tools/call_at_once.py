"""Call the compiled core from 16 threads at once, in any order: the results have the bits that one thread finds.

    python tools/call_at_once.py [CALLS]

CALLS: how many times each thread calls bptt, forward and backward, 60 unless given. ``tools/thread_sanitizer`` runs it
with a core that reports data races.
"""

import itertools
import random
import sys
import threading
from collections.abc import Callable

import numpy as np

import rnncore
from rnncore.cells import CELLS

CALLERS = 16
THREADS = (1, 2, 2, 3, 5, None)


def case(cell: str, H: int, B: int, kind: tuple[bool, int, bool], T: int = 6) -> Callable[[int | None], bytes]:
    """Return a function of the number of threads: the bits of a gradient, found in both ways."""
    ragged, layers, tokens = kind
    params = rnncore.init_params(cell, 5, H, 4, seed=0, layers=layers, bidirectional=layers > 1, tokens=tokens)
    numbers = np.random.default_rng(0)
    inputs = numbers.integers(0, 5, (T, B)) if tokens else numbers.standard_normal((T, B, 5)).astype("f4")
    labels, lengths = numbers.integers(0, 4, (T, B)), numbers.integers(0, T + 1, B) if ragged else None

    def call(threads: int | None) -> bytes:
        whole = rnncore.bptt(params, inputs, labels, lengths=lengths, backend="cpp", threads=threads)
        out = rnncore.forward(params, inputs, lengths=lengths, backend="cpp", threads=threads)
        parts = rnncore.backward(params, out, dy=np.ones_like(out.y), backend="cpp", threads=threads)
        return bytes(whole.grads.flat.tobytes() + parts.grads.flat.tobytes())

    return call


def cases() -> list[Callable[[int | None], bytes]]:
    """Return nets whose sequences are shared, and nets whose hidden units are, so that threads meet at every step."""
    kinds = [(False, 1, False), (True, 1, True), (True, 2, False)]
    sizes = [(20, 9), (260, 2)]
    return [case(cell, H, B, kind) for (H, B), cell, kind in itertools.product(sizes, CELLS, kinds)]


def main(calls: int) -> int:
    """Return how many results had other bits.

    The first call of a few is of a net whose threads take chunks together, which they only do where there is much.
    """
    chosen = [*cases(), case("lstm", 88, 20, (False, 1, False), T=320)]
    expected = [call(1) for call in chosen]
    begin, right = threading.Barrier(CALLERS), []

    def work(number: int) -> None:
        choose = random.Random(number)
        begin.wait()
        for k in range(calls):
            is_large = k == 0 and number < 3
            which = len(chosen) - 1 if is_large else choose.randrange(len(chosen) - 1)
            right.append(chosen[which](2 if is_large else choose.choice(THREADS)) == expected[which])
            if choose.random() < 0.05:
                rnncore.release_memory()

    callers = [threading.Thread(target=work, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    wrong = CALLERS * calls - sum(right)
    print(f"{CALLERS} threads, {calls} calls each of bptt, forward and backward: {wrong} results with other bits")
    return wrong


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60) > 0)

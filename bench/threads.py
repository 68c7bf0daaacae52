"""What a second thread brings: python bench/threads.py [--quick] [--realtime] [--seed 0] [--out FILE].

Time of one gradient on two threads, and on as many as rnncore finds the call worth, over that on one: for the standard
shapes, and for sizes by chance whose calls are about worth a second thread. All in turn, in one process. A ratio is the
median of the ratios of all turns. --realtime asks the system to run this process before all others, which needs the
right to do so: for a machine where other programs run.
"""

import argparse
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ["RNNCORE_THREADS_ALWAYS"] = "1"  # two threads are two, however little there is to do
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")

import environment
import shapes

CELLS = ("rnn", "lstm", "gru")
COUNTS = (1, 2, None)
TURN = 10e-3  # seconds of calls in a turn, at least


def by_chance(seed: int, count: int) -> list[shapes.Shape]:
    """Sizes whose gradients take 2e7 to 2e8 floating-point operations."""
    numbers, found = random.Random(seed), []
    while len(found) < count:
        X, H, V, B = (int(2 ** numbers.uniform(low, high)) for low, high in ((0, 8), (2, 9), (1, 7), (0, 8)))
        one_step = shapes.Shape("", X, H, V, B, 1, cell=numbers.choice(CELLS))
        T = round(10 ** numbers.uniform(7.3, 8.3) / one_step.flops)
        if 1 <= T <= 5000:
            found.append(replace(one_step, T=T))
    return found


def measure(shape: shapes.Shape, turns: int) -> dict[str, Any]:
    """Seconds on one thread, and the ratios of two, and of as many as the call is worth."""
    import problems

    import rnncore

    task = problems.problem(shape, "float32")

    def call(threads: int | None) -> Callable[[], object]:
        given: dict[str, Any] = {"state": task.state, "backend": "cpp", "threads": threads}
        return lambda: rnncore.bptt(task.params, task.inputs, task.labels, **given)

    calls = [call(threads) for threads in COUNTS]
    times = max(1, round(TURN / max(seconds(calls[0], 3), 1e-6)))
    ratios: list[list[float]] = []
    ones = []
    for turn in range(turns):
        taken = [0.0] * len(calls)
        for place in range(len(calls)):
            which = (turn + place) % len(calls)
            taken[which] = seconds(calls[which], times)
        ones.append(taken[0])
        ratios.append([each / taken[0] for each in taken[1:]])
    middle = [median(each) for each in zip(*ratios, strict=True)]
    return {"shape": shape, "seconds": median(ones), "ratios": middle}


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds of one call, of so many, after one that finds its numbers in the caches of other cores."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = ["| shape | cell | X,H,V,B,T | one, us | two | as worth |", "|---|---|---|---|---|---|"]
    for row in rows:
        shape, (two, worth) = row["shape"], row["ratios"]
        names = f"| {shape.name} | {shape.cell} | {shape.sizes} "
        lines.append(names + f"| {1e6 * row['seconds']:.1f} | {two:.3f} | {worth:.3f} |")
    return "\n".join(lines) + "\n"


def summary(rows: list[dict[str, Any]]) -> str:
    """What to look at first."""
    two, worth = ([row["ratios"][n] for row in rows] for n in (0, 1))
    return (
        f"Of {len(rows)} sizes by chance: two threads take {min(two):.2f} to {max(two):.2f} times as long as one;\n"
        f"as many as the call is worth {min(worth):.2f} to {max(worth):.2f} times, in the middle {median(worth):.2f},\n"
        f"and more than 1.02 times in {sum(ratio > 1.02 for ratio in worth)}.\n"
    )


def main() -> None:
    """Measure and print, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few turns and sizes: rough figures")
    parser.add_argument("--realtime", action="store_true", help="before all other programs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file for the tables")
    arguments = parser.parse_args()
    if arguments.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    turns, count = (5, 6) if arguments.quick else (15, 100)
    standard = [replace(shape, cell=cell) for shape in shapes.named("S0,S1t,S2,S3,S4,S7") for cell in CELLS]
    parts: list[list[dict[str, Any]]] = []
    for chosen in (standard, by_chance(arguments.seed, count)):
        parts.append([])
        for shape in chosen:
            parts[-1].append(measure(shape, turns))
            print(table(parts[-1][-1:]).splitlines()[-1], flush=True)
            time.sleep(TURN)  # others may be waiting
    parts[1].sort(key=lambda row: -float(row["ratios"][1]))
    about, first = environment.machine(), ", before other programs" if arguments.realtime else ""
    where = f"{about['cpu']}, {about['cores']} cores, float32{first}: `python bench/threads.py`"
    text = f"# What a second thread brings\n\n{where}\n\n{table(parts[0])}\n{summary(parts[1])}\n{table(parts[1])}"
    print("\n" + text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()

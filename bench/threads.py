"""What a second thread brings: python bench/threads.py [--quick] [--realtime] [--seed 0] [--out DIR].

Time of one gradient on two threads, and on as many as rnncore finds the call worth, over that on one: for the standard
shapes, and for sizes by chance whose calls are about worth a second thread. All in turn, in one process. A ratio is the
median of the ratios of all turns. --realtime asks the system to run this process before all others, which needs the
right to do so: for a machine where other programs run.
"""

import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

os.environ["RNNCORE_THREADS_ALWAYS"] = "1"  # two threads are two, however little there is to do

import environment
import program
import shapes

CELLS = ("rnn", "lstm", "gru")
COUNTS = (1, 2, None)
LISTS = ("standard", "by_chance")
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
    names = {"shape": shape.name, "cell": shape.cell, "sizes": shape.sizes}
    return {**names, "seconds": median(ones), "ratios": middle}


def seconds(call: Callable[[], object], times: int) -> float:
    """Seconds of one call, of so many, after one that finds its numbers in the caches of other cores."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    import report

    body = []
    for row in rows:
        two, worth = row["ratios"]
        names = [row["shape"], row["cell"], row["sizes"]]
        body.append([*names, report.seconds(row["seconds"]), f"{two:.3f}", f"{worth:.3f}"])
    return report.table(["shape", "cell", "X,H,V,B,T", "one", "two", "as worth"], body, left=3)


def markdown(results: dict[str, Any]) -> str:
    """The page: what to look at first, and two tables."""
    two, worth = ([row["ratios"][n] for row in results["by_chance"]] for n in (0, 1))
    text = (
        f"Of {len(two)} sizes by chance: two threads take {min(two):.2f} to {max(two):.2f} times as long as one;\n"
        f"as many as the call is worth {min(worth):.2f} to {max(worth):.2f} times, in the middle {median(worth):.2f},\n"
        f"and more than 1.02 times in {sum(ratio > 1.02 for ratio in worth)}."
    )
    facts = program.fact(results, "float32", *(["before other programs"] if results["realtime"] else []))
    tables = (table(results[name]) for name in LISTS)
    return f"# What a second thread brings\n\n{facts}\n\n{text}\n\n" + "\n\n".join(tables) + "\n"


def run(seed: int, turns: int, count: int, realtime: bool) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("threads", 1, *LISTS) | {"seed": seed, "realtime": realtime}
    standard = [replace(shape, cell=cell) for shape in shapes.named("S0,S1t,S2,S3,S4,S7") for cell in CELLS]
    chosen = [("standard", shape) for shape in standard] + [("by_chance", shape) for shape in by_chance(seed, count)]
    with program.interruptible():
        for name, shape in program.progress(chosen):
            results[name].append(measure(shape, turns))
            time.sleep(TURN)  # others may be waiting
    results["by_chance"].sort(key=lambda row: -float(row["ratios"][1]))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes threads-PROCESSOR.json and .md."""
    parser = program.parser(__doc__, "few turns and sizes: rough figures", 15)
    parser.add_argument("--realtime", action="store_true", help="before all other programs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    environment.prepare()
    if args.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    turns, count = (5, 6) if args.quick else (args.rounds, 100)
    results = run(args.seed, turns, count, args.realtime)
    return program.finish(results, markdown(results), args.out, "threads")


if __name__ == "__main__":
    sys.exit(main())

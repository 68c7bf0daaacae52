"""Time and memory of one long sequence with ``checkpoint="auto"``: python bench/checkpoint.py [--quick] [--out DIR].

Beside the plain gradient, whose bits it must have; of nets of one direction and a label a step, and of others over
fewer steps, whose memory the system has at hand. Each row is a process of its own. Memory is the growth of its peak
resident size during the first call: what the call needs beside inputs and labels, its results included.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from statistics import median
from typing import Any

import environment
import program
from shapes import Shape, cells

LONG = Shape("a label a step", 65, 128, 65, 1, 1_000_000)
SHORTER = 100_000
KINDS = {"a label a step": (False, False), "one label": (False, True), "two directions, a label a step": (True, False)}
KINDS["two directions, one label"] = (True, True)
"""The nets by name: whether in two directions, and whether with one label a sequence."""
PLAIN, AUTO = "plain", "auto"


def measure(shape: Shape, rounds: int) -> dict[str, Any]:
    """In a process of its own: seconds of calls of both ways in turn, and bytes that the first of each took.

    The name of a shape says which of KINDS the net is.
    """
    command = [sys.executable, __file__, "--child", json.dumps(asdict(shape)), "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shape}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(shape: Shape, rounds: int) -> dict[str, Any]:
    """What that process does."""
    import engines
    import growth
    import numpy as np
    from problems import problem

    import rnncore

    engines.gradient(problem(Shape("small", 2, 3, 2, 1, 2), "float32"), "cpp", 1)
    bidirectional, last = KINDS[shape.name]
    inputs, labels, _ = engines.arguments(problem(shape, "float32"))
    labels = np.int64(labels[-1]) if last else labels
    params = rnncore.init_params(
        shape.cell, shape.X, shape.H, shape.V, seed=0, dtype="float32", tokens=False, bidirectional=bidirectional
    )
    found: dict[str, Any] = {AUTO: {"seconds": []}, PLAIN: {"seconds": []}}
    bits = {}
    for number in range(max(rounds, 1)):
        for name, own in found.items():
            resident = growth.forget_peak() if number == 0 else 0
            given: dict[str, Any] = {"checkpoint": AUTO if name == AUTO else None, "backend": "cpp", "threads": 1}
            start = time.perf_counter()
            result = rnncore.bptt(params, inputs, labels, **given)
            own["seconds"].append(time.perf_counter() - start)
            if number == 0:
                own["bytes"] = max(0, growth.memory("VmHWM") - resident)
            bits[name] = (result.loss, result.losses.tobytes(), result.grads.flat.tobytes())
            del result
            rnncore.release_memory()
    if bits[AUTO] != bits[PLAIN]:
        raise RuntimeError(f"{shape}: checkpoint has other bits than the plain call")
    return {"net": shape.name, "cell": shape.cell, "sizes": shape.sizes, **found}


def markdown(results: dict[str, Any]) -> str:
    """The page: a table."""
    import report

    body = []
    for row in results["rows"]:
        plain, auto = (median(row[name]["seconds"]) for name in (PLAIN, AUTO))
        sizes = [f"{row[name]['bytes'] / 1e6:.0f} MB" for name in (PLAIN, AUTO)]
        times = report.seconds(plain), report.seconds(auto), report.ratio(auto / plain)
        body.append([row["net"], row["cell"], row["sizes"], *times, *sizes])
    head = ["net", "cell", "X,H,V,B,T", "plain", 'checkpoint="auto"', "times plain", "memory, plain", "with checkpoint"]
    facts = program.fact(results, "float32", "one thread", "medians; the same bits")
    return f"# One long sequence in little memory\n\n{facts}\n\n{report.table(head, body, left=3)}\n"


def run(shapes: list[Shape], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("checkpoint", 1, "rows")
    with program.interruptible():
        for shape in program.progress(shapes):
            results["rows"].append(measure(shape, rounds))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes checkpoint-PROCESSOR.json and .md."""
    parser = program.parser(__doc__, "a sequence of 2000 steps", 3, "comma-separated")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    environment.prepare()
    if args.child:
        print(json.dumps(child(Shape(**json.loads(args.child)), args.rounds)))
        return 0
    shape = replace(LONG, T=2000) if args.quick else LONG
    short = replace(shape, T=min(shape.T, SHORTER))
    chosen = cells(args.cells)
    nets = [replace(shape, cell=cell) for cell in chosen]
    nets += [replace(short, name=name, cell=cell) for name in KINDS for cell in chosen]
    results = run(nets, args.rounds)
    return program.finish(results, markdown(results), args.out, "checkpoint")


if __name__ == "__main__":
    sys.exit(main())

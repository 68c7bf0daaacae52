"""Time and memory of one long sequence with ``checkpoint="auto"``: python bench/checkpoint.py [--quick] [--out DIR].

Beside the plain gradient, whose bits it must have. Each cell is a process of its own. Memory is the growth of its peak
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
import processor
import program
from shapes import Shape, cells

LONG = Shape("long", 65, 128, 65, 1, 1_000_000)
PLAIN, AUTO = "plain", "auto"


def measure(shape: Shape, rounds: int) -> dict[str, Any]:
    """In a process of its own: seconds of calls of both kinds in turn, and bytes that the first of each took."""
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
    from problems import problem

    import rnncore

    engines.gradient(problem(Shape("small", 2, 3, 2, 1, 2), "float32"), "cpp", 1)
    task = problem(shape, "float32")
    inputs, labels, state = engines.arguments(task)
    found: dict[str, Any] = {AUTO: {"seconds": []}, PLAIN: {"seconds": []}}
    bits = {}
    for number in range(max(rounds, 1)):
        for name, own in found.items():
            resident = growth.forget_peak() if number == 0 else 0
            given: dict[str, Any] = {"checkpoint": AUTO if name == AUTO else None, "state": state, "backend": "cpp"}
            start = time.perf_counter()
            result = rnncore.bptt(task.params, inputs, labels, **given, threads=1)
            own["seconds"].append(time.perf_counter() - start)
            if number == 0:
                own["bytes"] = max(0, growth.memory("VmHWM") - resident)
            bits[name] = (result.loss, result.losses.tobytes(), result.grads.flat.tobytes())
            del result
            rnncore.release_memory()
    if bits[AUTO] != bits[PLAIN]:
        raise RuntimeError(f"{shape}: checkpoint has other bits than the plain call")
    return {"cell": shape.cell, "sizes": shape.sizes, **found}


def markdown(results: dict[str, Any]) -> str:
    """The page: a table."""
    import report

    body = []
    for row in results["rows"]:
        plain, auto = (median(row[name]["seconds"]) for name in (PLAIN, AUTO))
        sizes = [f"{row[name]['bytes'] / 1e6:.0f} MB" for name in (PLAIN, AUTO)]
        times = report.seconds(plain), report.seconds(auto), report.ratio(auto / plain)
        body.append([row["cell"], row["sizes"], *times, *sizes])
    head = ["cell", "X,H,V,B,T", "plain", 'checkpoint="auto"', "times plain", "memory, plain", "with checkpoint"]
    facts = program.fact(results, "float32", "one thread", "medians; the same bits")
    return f"# One long sequence in little memory\n\n{facts}\n\n{report.table(head, body, left=2)}\n"


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
    results = run([replace(shape, cell=cell) for cell in cells(args.cells)], args.rounds)
    return program.finish(results, markdown(results), args.out, f"checkpoint-{processor.slug(results['machine'])}")


if __name__ == "__main__":
    sys.exit(main())

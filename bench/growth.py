"""Time and memory of one gradient as T, B and H grow: python bench/growth.py [--quick] [--out DIR].

Each point is a process of its own. Memory is the growth of its peak resident size during the call, so it is what the
call itself needs: the results that it returns, and its work area.
"""

import argparse
import contextlib
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import environment
import program

HERE = Path(__file__).resolve().parent
BASE = {"X": 65, "H": 64, "V": 65, "B": 1, "T": 1000}
CURVES: dict[str, dict[str, Any]] = {
    "T": {"values": (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000), "per": "T", "power": 1},
    "B": {"values": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), "per": "B", "power": 1, "T": 100},
    "H": {"values": (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), "per": "H²", "power": 2, "B": 16, "T": 20},
}


def point(axis: str, value: int) -> dict[str, int]:
    """The sizes at one place of a curve."""
    fixed = {name: number for name, number in CURVES[axis].items() if name in BASE}
    return {**BASE, **fixed, axis: value}


def measure(sizes: dict[str, int], threads: int) -> dict[str, Any]:
    """In a process of its own: seconds of the best of some calls, and bytes that the first one took at its peak."""
    command = [sys.executable, __file__, "--child", json.dumps(sizes), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{sizes}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def child(sizes: dict[str, int], threads: int) -> dict[str, Any]:
    """What that process does."""
    import engines
    from problems import problem
    from shapes import Shape

    engines.gradient(problem(Shape("small", 2, 3, 2, 1, 2), "float32"), "cpp", threads)
    X, H, V, B, T = (sizes[axis] for axis in "XHVBT")
    task = problem(Shape("point", X, H, V, B, T), "float32")
    resident = forget_peak()
    start = time.perf_counter()
    result = engines.gradient(task, "cpp", threads)
    times = [time.perf_counter() - start]
    grown = max(0, memory("VmHWM") - resident)
    kept = sum(a.nbytes for a in (result.losses, result.grads.flat, result.state, result.dstate))
    while len(times) < 3 or (len(times) < 100 and sum(times) < 1.0):
        start = time.perf_counter()
        engines.gradient(task, "cpp", threads)
        times.append(time.perf_counter() - start)
    return {**sizes, "flops": task.shape.flops, "first": times[0], "best": min(times), "bytes": grown, "results": kept}


def forget_peak() -> int:
    """Gives freed memory back, lets the kernel count the peak from here; returns the resident size in bytes."""
    with contextlib.suppress(AttributeError):  # glibc's own: without it, what was freed before would be used again
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """A number of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def curve_table(axis: str, points: Iterable[dict[str, Any]]) -> str:
    """Times and memory, and both per unit of what they should be proportional to."""
    import report

    power, per = CURVES[axis]["power"], CURVES[axis]["per"]
    head = [axis, "time", f"time per {per}", "GF/s", "memory", f"memory per {axis}", "of it results"]
    body = []
    for p in points:
        times = [report.seconds(p["best"]), report.seconds(p["best"] / p[axis] ** power)]
        speed = f"{p['flops'] / p['best'] / 1e9:.3g}"
        sizes = [f"{p['bytes'] / 2**20:.2f} MiB", f"{p['bytes'] / p[axis]:.0f} B", f"{p['results'] / 2**20:.2f} MiB"]
        body.append([f"{p[axis]:,}", *times, speed, *sizes])
    return report.table(head, body, left=0)


def markdown(results: dict[str, Any]) -> str:
    """A table a curve."""
    parts = [
        "# Growth",
        program.fact(results, "float32", f"{results['threads']} thread(s)", "best of up to 100 calls")
        + "; each point in a process of its own\n- memory: growth of the peak resident size during the first call",
        f"![time and memory against T, B and H]({program.stem(results, 'growth')}.svg)",
    ]
    for axis, points in results["curves"].items():
        fixed = ", ".join(f"{name} = {value}" for name, value in point(axis, 0).items() if name != axis)
        power = "linear" if CURVES[axis]["power"] == 1 else "quadratic beyond small H"
        parts.append(f"## {axis}: {power} ({fixed})\n\n{curve_table(axis, points)}")
    return "\n\n".join(parts) + "\n"


def plot(results: dict[str, Any]) -> bytes | None:
    """Time above, memory below; a dashed line shows the growth that there should be."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    import plot as figures

    figure, axes = plt.subplots(2, len(results["curves"]), figsize=(12, 7), layout="constrained", squeeze=False)
    for column, (axis, points) in enumerate(results["curves"].items()):
        for place, key, unit in ((axes[0, column], "best", "seconds"), (axes[1, column], "bytes", "bytes")):
            curve(place, axis, [p for p in points if p[key] > 0], key)
            place.set_ylabel(unit)
        axes[1, column].set_xlabel(axis)
    return figures.image(figure)


def curve(place: Any, axis: str, points: list[dict[str, Any]], key: str) -> None:
    """One curve, and the power that it should follow, through its last point."""
    if not points:
        return
    x, y, power = [p[axis] for p in points], [p[key] for p in points], CURVES[axis]["power"]
    place.loglog(x, y, "o-", color="#0b5fa5")
    place.loglog(x, [y[-1] * (value / x[-1]) ** power for value in x], "--", color="#999999", linewidth=1)
    place.grid(alpha=0.3)


def run(quick: bool, threads: int) -> dict[str, Any]:
    """All curves; an interruption keeps what there is."""
    results = program.begin("growth", 2) | {"threads": threads, "curves": {}}
    places = [(axis, value) for axis in CURVES for value in CURVES[axis]["values"][: 5 if quick else None]]
    with program.interruptible():
        for axis, value in program.progress(places):
            results["curves"].setdefault(axis, []).append(measure(point(axis, value), threads))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes growth-PROCESSOR.json, .md and .svg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="the first points of each curve")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    environment.prepare()
    if args.child:
        print(json.dumps(child(json.loads(args.child), args.threads)))
        return 0
    import report

    results = run(args.quick, args.threads)
    drawn = plot(results)
    if drawn is not None:
        report.write_whole(args.out / f"{program.stem(results, 'growth')}.svg", drawn)
    return program.finish(results, markdown(results), args.out, "growth")


if __name__ == "__main__":
    sys.exit(main())

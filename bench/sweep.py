"""Odd sizes, each against PyTorch on one thread: is any slower, and does any fall out of line with its neighbours?

Usage: python bench/sweep.py [--cells rnn,lstm] [--dtype float32] [--quick] [--out DIR]

Most points lie on lines along one axis, where neighbours can be compared; the others are drawn from all axes at once.
"rnn" has all of them, another cell every third.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
import program
from shapes import GATES, Shape, cell_of, cells

if TYPE_CHECKING:
    import native
    from problems import Problem
    from timing import Contender, Times

HERE = Path(__file__).resolve().parent
AXES: dict[str, tuple[int, ...]] = {
    "H": (*range(1, 41), 63, 64, 65, 96, 100, 127, 128, 129, 200, 333, 512, 700, 1024),
    "B": (*range(1, 10), 16, 33, 64, 150),
    "T": (1, 2, 10, 100),
    "X": (1, 2, 3, 10, 65, 300, 5000),
    "V": (1, 2, 3, 10, 65, 300, 5000),
}
# Axis, then X, H, V, B, T and whether tokens; the axis's own number is replaced.
LINES = (
    ("H", 10, 0, 10, 1, 100, False), ("H", 65, 0, 65, 16, 10, True),
    ("B", 65, 100, 65, 0, 10, False), ("B", 3, 17, 2, 0, 100, False), ("B", 65, 333, 65, 0, 2, True),
    ("B", 10, 512, 10, 0, 10, False),
    ("T", 65, 100, 65, 1, 0, True), ("T", 10, 33, 3, 7, 0, False), ("T", 2, 200, 300, 33, 0, False),
    ("T", 1, 1, 1, 1, 0, False),
    ("X", 0, 40, 10, 5, 10, False), ("X", 0, 40, 10, 5, 10, True), ("X", 0, 128, 3, 33, 10, False),
    ("X", 0, 100, 65, 1, 100, True),
    ("V", 10, 40, 0, 5, 10, False), ("V", 2, 129, 0, 33, 10, False), ("V", 65, 100, 0, 1, 100, True),
)  # fmt: skip
SCATTERED = 40
THIN = 3  # which part of the points another cell than "rnn" has
AROUND = 2e-3  # seconds of a reading of the peak, before and after each turn
MOST_FLOPS = 8e9  # PyTorch takes some tenths of a second for that
# What may be lost to a neighbour's rate: by the call, by a step, and for the bytes of the parameters, per second.
CALL, STEP, PARAMETERS = 5e-6, 0.25e-6, 5e9


def lines(cell: str = "rnn") -> list[list[Shape]]:
    """The points of a cell, line by line, none too large; where it has fewer, each line begins with another value."""
    found = []
    for number, (axis, X, H, V, B, T, tokens) in enumerate(LINES):
        base = Shape(axis, X, H, V, B, T, tokens, cell=cell)
        values = AXES[axis] if cell == "rnn" else AXES[axis][number % THIN :: THIN]
        line = [named(with_size(base, axis, value)) for value in values]
        found.append([point for point in line if point.flops <= MOST_FLOPS])
    return found


def points_of(cell: str) -> list[Shape]:
    """All points of a cell: those on lines, and the others."""
    on_lines = {point.name: point for line in lines(cell) for point in line}
    return list(on_lines.values()) + scattered(cell=cell)[:: 1 if cell == "rnn" else THIN]


def scattered(number: int = SCATTERED, cell: str = "rnn") -> list[Shape]:
    """Points from all axes at once, the same ones every time, none too large."""
    import numpy as np

    rng, found = np.random.default_rng(0), dict[str, Shape]()
    while len(found) < number:
        X, H, V, B, T = (int(rng.choice(AXES[axis])) for axis in "XHVBT")
        point = named(Shape("", X, H, V, B, T, bool(rng.integers(2)), cell=cell))
        if point.flops <= MOST_FLOPS:
            found[point.name] = point
    return list(found.values())


def with_size(shape: Shape, axis: str, value: int) -> Shape:
    """The same with another number on one axis."""
    change: dict[str, Any] = {axis: value}
    return replace(shape, **change)


def named(shape: Shape) -> Shape:
    """A point is called by its sizes."""
    return replace(shape, name=shape.sizes + (" tokens" if shape.tokens else ""))


def right(task: "Problem", contenders: list["Contender"]) -> list[str]:
    """What is wrong with this point: bits between engines, or the gradient against PyTorch."""
    import engines
    import peers

    from rnncore.engines import engines as every_engine

    sets = [(name, threads) for name in every_engine() if name.startswith("cpp.") for threads in (1, None)]
    found = engines.differences(task, sets)
    for contender in contenders:
        contender.run(1)
    error = peers.error(contenders[0].results(), contenders[1].results())
    if error > peers.TOLERANCE[task.dtype]:
        found.append(f"PyTorch's gradient differs by {error:.1e}")
    return found


def measure(shape: Shape, dtype: str, rounds: int, seconds: float, isa: "native.Limits") -> dict[str, Any]:
    """Check, then time; a point that looks slow is timed again, longer, before it is believed."""
    import engines
    import peers
    from problems import problem
    from timing import Times, interleave

    def timed(rounds: int) -> "list[Times]":
        times = [Times() for _ in contenders]
        list(interleave(contenders, rounds, seconds, times, peak=lambda _: isa.fma(dtype, AROUND)))
        return times

    task = problem(shape, dtype)
    contenders = [engines.contender(task, "cpp", 1), engines.contender(task, "cpp", None), peers.by_torch(task, 1)]
    wrong = right(task, [contenders[0], contenders[2]])
    times = [Times() for _ in contenders]
    if not wrong:
        times = timed(rounds)
        if times[2].median < 1.2 * max(times[0].median, times[1].median):
            times = timed(4 * rounds)
    one, auto, torch = (t.median if t.seconds else None for t in times)
    return {
        "cell": shape.cell, "name": shape.name, "X": shape.X, "H": shape.H, "V": shape.V, "B": shape.B, "T": shape.T,
        "tokens": shape.tokens, "flops": shape.flops, "wrong": wrong, "cpp": one, "auto": auto, "torch": torch,
        "work": times[0].work[0] if one else None,
    }  # fmt: skip


def judge(points: list[dict[str, Any]], on_lines: list[list[str]], peak: float) -> None:
    """Adds shares, times PyTorch, and for each point on a line its better neighbour where that is twice as good.

    peak: the best reading of the run, by which shares are told in older files.
    """
    by_name = {point["name"]: point for point in points if point["cpp"]}
    for point in by_name.values():
        point.pop("neighbour", None)
        point["share"] = point["flops"] / (point.get("work") or point["cpp"] * peak)
        point["times_torch"] = point["torch"] / max(point["cpp"], point["auto"])
    for line in on_lines:
        measured = [by_name[name] for name in line if name in by_name]
        for i, point in enumerate(measured):
            beside = [*measured[max(0, i - 1) : i], *measured[i + 1 : i + 2]]
            better = max(beside, key=lambda other: other["share"], default=point)
            if point["share"] < 0.5 * better["share"]:
                point["neighbour"] = compared(point, better)


def judge_all(results: dict[str, Any]) -> None:
    """Each cell by itself."""
    for cell in dict.fromkeys(point["cell"] for point in results["points"]):
        points = [point for point in results["points"] if point["cell"] == cell]
        judge(points, [[point.name for point in line] for line in lines(cell)], results["peak"])


def compared(point: dict[str, Any], better: dict[str, Any]) -> dict[str, Any]:
    """What is lost against the better neighbour's rate, and the reason where it is plain."""
    lost = point["cpp"] - point["flops"] / (better["flops"] / better["cpp"])
    return {
        "name": better["name"], "share": better["share"], "lost": lost, "lost_a_step": lost / point["T"],
        "reason": reason(point, better, lost),
    }  # fmt: skip


def reason(point: dict[str, Any], better: dict[str, Any], lost: float) -> str:
    """Why a point may fall behind: costs that smaller work has as well; empty if none of them explains it."""
    X, H, V = point["X"], point["H"], point["V"]
    if lost <= CALL:
        return "the call"
    if lost / point["T"] <= STEP:
        return "latency of a step"
    if lost <= CALL + 4 * (GATES[cell_of(point)] * (X * H + H * H) + H * V) / PARAMETERS:
        return "every parameter is packed and its gradient written once a call"
    if point["flops"] < better["flops"] and 0.8 < point["cpp"] / better["cpp"] < 1.1:
        return "as long as the larger neighbour: lanes or rows that stay empty"
    return ""


def markdown(results: dict[str, Any]) -> str:
    """Cell after cell."""
    head = program.fact(results, results["dtype"], f"FMA peak {results['peak'] / 1e9:.1f} GF/s at best")
    names = dict.fromkeys(point["cell"] for point in results["points"])
    parts = ["# Odd sizes", head, *(section(results, cell) for cell in names)]
    return "\n\n".join(parts) + "\n"


def section(results: dict[str, Any], cell: str) -> str:
    """What was found of a cell first, all its points after it."""
    every = [point for point in results["points"] if point["cell"] == cell]
    points = [point for point in every if point.get("share")]
    slow = sorted((p for p in points if p["times_torch"] < 1), key=lambda p: float(p["times_torch"]))
    odd = [p for p in points if "neighbour" in p]
    ratios = sorted(p["times_torch"] for p in points)
    facts = [
        f"{len(points)} points; PyTorch takes from {ratios[0]:.3g} to {ratios[-1]:.4g} times as long, "
        f"in the middle {ratios[len(ratios) // 2]:.3g}" if ratios else "no points",
        f"{len(slow)} slower than PyTorch; {len(odd)} under half of a neighbour's share of the peak, "
        f"{sum(not p['neighbour']['reason'] for p in odd)} of them without a plain reason",
        *(f"**wrong: {p['name']}: {'; '.join(p['wrong'])}**" for p in every if p["wrong"]),
    ]  # fmt: skip
    parts = [f"## {cell}", "\n".join(f"- {fact}" for fact in facts)]
    if slow:
        parts.append(f"### {cell}, slower than PyTorch\n\n" + point_table(slow))
    if odd:
        parts.append(f"### {cell}, under half of a neighbour's share\n\n" + odd_table(odd))
    return "\n\n".join([*parts, f"### {cell}, all points\n\n" + point_table(points)])


def point_table(points: list[dict[str, Any]]) -> str:
    """Times, shares, and against PyTorch; the slower of one thread and automatic counts there."""
    import report

    head = ["X,H,V,B,T", "1 thread", "auto", "PyTorch", "of peak", "times PyTorch"]
    body = []
    for p in points:
        times = [report.seconds(p[key]) for key in ("cpp", "auto", "torch")]
        body.append([p["name"], *times, report.percent(p["share"]), report.ratio(p["times_torch"])])
    return report.table(head, body)


def odd_table(points: list[dict[str, Any]]) -> str:
    """Each beside its better neighbour."""
    import report

    head = ["X,H,V,B,T", "1 thread", "of peak", "neighbour", "its share", "lost", "lost a step", "reason"]
    body = []
    for p in points:
        n = p["neighbour"]
        row = [p["name"], report.seconds(p["cpp"]), report.percent(p["share"]), n["name"], report.percent(n["share"])]
        body.append([*row, report.seconds(n["lost"]), report.seconds(n["lost_a_step"]), n["reason"]])
    return report.table(head, body)


def again(results: dict[str, Any], points: list[Shape], rounds: int, isa: "native.Limits") -> None:
    """What is out of line without a reason is timed once more, longer: a busy moment is no finding."""
    shapes = {(point.cell, point.name): point for point in points}
    for i, point in enumerate(results["points"]):
        if "neighbour" in point and not point["neighbour"]["reason"]:
            shape = shapes[point["cell"], point["name"]]
            results["points"][i] = measure(shape, results["dtype"], 4 * rounds, 0.02, isa)


def run(points: list[Shape], dtype: str, rounds: int) -> dict[str, Any]:
    """All points; an interruption keeps what there is."""
    import native

    results = program.begin("sweep", 3) | {"dtype": dtype, "points": []}
    isa = native.limits()[0]
    readings = [isa.fma(dtype, 0.3)]
    with program.interruptible():
        for point in program.progress(points):
            results["points"].append(measure(point, dtype, rounds, 0.02, isa))
    results["peak"] = max([*readings, isa.fma(dtype, 0.3)])
    judge_all(results)
    again(results, points, rounds, isa)
    judge_all(results)
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes sweep-PROCESSOR.json and .md; 1 if a point is wrong or slower than PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", default="rnn,lstm,gru", help=f"comma-separated, of {', '.join(GATES)}")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--quick", action="store_true", help="every seventh point")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args(argv)
    environment.prepare()
    import report

    try:
        names = cells(args.cells)
        if "gru_reset_before" in names:
            raise ValueError("PyTorch has no gru_reset_before")
    except ValueError as wrong:
        parser.error(str(wrong))
    points = [point for cell in names for point in points_of(cell)][:: 7 if args.quick else 1]
    results = run(points, args.dtype, args.rounds)
    stem = program.stem(results, "sweep" if args.dtype == "float32" else f"sweep-{args.dtype}")
    report.write_json(args.out / f"{stem}.json", results)
    page = markdown(results)
    report.write_whole(args.out / f"{stem}.md", page)
    found = [part.split("\n\n### ")[0] for part in page.split("\n## ")]
    print("\n\n".join([*found, f"written: {args.out / stem}.json, .md"]))
    return 1 if any(p["wrong"] or p["times_torch"] < 1 for p in results["points"]) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Write bench/roofline.md from result files: python bench/roofline.py [RESULTS.json ...].

Of each kind of processor the newest one if none is given. For each shape: what each resource of one core needs at
least, by the limits measured in the same run.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kept
import processor
import report
from shapes import GATES, Shape, cell_of, named

HERE = Path(__file__).resolve().parent
ITEMSIZE = {"float32": 4, "float64": 8}
GRU = {"sigmoid": 2, "tanh": 1}
FUNCTIONS: dict[str, dict[str, int]] = {
    "rnn": {"tanh": 1}, "rnn_relu": {}, "lstm": {"sigmoid": 3, "tanh": 2}, "gru": GRU, "gru_reset_before": GRU,
}  # fmt: skip

TEXT = """# What bounds each shape

Written by `python bench/roofline.py` from the newest result file of each kind of processor. One thread of rnncore's
best instruction set; every limit was measured in the same run.

How long each resource is busy at least, if it did nothing else and lost nothing:

- **FMA**: the products' flops, `T B (g H (4 X + 6 H) + 6 H V)` with g gates (rnn 1, lstm 4, gru 3), at the peak of
  FMA from registers alone, as it was around the calls.
- **elementary**: `T B V` values of exp, and of each hidden unit's T B values a tanh (rnn), three of sigmoid and two of
  tanh (lstm), two of sigmoid and one of tanh (gru), at the rate of our own functions on arrays in L2. They run on the
  FMA units too, so both columns add up.
- **chain**: additions have a fixed order, so a value of `W_hh h` is H FMAs, each waiting for the one before,
  and on the way back one of `W_hh^T dz` is g H; a step forward and a step back cannot overlap:
  `T H (1 + g)` of them. Large batches hide it behind other rows; a batch of one cannot where H is small.
- **weights**: `W_hh` is read once for a step forward and once back, from the smallest cache that holds it.
- **call**: from Python into the core and back with one of everything.

The bound is a sum, since one follows the other: the call; the recurrent products of all steps, which take what the
slowest of their FMAs (`4 T B g H²` flops), the chain and the weights takes; the other products; the elementary
functions. *Reached* is bound over time: 100 % would mean that nothing is left to gain without another algorithm.
*Limited by* names the largest term. Not counted: packing the weights, lanes left empty where H is no multiple of a
vector, the softmax's divisions, what the gates are multiplied by, storing h, the gates and dz.
"""
PART = """
## {name}

[{source}](results/{source})

- {date}, commit {commit}
- FMA at best: {peaks}; latency {latency}
- reading: {reads}
- the call: {call}
"""


def level(size: int, caches: dict[str, int]) -> str:
    """The smallest cache that holds so many bytes."""
    return next((name for name in ("L1", "L2", "L3") if size <= caches.get(name, 0)), "DRAM")


def best(results: dict[str, Any], name: str, smallest: bool = False) -> float:
    """The best reading of a limit."""
    values = results["limits"][name]
    return float(min(values) if smallest else max(values))


def weight_bytes(shape: Shape, dtype: str) -> int:
    """How large W_hh is."""
    return GATES[shape.cell] * shape.H**2 * ITEMSIZE[dtype]


def needs(shape: Shape, dtype: str, results: dict[str, Any], peak: float) -> dict[str, float]:
    """Seconds that each resource is busy at least."""
    T, B, H, V, gates = shape.T, shape.B, shape.H, shape.V, GATES[shape.cell]
    weights = weight_bytes(shape, dtype)
    values = {"exp": V} | {name: H * number for name, number in FUNCTIONS[shape.cell].items()}
    return {
        "FMA": shape.flops / peak,
        "recurrent": 4 * T * B * gates * H * H / peak,
        "elementary": sum(T * B * number / best(results, f"{name} {dtype}") for name, number in values.items()),
        "chain": (1 + gates) * T * H * best(results, "fma latency", smallest=True),
        "weights": 2 * T * weights / best(results, f"read {level(weights, results['machine']['caches'])}"),
        "call": best(results, "call", smallest=True),
    }


def bound(times: dict[str, float]) -> tuple[float, str]:
    """The least time, and what most of it goes to."""
    steps = {"FMA units": times["recurrent"], "chain of FMAs": times["chain"], "reading weights": times["weights"]}
    slowest = max(steps, key=lambda key: steps[key])
    shares = {"the call": times["call"], "FMA units": times["FMA"] - times["recurrent"] + times["elementary"]}
    shares[slowest] = shares.get(slowest, 0.0) + steps[slowest]
    return sum(shares.values()), max(shares, key=lambda key: shares[key])


def line(row: dict[str, Any], results: dict[str, Any]) -> list[str]:
    """One shape."""
    shape, dtype = replace(named(row["shape"])[0], cell=cell_of(row)), row["dtype"]
    work = report.work(row, results)
    if work is None:
        raise ValueError("the peak was not read in that run")
    times = needs(shape, dtype, results, work / row["median"])
    least, name = bound(times)
    weights = f"{report.seconds(times['weights'])} {level(weight_bytes(shape, dtype), results['machine']['caches'])}"
    if name == "reading weights":
        name = f"reading weights from {weights.rsplit(' ', 1)[1]}"
    columns = [report.seconds(times[key]) for key in ("FMA", "elementary", "chain")]
    last = [report.seconds(least), report.seconds(row["median"]), report.percent(least / row["median"]), name]
    return [shape.name, shape.sizes, *columns, weights, *last]


def part(results: dict[str, Any], source: str) -> str:
    """What the page says of one run."""
    head = ["shape", "X,H,V,B,T", "FMA", "elementary", "chain", "weights", "bound", "measured", "reached", "limited by"]
    rows = [r for r in results["rows"] if (r["contender"], r["threads"]) == ("rnncore cpp", 1)]
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    tables = list(dict.fromkeys((cell_of(row), row["dtype"]) for row in rows))
    reads = (name for name in results["limits"] if name.startswith("read "))
    text = PART.format(
        name=processor.name(results["machine"]),
        source=source,
        date=results["date"],
        commit=results["commit"],
        peaks=", ".join(f"{dtype} {(report.peak(results, dtype) or 0) / 1e9:.0f} GF/s" for dtype in dtypes),
        latency=report.seconds(best(results, "fma latency", smallest=True)),
        reads=", ".join(f"{name[5:]} {best(results, name) / 1e9:.0f} GB/s" for name in reads),
        call=report.seconds(best(results, "call", smallest=True)),
    )
    for cell, dtype in tables:
        body = [line(row, results) for row in rows if (cell_of(row), row["dtype"]) == (cell, dtype)]
        text += f"\n### {cell}, {dtype}\n\n{report.table(head, body, left=2)}\n"
    return text


def main(argv: list[str] | None = None) -> int:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, default=HERE / "roofline.md")
    args = parser.parse_args(argv)
    try:
        paths = args.results or kept.newest().values()
        report.write_whole(args.out, TEXT + "".join(part(kept.counted(path), path.name) for path in paths))
    except (OSError, ValueError) as why:
        print(f"roofline.py: {why}", file=sys.stderr)
        return 2
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

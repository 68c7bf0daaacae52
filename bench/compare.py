"""Compare two result files of run.py: python bench/compare.py OLD.json NEW.json [--threshold 0.05].

Each ratio is new time over old time, both counted in what the FMA units could have done meanwhile (time * peak around
the calls, or of the run if one of the files is older than that), so that another clock rate does not look like another
program. Above 1 is slower.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import report
from kept import load
from shapes import cell_of

Key = tuple[str, str, str, str, int | None]


def keyed(results: dict[str, Any], part: str) -> dict[Key, dict[str, Any]]:
    """Rows by cell, shape, dtype, contender and threads."""
    return {(cell_of(r), r["shape"], r["dtype"], r["contender"], r["threads"]): r for r in results[part]}


def work(results: dict[str, Any], row: dict[str, Any], around: bool) -> float:
    """The row's time, counted in flops at the peak around its calls, or of its run; in seconds if that was not read."""
    allowed = report.work(row if around else row | {"work": None}, results)
    return float(row["median"]) if allowed is None else allowed


def verdict(ratio: float, threshold: float) -> str:
    """slower, faster, or nothing."""
    return "slower" if ratio > 1 + threshold else "faster" if ratio < 1 / (1 + threshold) else ""


def compare(old: dict[str, Any], new: dict[str, Any], threshold: float) -> list[dict[str, Any]]:
    """A row for all that both have measured."""
    found = []
    for part in ("rows", "loops"):
        before, after = keyed(old, part), keyed(new, part)
        for key in (key for key in before if key in after):
            around = all(row.get("work") is not None for row in (before[key], after[key]))
            ratio = work(new, after[key], around) / work(old, before[key], around)
            found.append(
                {"part": part, "key": key, "old": before[key]["median"], "new": after[key]["median"]}
                | {"ratio": ratio, "verdict": verdict(ratio, threshold)}
            )
    return found


def missing(old: dict[str, Any], new: dict[str, Any]) -> list[Key]:
    """What the old run had and the new one lacks."""
    return [key for part in ("rows", "loops") for key in keyed(old, part) if key not in keyed(new, part)]


def text(found: list[dict[str, Any]]) -> str:
    """A table for a terminal."""
    head = ["cell", "shape", "dtype", "contender", "threads", "old", "new", "ratio", "changed"]
    body = []
    for row in found:
        cell, shape, dtype, contender, threads = row["key"]
        name = f"training {shape}" if row["part"] == "loops" else shape
        times = [report.seconds(row["old"]), report.seconds(row["new"]), f"{row['ratio']:.3f}"]
        body.append([cell, name, dtype, contender, report.count(threads), *times, row["verdict"]])
    return report.table(head, body, left=4)


def main(argv: list[str] | None = None) -> int:
    """Prints the table; 1 if anything of rnncore's became slower."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--threshold", type=float, default=0.05, help="a change below this is noise (default 0.05)")
    args = parser.parse_args(argv)
    try:
        old, new = load(args.old), load(args.new)
    except (OSError, ValueError) as why:
        print(f"compare.py: {why}", file=sys.stderr)
        return 2
    found = compare(old, new, args.threshold)
    print(f"old: {old['date']} {old['commit']}   new: {new['date']} {new['commit']}")
    for dtype in ("float32", "float64"):
        peaks = [report.peak(results, dtype) for results in (old, new)]
        if all(peaks):
            print(f"FMA peak {dtype}: " + ", ".join(f"{value / 1e9:.1f} GF/s" for value in peaks if value))
    print(text(found))
    for key in missing(old, new):
        print(f"only in the old: {key}")
    return 1 if any(r["verdict"] == "slower" and r["key"][3].startswith("rnncore") for r in found) else 0


if __name__ == "__main__":
    sys.exit(main())

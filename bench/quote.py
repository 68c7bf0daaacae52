"""Prints the tables of README.md and docs/speed.md from the newest result file, or from one that is named.

Usage: python bench/quote.py [RESULTS.json]
"""

import argparse
from pathlib import Path
from typing import Any

import roofline

LIKE = {
    "S0": "a tutorial's toy",
    "S1": "min-char-rnn",
    "S2": "a small control task",
    "S3": "a character model, batched",
    "S4": "a larger one",
    "S5": "a large layer",
    "S6": "the same, batch of one",
    "S7": "long time series",
}
CELLS = ("rnn", "lstm", "gru")
SHORT = ("S1", "S2", "S3", "S5", "S7")


def table(results: dict[str, Any]) -> str:
    """Return the long table, by the fastest calls, float32, one thread: times, shares of the peak, PyTorch, oneDNN."""
    rows = by_name(results)
    lines = []
    for shape, like in LIKE.items():
        texts = [rows["rnn", shape, "rnncore cpp"]["sizes"], like]
        for cell in CELLS:
            ours = rows[cell, shape, "rnncore cpp"]
            share = 100 * ours["share"] * ours["median"] / ours["best"]
            texts += [seconds(ours["best"]), "" if shape == "S0" else f"{share:.0f} %"]
            texts += [times(rows[cell, shape, peer], ours) for peer in ("torch", "onednn")]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def short_table(results: dict[str, Any]) -> str:
    """Return the README's table: some shapes of the long one, times and PyTorch alone."""
    rows = by_name(results)
    lines = []
    for shape in SHORT:
        texts = [rows["rnn", shape, "rnncore cpp"]["sizes"], LIKE[shape]]
        for cell in CELLS:
            ours = rows[cell, shape, "rnncore cpp"]
            texts += [seconds(ours["best"]), times(rows[cell, shape, "torch"], ours)]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def by_name(results: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return the rows in float32 on one thread by cell, shape and contender."""
    return {
        (row["cell"], row["shape"], row["contender"]): row
        for row in results["rows"]
        if row["dtype"] == "float32" and row["threads"] == 1
    }


def times(peer: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return how many times as long a peer takes, such as 1.24 x."""
    return f"{peer['best'] / ours['best']:.3g} x"


def seconds(time: float) -> str:
    """Return a time such as 58.8 us."""
    unit, scale = ("us", 1e6) if time < 1e-3 else ("ms", 1e3) if time < 1 else ("s", 1.0)
    return f"{time * scale:.3g} {unit}"


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="?")
    results = roofline.load(parser.parse_args().results or roofline.newest())
    print(short_table(results), table(results), sep="\n\n")


if __name__ == "__main__":
    main()

"""Prints the table of README.md from the newest result file, or from one that is named.

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


def table(results: dict[str, Any]) -> str:
    """By the fastest calls, float32, one thread: the time, the share of the peak, how long PyTorch and oneDNN take."""
    rows = {
        (row["cell"], row["shape"], row["contender"]): row
        for row in results["rows"]
        if row["dtype"] == "float32" and row["threads"] == 1
    }
    lines = []
    for shape, like in LIKE.items():
        texts = [rows["rnn", shape, "rnncore cpp"]["sizes"], like]
        for cell in CELLS:
            ours, torch, onednn = (rows[cell, shape, name] for name in ("rnncore cpp", "torch", "onednn"))
            share = 100 * ours["share"] * ours["median"] / ours["best"]
            texts += [seconds(ours["best"]), "" if shape == "S0" else f"{share:.0f} %"]
            texts += [f"{peer['best'] / ours['best']:.3g} x" for peer in (torch, onednn)]
        lines.append("| " + " | ".join(texts) + " |")
    return "\n".join(lines)


def seconds(time: float) -> str:
    """Such as 58.8 us."""
    unit, scale = ("us", 1e6) if time < 1e-3 else ("ms", 1e3) if time < 1 else ("s", 1.0)
    return f"{time * scale:.3g} {unit}"


def main() -> None:
    """Prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("results", type=Path, nargs="?")
    print(table(roofline.load(parser.parse_args().results or roofline.newest())))


if __name__ == "__main__":
    main()

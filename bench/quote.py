"""The tables of README.md and docs/speed.md, from the newest result file of each kind of processor.

Usage: python bench/quote.py [--write]. Without the option they are printed.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import kept
import report

ROOT = Path(__file__).resolve().parents[1]
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
SHORT = {"S1": "min-char-rnn", "S3": "character model", "S5": "large layer"}  # the README has to stay short
BEGIN, END = "<!-- written by bench/quote.py -->", "<!-- until here -->"
SHORT_TABLE = re.compile(r"^\| X,H,V,B,T .*\n(?:\|.*\n)+", re.MULTILINE)
SECTIONS = re.compile(f"{BEGIN}\n.*?{END}\n", re.DOTALL)

Rows = dict[tuple[str, str, str], dict[str, Any]]
"""Rows by cell, shape and contender: float32, one thread, the fastest calls."""
Runs = dict[str, tuple[str, dict[str, Any]]]
"""By processor: the name of a result file, and what is in it."""


def newest() -> Runs:
    """What is quoted."""
    return {kind: (path.stem, kept.counted(path)) for kind, path in kept.newest().items()}


def by_name(results: dict[str, Any]) -> Rows:
    """The rows that are quoted."""
    rows = report.fastest(results)["rows"]
    chosen = (row for row in rows if row["dtype"] == "float32" and row["threads"] == 1)
    return {(row["cell"], row["shape"], row["contender"]): row for row in chosen}


def line(texts: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(texts)} |\n"


def short_table(runs: Runs) -> str:
    """The README's table: some shapes, and for each processor and cell our time and how many times it PyTorch takes."""
    rows = {kind: by_name(results) for kind, (_, results) in runs.items()}
    head = [f"{kind}: {cell}" if cell == CELLS[0] else cell for kind in rows for cell in CELLS]
    text = line(["X,H,V,B,T", "like", *head]) + f"|---|---|{'--:|' * len(head)}\n"
    for shape in SHORT:
        texts = [sizes(next(iter(rows.values())), shape), SHORT[shape]]
        for own in rows.values():
            for cell in CELLS:
                ours, torch = own[cell, shape, "rnncore cpp"], own.get((cell, shape, "torch"))
                texts.append(", ".join([seconds(ours["best"]), *([times(torch, ours)] if torch else [])]))
        text += line(texts)
    return text


def sizes(rows: Rows, shape: str) -> str:
    """X,H,V,B,T."""
    return str(rows[CELLS[0], shape, "rnncore cpp"]["sizes"])


def long_table(results: dict[str, Any]) -> str:
    """The table of one processor in speed.md: times, shares of the peak, PyTorch, oneDNN."""
    rows = by_name(results)
    head = [text for cell in CELLS for text in (cell, "of peak", "PyTorch", "oneDNN")]
    text = line(["X,H,V,B,T", "like", *head]) + f"|---|---|{'--:|' * len(head)}\n"
    for shape, like in LIKE.items():
        texts = [sizes(rows, shape), like]
        for cell in CELLS:
            ours = rows[cell, shape, "rnncore cpp"]
            texts += [seconds(ours["best"]), "" if shape == "S0" else report.percent(ours["share"])]
            others = (rows.get((cell, shape, peer)) for peer in ("torch", "onednn"))
            texts += ["" if peer is None else times(peer, ours) for peer in others]
        text += line(texts)
    return text


def sections(runs: Runs) -> str:
    """What speed.md says of each processor."""
    text = BEGIN
    for kind, (stem, results) in runs.items():
        around = all(row.get("work") is not None for row in results["rows"])
        peak = "read around each call" if around else "the best reading of the run"
        text += f"\n\n### {kind}\n\n[One run](../bench/results/{stem}.md) of {results['date'][:10]}, on "
        text += f"{results['machine']['cores']} cores;\nthe peak is {peak}.\n\n{long_table(results)}"
    return f"{text}\n{END}\n"


def times(peer: dict[str, Any], ours: dict[str, Any]) -> str:
    """How many times as long a peer takes, such as 1.24 x."""
    return f"{peer['best'] / ours['best']:.3g} x"


def seconds(time: float) -> str:
    """A time such as 58.8 us."""
    unit, scale = ("us", 1e6) if time < 1e-3 else ("ms", 1e3) if time < 1 else ("s", 1.0)
    return f"{time * scale:.3g} {unit}"


def replaced(page: Path, pattern: re.Pattern[str], text: str) -> None:
    """The one place of a page where the pattern is found, with another text."""
    before = page.read_text()
    after, places = pattern.subn(lambda _: text, before)
    if places != 1:
        raise ValueError(f"{page} has {places} places for the tables, not one")
    report.write_whole(page, after)


def main(argv: list[str] | None = None) -> None:
    """Prints both, or writes them where they belong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--write", action="store_true", help="into README.md and docs/speed.md")
    runs = newest()
    if parser.parse_args(argv).write:
        replaced(ROOT / "README.md", SHORT_TABLE, short_table(runs))
        replaced(ROOT / "docs" / "speed.md", SECTIONS, sections(runs))
    else:
        print(short_table(runs), sections(runs), sep="\n")


if __name__ == "__main__":
    main()

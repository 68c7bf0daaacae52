"""Draws the picture of the README from the odd sizes of one file of bench/results/: python bench/picture.py.

Time of one gradient against H, rnncore beside PyTorch. It is written as SVG without a library, so that the same
results give the same file, and follows the reader's colour scheme, light or dark.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import processor

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "sweep-amd-epyc-25-17.json"
PICTURE = HERE.parent / "docs" / "pictures" / "time.svg"

CELLS = ("rnn", "lstm", "gru")
LINES = (  # sizes that stay as H grows, and the dashes of their line
    ({"X": 10, "V": 10, "B": 1, "T": 100, "tokens": False}, ""),
    ({"X": 65, "V": 65, "B": 16, "T": 10, "tokens": True}, "5 3"),
)
CONTENDERS = {"torch": "PyTorch", "cpp": "rnncore"}

WIDTH, HEIGHT = 840, 340
TOP, BOTTOM, LEFT, GAP = 80, 290, 58, 32
PANEL = (WIDTH - LEFT - 22 - GAP * (len(CELLS) - 1)) / len(CELLS)
H_LIMITS, TIME_LIMITS = (1, 1024), (1e-5, 2e-1)
H_TICKS = (1, 10, 100, 1000)
TIME_TICKS = {1e-5: "10 us", 1e-4: "100 us", 1e-3: "1 ms", 1e-2: "10 ms", 1e-1: "100 ms"}

STYLE = """
  svg { font: 13px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
  .page { fill: #ffffff; } text { fill: #1f2328; } .small { font-size: 11px; } .title { font-weight: 600; }
  .grid { stroke: #d1d9e0; } path { fill: none; stroke-width: 2; stroke-linejoin: round; }
  .cpp { stroke: #0969da; } .torch { stroke: #bc4c00; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; } text { fill: #f0f6fc; } .grid { stroke: #3d444d; }
    .cpp { stroke: #58a6ff; } .torch { stroke: #f0883e; }
  }
"""


def across(hidden: float) -> float:
    """Return the place of H on a panel's logarithmic axis, in pixels from its left."""
    return PANEL * math.log(hidden / H_LIMITS[0]) / math.log(H_LIMITS[1] / H_LIMITS[0])


def down(seconds: float) -> float:
    """Return the place of a time on the logarithmic axis, in pixels from the top of the picture."""
    low, high = TIME_LIMITS
    return BOTTOM - (BOTTOM - TOP) * math.log(seconds / low) / math.log(high / low)


def curve(points: Iterable[tuple[float, float]], left: float, kind: str, dashes: str) -> str:
    """Return a line through the points (H, seconds)."""
    places = " L".join(f"{left + across(hidden):.1f} {down(seconds):.1f}" for hidden, seconds in points)
    return f'<path class="{kind}" stroke-dasharray="{dashes or "none"}" d="M{places}"/>'


def text(x: float, y: float, words: str, kind: str = "small", anchor: str = "start") -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def grid(left: float) -> list[str]:
    """Return the lines behind a panel and the numbers below it."""
    parts = [
        f'<path class="grid" style="stroke-width:1" d="M{left:.1f} {down(t):.1f} h{PANEL:.1f}"/>' for t in TIME_TICKS
    ]
    parts += [text(left + across(h), BOTTOM + 17, str(h), anchor="middle") for h in H_TICKS]
    return parts


def panel(cell: str, left: float, points: list[dict[str, Any]]) -> list[str]:
    """Return what is drawn of one cell."""
    parts = [*grid(left), text(left, TOP - 12, cell, "title")]
    for contender in CONTENDERS:
        for sizes, dashes in LINES:
            found = [p for p in points if p["cell"] == cell and all(p[name] == size for name, size in sizes.items())]
            found.sort(key=lambda p: p["H"])
            parts.append(curve([(p["H"], p[contender]) for p in found], left, contender, dashes))
    return parts


def legend() -> list[str]:
    """Return the explanation above the panels."""
    parts, x = [], float(LEFT)
    for contender, name in CONTENDERS.items():
        parts += [f'<path class="{contender}" d="M{x} 36 h26"/>', text(x + 32, 40, name)]
        x += 110
    for sizes, dashes in LINES:
        words = f"B = {sizes['B']}, T = {sizes['T']}, " + ("tokens" if sizes["tokens"] else "vectors")
        style = f'stroke-dasharray="{dashes or "none"}" style="stroke:#818b98"'
        parts += [f'<path {style} d="M{x} 36 h26"/>', text(x + 32, 40, words)]
        x += 200
    return parts


def draw(results: dict[str, Any]) -> str:
    """Return the picture as SVG."""
    where = f"{processor.name(results['machine'])}, one thread, {results['dtype']}, {results['date'][:10]}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Time of one gradient against the number of hidden units, rnncore and PyTorch</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        text(LEFT, 20, "Time of one gradient against H, the number of hidden units", "title"),
        *legend(),
        *(text(LEFT - 8, down(t) + 4, name, anchor="end") for t, name in TIME_TICKS.items()),
    ]
    for number, cell in enumerate(CELLS):
        parts += panel(cell, LEFT + number * (PANEL + GAP), results["points"])
    parts += [text(LEFT, HEIGHT - 10, "H, logarithmic"), text(WIDTH - 22, HEIGHT - 10, where, anchor="end"), "</svg>"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(json.loads(RESULTS.read_text())))

"""The figure of a run, and figures as SVG."""

from typing import Any

from shapes import SAME_COST, cell_of

Results = dict[str, Any]
Row = dict[str, Any]
COLORS = {
    "rnncore cpp": "#0b5fa5",
    "rnncore cpp.avx2": "#4c9ed9",
    "rnncore numba": "#7fc6a4",
    "onednn": "#d55e00",
    "jax": "#e69f00",
    "numpy": "#999999",
    "torch": "#7a4b94",
}


def plot(results: Results) -> bytes | None:
    """For each cell share of peak and times PyTorch, by shape: float32 (or what there is), one thread.

    None without matplotlib.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    dtype = results["rows"][0]["dtype"]
    rows = [r for r in results["rows"] if r["dtype"] == dtype and r["threads"] == 1]
    names = list(dict.fromkeys(map(cell_of, rows)))
    size = (11, 1 + 6 * len(names))
    figure, axes = plt.subplots(2 * len(names), 1, figsize=size, layout="constrained", squeeze=False)
    for i, name in enumerate(names):
        pair(axes[2 * i, 0], axes[2 * i + 1, 0], name, [row for row in rows if cell_of(row) == name])
    where = f"{results['machine']['cpu']} · {results['date'][:10]}"
    figure.suptitle(f"Gradients of recurrent nets, {dtype}, one thread · {where}")
    return image(figure)


def pair(above: Any, below: Any, name: str, rows: list[Row]) -> None:
    """Both axes of one cell."""
    bars(above, rows, "share", 100)
    above.set_ylabel(f"{name}: % of the FMA peak")
    above.set_ylim(0, 100)
    legend(above)
    bars(below, rows, "times_torch", 1)
    below.set_ylabel(f"{name}: times as fast as PyTorch")
    below.set_yscale("log")
    below.axhline(1, color="black", linewidth=0.8)


def legend(axes: Any) -> None:
    """A legend, where there is anything to name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(ncols=4, fontsize=9, loc="upper left", frameon=False)


def bars(axes: Any, rows: list[Row], key: str, factor: float) -> None:
    """Groups of bars, one group a shape, one colour a contender."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    contenders = [name for name in COLORS if any(row["contender"] == name for row in rows)]
    width = 0.85 / max(1, len(contenders))
    for i, name in enumerate(contenders):
        found = {row["shape"]: row[key] for row in rows if row["contender"] == name and row[key] is not None}
        places = [place + (i - (len(contenders) - 1) / 2) * width for place, s in enumerate(shapes) if s in found]
        axes.bar(places, [factor * found[s] for s in shapes if s in found], width, label=name, color=COLORS[name])
    sizes = {row["shape"]: row["sizes"] for row in rows if row["contender"] != SAME_COST}
    axes.set_xticks(range(len(shapes)), [f"{name}\n{sizes[name]}" for name in shapes], fontsize=6)
    axes.grid(axis="y", alpha=0.3)


def image(figure: Any) -> bytes:
    """A figure as SVG."""
    import io

    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    plt.rcParams["svg.hashsalt"] = "rnncore"  # the same results give the same file
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()

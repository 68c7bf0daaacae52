"""Results as people read them: shares of the peak and times PyTorch, as JSON, Markdown, a plot, and in a terminal."""

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Results = dict[str, Any]
Row = dict[str, Any]


def finish(results: Results) -> None:
    """Adds to each row its share of the peak and how many times as fast as PyTorch it is."""
    for row in results.get("rows", []):
        row["share"] = share(row, results)
        row["times_torch"] = times_torch(row, results["rows"])
    for row in results.get("loops", []):
        row["times_torch"] = times_torch(row, results["loops"])


def share(row: Row, results: Results) -> float | None:
    """``flops / (time * peak * threads)``; for AVX2 of its own peak. None where the threads or the peak are unknown."""
    top = peak(results, row["dtype"], "avx2" if row["contender"].endswith(".avx2") else None)
    if top is None or row["threads"] is None:
        return None
    return float(row["flops"] / (row["median"] * top * row["threads"]))


def peak(results: Results, dtype: str, isa: str | None = None) -> float | None:
    """The best reading of one thread's FMA peak in this run: of one instruction set, or of the best there is."""
    pattern = rf"{isa or '.*'} fma {dtype}"
    readings = [max(values) for name, values in results["limits"].items() if re.fullmatch(pattern, name)]
    return max(readings, default=None)


def times_torch(row: Row, rows: Iterable[Row]) -> float | None:
    """PyTorch's time over this one's; PyTorch on one thread or on as many as this row has, whichever is faster."""
    allowed = row["threads"] or math.inf
    same = [r for r in rows if r["contender"] == "torch" and (r["shape"], r["dtype"]) == (row["shape"], row["dtype"])]
    fastest = min((r["median"] for r in same if r["threads"] <= allowed), default=None)
    return None if fastest is None else float(fastest / row["median"])


def wrong(results: Results) -> list[str]:
    """What was found not to agree: engines to the last bit, peers to float precision."""
    found = [f"{c['shape']} {c['dtype']}: {d}" for c in results.get("checks", []) for d in c["differences"]]
    for check in results.get("peer_checks", []):
        if not check["right"]:
            found.append(f"{check['shape']} {check['dtype']}: {check['peer']} is off by {check['error']}; not timed")
    return found


def seconds(value: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def ratio(value: float | None) -> str:
    """Like 4.2 x."""
    return "" if value is None else f"{value:.3g} x" if value < 100 else f"{value:.0f} x"


def percent(value: float | None) -> str:
    """Like 91 %."""
    return "" if value is None else f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def count(threads: int | None) -> str:
    """How many threads; auto if it chooses."""
    return "auto" if threads is None else str(threads)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Markdown that is aligned for a terminal, too; the first columns to the left, the others to the right."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def summary(results: Results, dtype: str) -> str:
    """A row per shape: our time and share, and how many times as fast as each of the others we are, one thread."""
    rows = [row for row in results["rows"] if row["dtype"] == dtype]
    others = list(dict.fromkeys(r["contender"] for r in rows if not r["contender"].startswith("rnncore")))
    cores = results["settings"]["cores"]
    body = []
    for name in dict.fromkeys(row["shape"] for row in rows):
        own = {(r["contender"], r["threads"]): r for r in rows if r["shape"] == name}
        first = own.get(("rnncore cpp", 1))
        if first is not None:
            body.append([name, first["sizes"], *own_cells(own, first, cores), *other_cells(own, first, others)])
    head = ["shape", "X,H,V,B,T", "cpp", "of peak", f"{cores} threads", "auto", "avx2", "of its peak", "numba"]
    return table(head + [f"vs {other}" for other in others], body, left=2)


def fastest(results: Results) -> Results:
    """The same results, told by the fastest call of each instead of the one in the middle."""
    told = {**results, "rows": [row | {"median": row["best"]} for row in results["rows"]], "loops": []}
    finish(told)
    return told


def own_cells(own: dict[tuple[str, int | None], Row], first: Row, cores: int) -> list[str]:
    """Our engines: times, shares, and the gain by threads."""

    def cell(name: str, threads: int | None, text: Any) -> str:
        row = own.get((name, threads))
        return "" if row is None else str(text(row))

    return [
        seconds(first["median"]),
        percent(first["share"]),
        cell("rnncore cpp", cores, lambda row: ratio(first["median"] / row["median"])),
        cell("rnncore cpp", None, lambda row: ratio(first["median"] / row["median"])),
        cell("rnncore cpp.avx2", 1, lambda row: seconds(row["median"])),
        cell("rnncore cpp.avx2", 1, lambda row: percent(row["share"])),
        cell("rnncore numba", 1, lambda row: seconds(row["median"])),
    ]


def other_cells(own: dict[tuple[str, int | None], Row], first: Row, others: list[str]) -> list[str]:
    """How many times as fast as each peer, one thread each."""
    found = (own.get((other, 1)) for other in others)
    return ["" if row is None else ratio(row["median"] / first["median"]) for row in found]


def every_row(results: Results) -> str:
    """All that was timed."""
    head = ["shape", "dtype", "contender", "threads", "median", "best", "GF/s", "of peak", "times PyTorch"]
    body = []
    for r in results["rows"]:
        name, times = [r["shape"], r["dtype"], r["contender"]], [seconds(r["median"]), seconds(r["best"])]
        speed = f"{r['flops'] / r['median'] / 1e9:.3g}"
        body.append([*name, count(r["threads"]), *times, speed, percent(r["share"]), ratio(r["times_torch"])])
    return table(head, body, left=3)


def training(results: Results) -> str:
    """Whole training steps."""
    alone = {(r["shape"], r["threads"]): r["median"] for r in results["loops"] if r["contender"] == "gradient alone"}
    head = ["shape", "contender", "threads", "a step", "characters/s", "over the gradient", "times PyTorch"]
    body = []
    for r in results["loops"]:
        gradient = alone.get((r["shape"], r["threads"])) if r["contender"] == "rnncore cpp" else None
        over = "" if gradient is None else ratio(r["median"] / gradient)
        speed = f"{r['characters_per_second']:,.0f}"
        body.append([r["shape"], r["contender"], count(r["threads"]), seconds(r["median"]), speed, over])
        body[-1].append(ratio(r["times_torch"]))
    return table(head, body, left=2)


def limits(results: Results) -> str:
    """What the machine can do: the best reading, and the worst, which tells how quiet it was."""
    body = []
    for name, values in results["limits"].items():
        times = name in ("fma latency", "call")
        best, worst = (min(values), max(values)) if times else (max(values), min(values))
        unit = "GF/s" if " fma " in name else "GB/s" if name.startswith("read") else "G/s"
        show = seconds if times else lambda v, unit=unit: f"{v / 1e9:.4g} {unit}"
        body.append([name, show(best), show(worst), str(len(values))])
    return table(["limit", "best", "worst", "readings"], body)


def facts(results: Results) -> list[str]:
    """Where, when and with what."""
    machine, versions = results["machine"], results["versions"]
    caches = ", ".join(f"{level} {size >> 10} KiB" for level, size in machine["caches"].items())
    checks = results["checks"]
    equal = sum(check["equal"] for check in checks)
    engines = ", ".join(dict.fromkeys(name for check in checks for name in check["engines"]))
    right = sum(check["right"] for check in results["peer_checks"])
    return [
        f"{results['date']}, commit {results['commit']}" + ("" if results["complete"] else ", INTERRUPTED"),
        f"{machine['cpu']} (family/model {machine['family_model']}), {machine['cores']} cores, {caches}; "
        f"load average at the start {machine['load_average'][0]:.2f}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"Same bits: {equal} of {len(checks)} shapes and dtypes ({engines}, on 1, all and automatic threads). "
        f"Peers agree to float precision: {right} of {len(results['peer_checks'])}.",
        *(f"**{complaint}**" for complaint in wrong(results)),
        *(f"{without(name, results)} {name}: {why}." for name, why in results["absent"].items()),
    ]


def without(name: str, results: Results) -> str:
    """How to say that somebody was not timed: nowhere, or not everywhere."""
    return "Not everywhere" if any(row["contender"] == name for row in results["rows"]) else "Without"


def sections(results: Results) -> list[tuple[str, str]]:
    """Titles and tables, the shortest first."""
    dtypes = dict.fromkeys(row["dtype"] for row in results["rows"])
    found = [(f"{dtype}, one thread; times as fast as others", summary(results, dtype)) for dtype in dtypes]
    found += [(f"{dtype}, the same by the fastest calls", summary(fastest(results), dtype)) for dtype in dtypes]
    if results["loops"]:
        found.append(("Training: gradient, clipping, Adagrad (float32, tokens)", training(results)))
    return [*found, ("Limits of the machine in this run", limits(results))]


def terminal(results: Results) -> str:
    """For the person who waits."""
    parts = ["\n".join(facts(results)), *(f"{title}\n{text}" for title, text in sections(results))]
    return "\n\n".join(parts)


def markdown(results: Results, plot: str | None) -> str:
    """The page that is committed."""
    parts = ["# Benchmark", "\n".join(f"- {fact}" for fact in facts(results))]
    if plot:
        parts.append(f"![share of peak and times PyTorch, by shape]({plot})")
    parts += [f"## {title}\n\n{text}" for title, text in sections(results)]
    return "\n\n".join([*parts, f"## Every row\n\n{every_row(results)}"]) + "\n"


def file_name(results: Results) -> str:
    """The day and the CPU."""
    machine = results["machine"]
    cpu = re.sub(r"\(.*?\)|@.*|\d+-Core.*|Processor|CPU", "", machine["cpu"]).strip()
    words = f"{results['date'][:10]} {cpu} {machine['family_model']} {machine['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def write_whole(path: Path, content: str | bytes) -> None:
    """Under another name first, then renamed: a reader finds the old file or the new, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise


def write_json(path: Path, results: Results) -> None:
    """Floats with 6 digits, which is more than they are worth; NaN is refused."""
    write_whole(path, json.dumps(rounded(results), indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """The same with fewer digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def write(results: Results, out: Path, name: str | None = None) -> list[Path]:
    """JSON, Markdown and, with matplotlib, a plot."""
    stem = name or file_name(results)
    paths = [out / f"{stem}.json", out / f"{stem}.md"]
    write_json(paths[0], results)
    image = plot(results) if results["rows"] else None
    if image is not None:
        paths.append(out / f"{stem}.svg")
        write_whole(paths[-1], image)
    write_whole(paths[1], markdown(results, None if image is None else paths[-1].name))
    return paths


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
    """Share of peak and times PyTorch, by shape: float32 (or what there is), one thread. None without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        return None
    dtype = results["rows"][0]["dtype"]
    rows = [r for r in results["rows"] if r["dtype"] == dtype and r["threads"] == 1]
    figure, (above, below) = plt.subplots(2, 1, figsize=(11, 8), sharex=True, layout="constrained")
    bars(above, rows, "share", 100)
    above.set_ylabel("% of the FMA peak")
    above.set_ylim(0, 100)
    bars(below, rows, "times_torch", 1)
    below.set_ylabel("times as fast as PyTorch")
    below.set_yscale("log")
    below.axhline(1, color="black", linewidth=0.8)
    above.legend(ncols=4, fontsize=9, loc="upper left", frameon=False)
    where = f"{results['machine']['cpu']} · {results['date'][:10]}"
    figure.suptitle(f"Gradient of a tanh RNN, {dtype}, one thread · {where}")
    return image(figure)


def bars(axes: Any, rows: list[Row], key: str, factor: float) -> None:
    """Groups of bars, one group a shape, one colour a contender."""
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    contenders = [name for name in COLORS if any(row["contender"] == name for row in rows)]
    width = 0.85 / max(1, len(contenders))
    for i, name in enumerate(contenders):
        found = {row["shape"]: row[key] for row in rows if row["contender"] == name and row[key] is not None}
        places = [place + (i - (len(contenders) - 1) / 2) * width for place, s in enumerate(shapes) if s in found]
        axes.bar(places, [factor * found[s] for s in shapes if s in found], width, label=name, color=COLORS[name])
    sizes = {row["shape"]: row["sizes"] for row in rows}
    axes.set_xticks(range(len(shapes)), [f"{name}\n{sizes[name]}" for name in shapes], fontsize=7)
    axes.grid(axis="y", alpha=0.3)


def image(figure: Any) -> bytes:
    """A figure as SVG."""
    import io

    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()

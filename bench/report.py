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

import plot
import processor
from shapes import SAME_COST, TWO_CALLS, WITH_DINPUTS, cell_of

Results = dict[str, Any]
Row = dict[str, Any]
FORMAT = "rnncore bench 3"  # up to 2, flops had a product for the gradient of the inputs, which is not computed
PEERS = ("onednn", "jax", "numpy", "torch")
TARGET = 0.85  # of the share of the peak that "rnn" reaches where its products cost as much


def net(row: Row) -> tuple[str, str, str]:
    """What is compared with each other: one cell, shape and dtype."""
    return cell_of(row), row["shape"], row["dtype"]


def finish(results: Results) -> None:
    """Adds to each row its share of the peak and how many times as fast as PyTorch it is."""
    for row in results.get("rows", []):
        row["share"] = share(row, results)
        row["times_torch"] = times_torch(row, results["rows"])
    for row in results.get("loops", []):
        row["times_torch"] = times_torch(row, results["loops"])


def share(row: Row, results: Results) -> float | None:
    """``flops / (time * peak * threads)``; for AVX2 of its own peak. None where the threads or the peak are unknown."""
    allowed = work(row, results)
    return None if allowed is None or row["threads"] is None else float(row["flops"] / (allowed * row["threads"]))


def work(row: Row, results: Results) -> float | None:
    """The row's time in flops that one thread could have done: by the peak around each call.

    Older files have readings from between the shapes only; their peak is the best of these.
    """
    if row.get("work") is not None:
        return float(row["work"])
    top = peak(results, row["dtype"], "avx2" if row["contender"].endswith(".avx2") else None)
    return None if top is None else float(row["median"] * top)


def peak(results: Results, dtype: str, isa: str | None = None) -> float | None:
    """The best reading of one thread's FMA peak in this run: of one instruction set, or of the best there is."""
    pattern = rf"{isa or '.*'} fma {dtype}"
    readings = [max(values) for name, values in results["limits"].items() if re.fullmatch(pattern, name)]
    return max(readings, default=None)


def times_torch(row: Row, rows: Iterable[Row]) -> float | None:
    """PyTorch's time over this one's; PyTorch on one thread or on as many as this row has, whichever is faster."""
    if row["contender"] == SAME_COST:
        return None
    allowed = row["threads"] or math.inf
    same = [r for r in rows if r["contender"] == "torch" and net(r) == net(row)]
    fastest = min((r["median"] for r in same if r["threads"] <= allowed), default=None)
    return None if fastest is None else float(fastest / row["median"])


def wrong(results: Results) -> list[str]:
    """What was found not to agree: engines to the last bit, peers to float precision."""
    found = [f"{' '.join(net(c))}: {d}" for c in results.get("checks", []) for d in c["differences"]]
    for check in results.get("peer_checks", []):
        if not check["right"]:
            found.append(f"{' '.join(net(check))}: {check['peer']} is off by {check['error']}; not timed")
    return found


def nets(results: Results) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by net, in the order of the run."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in results["rows"]:
        found.setdefault(net(row), []).append(row)
    return found


def against_rnn(results: Results) -> list[Row]:
    """For each net of several gates: shares of one thread, its own and that of "rnn" at the same cost."""
    found = []
    for (name, shape, dtype), rows in nets(results).items():
        one = {row["contender"]: row for row in rows if row["threads"] == 1}
        if {"rnncore cpp", SAME_COST} <= set(one):
            own, other = one["rnncore cpp"], one[SAME_COST]
            pair = {"cell": name, "shape": shape, "dtype": dtype, "own": own, "other": other}
            found.append(pair | {key: speed(own, key) / speed(other, key) for key in ("median", "best")})
    return found


def speed(row: Row, key: str) -> float:
    """Flops a second."""
    return float(row["flops"] / row[key])


def behind(results: Results, key: str) -> list[str]:
    """Which peers are faster than the compiled core on as many threads, by medians or by the fastest calls."""
    found = []
    for names, rows in nets(results).items():
        own = {row["threads"]: row[key] for row in rows if row["contender"] == "rnncore cpp"}
        for row in rows:
            allowed = [own[n] for n in ((1,) if row["threads"] == 1 else (row["threads"], None)) if n in own]
            if allowed and not row["contender"].startswith("rnncore") and row[key] < min(allowed):
                title = f"{' '.join(names)}: {row['contender']} on {count(row['threads'])}"
                found.append(f"{title} ({min(allowed) / row[key]:.2f} x)")
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


def overview(results: Results, dtype: str) -> str:
    """A row per shape, one thread: for each cell its time, its share of the peak, and the nearest of the others."""
    found = {names: {(r["contender"], r["threads"]): r for r in rows} for names, rows in nets(results).items()}
    shown = list(dict.fromkeys(name for name, _, d in found if d == dtype))
    body = []
    for shape in dict.fromkeys(shape for _, shape, d in found if d == dtype):
        rows = [found.get((name, shape, dtype), {}) for name in shown]
        sizes = next(row["sizes"] for own in rows for row in own.values() if row["contender"] != SAME_COST)
        body.append([shape, sizes, *(text for own in rows for text in overview_cells(own))])
    head = [text for name in shown for text in (name, "of peak", "vs torch", "vs the nearest")]
    return table(["shape", "X,H,V,B,T", *head], body, left=2)


def overview_cells(own: dict[tuple[str, int | None], Row]) -> list[str]:
    """One cell at one shape."""
    first = own.get(("rnncore cpp", 1))
    if first is None:
        return ["", "", "", ""]
    others = {name: row["median"] / first["median"] for (name, n), row in own.items() if n == 1 and name in PEERS}
    nearest = min(others, key=lambda name: others[name], default=None)
    last = "" if nearest is None else f"{ratio(others[nearest])} {nearest}"
    return [seconds(first["median"]), percent(first["share"]), ratio(others.get("torch")), last]


def same_cost(results: Results) -> str:
    """The cells of several gates beside "rnn"."""
    head = ["cell", "shape", "dtype", "X,H,V,B,T", "of peak", "rnn", "of peak", "share over rnn's", "by fastest calls"]
    body = []
    for pair in against_rnn(results):
        shares = [[row["sizes"], percent(row["share"])] for row in (pair["own"], pair["other"])]
        ratios = [f"{pair[key]:.2f}" for key in ("median", "best")]
        body.append([pair["cell"], pair["shape"], pair["dtype"], *shares[0], *shares[1], *ratios])
    return table(head, body, left=4)


def other_calls(results: Results) -> str:
    """What it costs to ask for the gradient in two calls, and for that of the inputs, too."""
    head = ["cell", "shape", "dtype", "X,H,V,B,T", "bptt"]
    head += [text for name in ("forward + backward", "with dinputs") for text in (name, "by fastest calls")]
    body = []
    for names, rows in nets(results).items():
        one = {row["contender"]: row for row in rows if row["threads"] == 1}
        if TWO_CALLS not in one or "rnncore cpp" not in one:
            continue
        first, others = one["rnncore cpp"], [one.get(name) for name in (TWO_CALLS, WITH_DINPUTS)]
        keys = ("median", "best")
        costs = ["" if row is None else f"{row[key] / first[key]:.2f}" for row in others for key in keys]
        body.append([*names, first["sizes"], seconds(first["median"]), *costs])
    return table(head, body, left=4) if body else ""


def summary(results: Results, dtype: str, name_of_cell: str) -> str:
    """A row per shape: our time and share, and how many times as fast as each of the others we are, one thread."""
    rows = [row for row in results["rows"] if row["dtype"] == dtype and cell_of(row) == name_of_cell]
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
    rows = [row | {"median": row["best"], "work": row.get("best_work")} for row in results["rows"]]
    told = {**results, "rows": rows, "loops": []}
    finish(told)
    return told


def own_cells(own: dict[tuple[str, int | None], Row], first: Row, cores: int) -> list[str]:
    """Our engines: times, shares, and the gain by threads."""

    def cell_of(name: str, threads: int | None, text: Any) -> str:
        row = own.get((name, threads))
        return "" if row is None else str(text(row))

    return [
        seconds(first["median"]),
        percent(first["share"]),
        cell_of("rnncore cpp", cores, lambda row: ratio(first["median"] / row["median"])),
        cell_of("rnncore cpp", None, lambda row: ratio(first["median"] / row["median"])),
        cell_of("rnncore cpp.avx2", 1, lambda row: seconds(row["median"])),
        cell_of("rnncore cpp.avx2", 1, lambda row: percent(row["share"])),
        cell_of("rnncore numba", 1, lambda row: seconds(row["median"])),
    ]


def other_cells(own: dict[tuple[str, int | None], Row], first: Row, others: list[str]) -> list[str]:
    """How many times as fast as each peer, one thread each."""
    found = (own.get((other, 1)) for other in others)
    return ["" if row is None else ratio(row["median"] / first["median"]) for row in found]


def every_row(results: Results) -> str:
    """All that was timed."""
    head = ["cell", "shape", "dtype", "contender", "threads", "median", "best", "GF/s", "of peak", "times PyTorch"]
    body = []
    for r in results["rows"]:
        name, times = [*net(r), r["contender"]], [seconds(r["median"]), seconds(r["best"])]
        speed = f"{r['flops'] / r['median'] / 1e9:.3g}"
        body.append([*name, count(r["threads"]), *times, speed, percent(r["share"]), ratio(r["times_torch"])])
    return table(head, body, left=4)


def training(results: Results) -> str:
    """Whole training steps."""
    alone = {(net(r), r["threads"]): r["median"] for r in results["loops"] if r["contender"] == "gradient alone"}
    head = ["cell", "shape", "contender", "threads", "a step", "characters/s", "over the gradient", "times PyTorch"]
    body = []
    for r in results["loops"]:
        gradient = alone.get((net(r), r["threads"])) if r["contender"] == "rnncore cpp" else None
        over = "" if gradient is None else ratio(r["median"] / gradient)
        speed = f"{r['characters_per_second']:,.0f}"
        body.append([cell_of(r), r["shape"], r["contender"], count(r["threads"]), seconds(r["median"]), speed, over])
        body[-1].append(ratio(r["times_torch"]))
    return table(head, body, left=3)


def limits(results: Results) -> str:
    """What the machine can do: the best reading, and the worst, which tells how quiet it was."""
    body = []
    for name, values in results["limits"].items():
        times = name in ("fma latency", "call") or name.startswith("chase ")
        best, worst = (min(values), max(values)) if times else (max(values), min(values))
        unit = "GF/s" if " fma " in name else "GB/s" if name.startswith("read") else "G/s"
        show = seconds if times else lambda v, unit=unit: f"{v / 1e9:.4g} {unit}"
        body.append([name, show(best), show(worst), str(len(values))])
    return table(["limit", "best", "worst", "readings"], body)


def facts(results: Results) -> list[str]:
    """Where, when and with what, and who is ahead."""
    return [*provenance(results), *verdicts(results)]


def provenance(results: Results) -> list[str]:
    """Where, when and with what; and all that is wrong or missing."""
    machine, versions = results["machine"], results["versions"]
    checks = results["checks"]
    equal = sum(check["equal"] for check in checks)
    engines = ", ".join(dict.fromkeys(name for check in checks for name in check["engines"]))
    right = sum(check["right"] for check in results["peer_checks"])
    return [
        f"{results['date']}, commit {results['commit']}" + ("" if results["complete"] else ", INTERRUPTED"),
        *([f"Restated on {results['restated']}."] if "restated" in results else []),
        processor.found(machine),
        *processor.reach(results["limits"]),
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        f"Same bits: {equal} of {len(checks)} nets ({engines}, on 1, all and automatic threads). "
        f"Peers agree to float precision: {right} of {len(results['peer_checks'])}.",
        *(f"**{complaint}**" for complaint in wrong(results)),
        *(f"{without(name, results)} {name}: {why}." for name, why in results["absent"].items()),
    ]


def verdicts(results: Results) -> list[str]:
    """Who is ahead, and whether several gates reach what one product reaches, by medians and by the fastest calls."""
    found = []
    for key, name in (("median", "medians"), ("best", "the fastest calls")):
        peers = behind(results, key)
        found.append(f"Peers ahead of rnncore on as many threads, by {name}: {'; '.join(peers) or 'none'}.")
    pairs = [pair for pair in against_rnn(results) if pair["shape"] != "S0"]
    for key, name in (("median", "medians"), ("best", "the fastest calls")):
        low = [f"{' '.join(net(pair))} {pair[key]:.2f}" for pair in pairs if pair[key] < TARGET]
        if pairs:
            least = min(pair[key] for pair in pairs)
            found.append(
                f'Share of the peak over that of "rnn" at the same cost, S0 aside, by {name}: {least:.2f} at least; '
                f"under {TARGET}: {', '.join(low) or 'none'}."
            )
    return found


def without(name: str, results: Results) -> str:
    """How to say that somebody was not timed: nowhere, or not everywhere."""
    return "Not everywhere" if any(row["contender"] == name for row in results["rows"]) else "Without"


def sections(results: Results) -> list[tuple[str, str]]:
    """Titles and tables, what tells most first."""
    tables = list(dict.fromkeys((row["dtype"], cell_of(row)) for row in results["rows"]))
    dtypes, best = list(dict.fromkeys(dtype for dtype, _ in tables)), fastest(results)
    found = [(f"{dtype}, all cells, one thread", overview(results, dtype)) for dtype in dtypes]
    found += [(f"{dtype}, all cells, the same by the fastest calls", overview(best, dtype)) for dtype in dtypes]
    if against_rnn(results):
        found.append(('Several gates beside "rnn" of the same cost, one thread', same_cost(results)))
    if text := other_calls(results):
        found.append(("Times one call of bptt, one thread: two calls, and the gradients of the inputs", text))
    for dtype, name in tables:
        found.append((f"{name}, {dtype}, one thread; times as fast as others", summary(results, dtype, name)))
        found.append((f"{name}, {dtype}, the same by the fastest calls", summary(best, dtype, name)))
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
    """The day, the kind of processor and its cores."""
    machine = results["machine"]
    return f"{results['date'][:10]}-{processor.slug(machine)}-{machine['cores']}-cores"


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
    image = plot.plot(results) if results["rows"] else None
    if image is not None:
        paths.append(out / f"{stem}.svg")
        write_whole(paths[-1], image)
    write_whole(paths[1], markdown(results, None if image is None else paths[-1].name))
    return paths

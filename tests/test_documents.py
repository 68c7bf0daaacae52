"""What the documents say is so: links lead somewhere, quoted code is there, figures are those of committed results."""

import importlib
import json
import pydoc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

import rnncore

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")]
PAGES = [page for page in (*TOP, *sorted((ROOT / "docs").glob("*.md"))) if page.exists()]
LINK = re.compile(r"(?<!\\)\[(?P<text>(?:`[^`]*`|[^\]`])*)\]\((?P<target>[^)\s]+)\)", re.DOTALL)
CODE = (".py", ".hpp", ".cpp")

pytestmark = pytest.mark.skipif(not PAGES, reason="the documents are not beside these tests")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Text and target of every link, but those to other sites."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for match in LINK.finditer(text):
        if "://" not in match["target"]:
            yield match["text"], match["target"]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for _, target in links(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or (file.suffix == ".md" and anchor in anchors(file)), target


def quotes(page: Path) -> list[tuple[str, Path]]:
    """Quoted code and its file, of the links to code whose text is more than the name of the file."""
    found = [(re.sub(r"\s+", " ", text).strip(), (page.parent / target).resolve()) for text, target in links(page)]
    return [
        (text[1:-1], file)
        for text, file in found
        if file.suffix in CODE and text.startswith("`") and text.strip("`") not in (file.name, file.stem)
    ]


@each_page
def test_quoted_code_stands_in_its_file(page: Path) -> None:
    """On one line of it, so that a search finds it, unless the text names the file's end of its path or its module."""
    for code, file in quotes(page):
        if str(file).endswith(code) or code == f"rnncore.{file.parent.name}":
            continue
        lines = [line for line in file.read_text().splitlines() if code in line]
        assert len(lines) == 1, f"{code!r} stands on {len(lines)} lines of {file.name}"


def test_the_derivation_quotes_code() -> None:
    assert len(quotes(ROOT / "docs" / "derivation.md")) >= 10


@each_page
def test_no_link_numbers_a_line(page: Path) -> None:
    assert not re.findall(r"\]\([^)]*#L\d", page.read_text())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) < 700


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a module of bench/, which is no package."""
    if not BENCH.is_dir():
        pytest.skip("the benchmarks are not beside these tests")
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def sweep() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BENCH / "results" / "sweep-amd-epyc-25-17.json").read_text())
    return found


def test_the_tables_are_those_of_the_newest_results(bench: Callable[[str], Any]) -> None:
    quote, roofline, runs = bench("quote"), bench("roofline"), bench("quote").newest()
    readme, speed = (ROOT / "README.md").read_text(), (ROOT / "docs" / "speed.md").read_text()
    assert quote.short_table(runs) in readme
    assert quote.sections(runs) in speed
    parts = [roofline.part(results, f"{stem}.json") for stem, results in runs.values()]
    assert (BENCH / "roofline.md").read_text() == roofline.TEXT + "".join(parts)


def runs(bench: Callable[[str], Any]) -> Iterator[list[dict[str, Any]]]:
    """The rows of the newest results of each kind of processor."""
    for _, results in bench("quote").newest().values():
        yield results["rows"]


def test_the_picture_is_drawn_from_the_results(bench: Callable[[str], Any]) -> None:
    picture = bench("picture")
    assert picture.PICTURE.read_text() == picture.draw(sweep())


PEERS = ("torch", "jax", "numpy", "onednn")


def ahead(rows: list[dict[str, Any]], ours: str, peer: str, reading: str) -> dict[str, float]:
    """Where a peer is ahead on one thread, and how many times as long we take there."""
    sizes = {r["shape"]: r["sizes"] for r in rows}
    times = {(r["cell"], r["shape"], r["dtype"], r["contender"]): r[reading] for r in rows if r["threads"] == 1}
    found = [key[:-1] for key in times if key[-1] == peer]
    assert found
    ratios = {key: times[(*key, ours)] / times[(*key, peer)] for key in found}
    return {f"{c} {sizes[shape]} in {dtype}": ratio for (c, shape, dtype), ratio in ratios.items() if ratio >= 1}


@pytest.mark.parametrize("reading", ["best", "median"])
def test_nobody_is_ahead_on_one_thread(reading: str, bench: Callable[[str], Any]) -> None:
    for rows in runs(bench):
        assert not any(ahead(rows, "rnncore cpp", peer, reading) for peer in PEERS)


def test_where_pytorch_is_ahead_of_numba(bench: Callable[[str], Any]) -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    for rows in runs(bench):
        best, middle = (ahead(rows, "rnncore numba", "torch", reading) for reading in ("best", "median"))
        assert set(best) == set(middle)
        for where in best:
            times = f"where it takes {best[where]:.2f} times as long, or {middle[where]:.2f} by medians"
            assert f"Numba is ahead of PyTorch at all of these sizes but {where}, {times}" in text


def test_pytorch_is_slower_at_every_size(bench: Callable[[str], Any]) -> None:
    for rows in runs(bench):
        best = {(r["cell"], r["shape"], r["dtype"], r["threads"], r["contender"]): r["best"] for r in rows}
        pytorch = [key[:-1] for key in best if key[-1] == "torch"]
        assert len(pytorch) >= 60
        assert all(best[(*key, "rnncore cpp")] < best[(*key, "torch")] for key in pytorch)
    points = sweep()["points"]
    assert len(points) >= 400
    assert all(point["cpp"] < point["torch"] for point in points)


def few_steps(reading: int) -> Iterator[tuple[float, str]]:
    """How many times as long rnncore takes as the fastest peer: by medians, reading 0, or by the fastest calls, 1."""
    for path in (BENCH / "results").glob("few_steps-*.json"):
        results = json.loads(path.read_text())
        times: dict[tuple[str, ...], dict[str, float]] = {}
        for row in results["rows"]:
            own = times.setdefault(("gradient", row["cell"], row["dtype"], row["shape"]), {})
            own[row["contender"]] = row[("median", "best")[reading]]
        for step in results["steps"]:
            key = "step", step["cell"], step["dtype"], str(step["H"])
            times[key] = {name: seconds[reading] for name, seconds in step["seconds"].items()}
        for key, own in times.items():
            ours = own.pop("rnncore cpp" if key[0] == "gradient" else "rnncore.forward")
            yield ours / min(time for name, time in own.items() if not name.startswith("rnncore")), " ".join(key)


def test_what_is_said_of_few_steps() -> None:
    if not BENCH.is_dir():
        pytest.skip("the benchmarks are not beside these tests")
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    assert "Nobody is ahead by more than 2 % by medians." in text
    assert max(few_steps(0))[0] < 1.025
    assert "NumPy is ahead at one step of rnn with H = 512 in float32, 1.4 times; where others are ahead" in text
    (most, where), (next_most, _) = sorted(few_steps(1), reverse=True)[:2]
    assert (f"{most:.1f}", where) == ("1.4", "step rnn float32 512")
    assert "elsewhere, it is by 4 % at most" in text
    assert next_most < 1.045
    for path in (BENCH / "results").glob("few_steps-*.json"):
        steps = [step for step in json.loads(path.read_text())["steps"] if step["H"] == 1024]
        ratios = [step["seconds"]["rnncore.forward"][1] * step["read"] / step["bytes"] for step in steps]
        assert f"{min(ratios):.2f} to {max(ratios):.2f} times as long as it takes to read the weights once" in text


def of_intel(program: str, model: str = "6-167") -> dict[str, Any]:
    """The results of a program of bench/ on the processor that docs/speed.md has them of."""
    if not BENCH.is_dir():
        pytest.skip("the benchmarks are not beside these tests")
    found: dict[str, Any] = json.loads((BENCH / "results" / f"{program}-intel-xeon-{model}.json").read_text())
    return found


def test_what_is_said_of_windows_and_agents() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    rows = [{name: times[0] for name, times in row["seconds"].items()} for row in of_intel("truncate")["rows"]]
    plain = [row["rnncore, truncate"] / row["rnncore, plain"] for row in rows]
    torch = [row["torch, detach"] / row["rnncore, truncate"] for row in rows]
    assert f"take {min(plain):.1f} to {max(plain):.1f} times as long as the plain gradient. PyTorch" in text
    assert f"takes {min(torch):.1f} to {max(torch):.1f} times as long as that." in text
    resets = of_intel("resets", "6-207")["rows"]
    kinds = "bptt", "forward and backward"
    own, apart = (max(row["ratios"][0] for row in resets if row["pass"] == kind) for kind in kinds)
    assert f"at most {own:.2f} times as long as a call of `bptt` without resets" in text
    assert f"`forward` with `backward` {apart:.2f} times." in text
    alone = [row for row in of_intel("stepper")["rows"] if row["B"] == 1]
    small, large = ([row for row in alone if row["H"] == H] for H in (32, 1024))
    names = "rnncore.Stepper", "rnncore.forward"
    step, call = ([1e6 * row["seconds"][name][0] for row in small] for name in names)
    rates = [row["bytes"] / row["seconds"]["rnncore.Stepper"][1] / row["read"] for row in large]
    assert f"takes {min(step):.2f} to {max(step):.2f} us at H = 32" in text
    assert f"`forward` takes {min(call):.1f} to {max(call):.1f} us" in text
    assert f"at {min(rates):.2f} to {max(rates):.2f} of the rate" in text


def test_what_is_said_of_outputs() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    best = [
        {int(V): seconds[1] for V, seconds in row["seconds"].items()} for row in of_intel("outputs", "6-207")["rows"]
    ]
    ratios = [times[V] / times[-(-V // 16) * 16] for times in best for V in times if V % 16]
    assert f"take {min(ratios):.2f} to {max(ratios):.2f} of the time of the next multiple of 16" in text


def test_what_is_said_of_options() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    insight, checkpoint = of_intel("insight", "6-207"), of_intel("checkpoint")

    def ratios(rows: list[dict[str, Any]], *names: str) -> tuple[float, float]:
        found = [row["seconds"][name][0] / row["seconds"]["plain"][0] for row in rows for name in names]
        return min(found), max(found)

    own = [row["ratios"][name][0] for row in insight["sequences"] for name in ("norms", "clipped")]
    assert f"take {min(own):.2f} to {max(own):.2f} times as long as the plain gradient" in text
    lowest, highest = ratios(insight["sequences"], "torch.func")
    assert f"torch.func takes {lowest:.0f} to {highest:.0f} times as long" in text
    lowest, highest = ratios([row for row in insight["steps"] if row["dtype"] == "float64"], "flow")
    assert f"takes {lowest:.0f} to {highest:.0f} times as long as its gradient in float64" in text
    long = [row for row in checkpoint["rows"] if row["sizes"].endswith(",1000000")]
    megabytes = {name: [row[name]["bytes"] / 1e6 for row in long] for name in ("plain", "auto")}
    assert f"need {min(megabytes['auto']):.0f} to {max(megabytes['auto']):.0f} MB beside" in text
    assert f"{min(megabytes['plain']) / 1e3:.1f} to {max(megabytes['plain']) / 1e3:.0f} GB" in text
    assert all(median(row["auto"]["seconds"]) < median(row["plain"]["seconds"]) for row in long)
    page = (ROOT / "docs" / "long-sequences.md").read_text()
    for row in checkpoint["rows"]:
        if row["cell"] == "lstm" and row not in long:
            plain, auto = (row[name]["bytes"] / 1e6 for name in ("plain", "auto"))
            assert f"| {row['net']} | {plain:.0f} MB | {auto:.0f} MB" in page
    times = [median(row["auto"]["seconds"]) / median(row["plain"]["seconds"]) for row in checkpoint["rows"]]
    assert f"took {min(times):.1f} to {max(times):.1f} times as\nlong as the plain ones" in page


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_range_of_odd_sizes(cell: str) -> None:
    ratios = [point["times_torch"] for point in sweep()["points"] if point["cell"] == cell]
    least, most = f"{min(ratios):.1f}", f"{max(ratios):.3g}" if max(ratios) >= 100 else f"{max(ratios):.0f}"
    text = re.sub(r"\s+", " ", (ROOT / "docs" / "speed.md").read_text())
    assert re.search(rf"{least} to {most} (times as long )?with {cell}", text)


def public() -> list[str]:
    """Every public name, with those of public modules."""
    names = [name for name in rnncore.__all__ if not name.startswith("_")]
    modules = [name for name in names if isinstance(getattr(rnncore, name), ModuleType)]
    inner = [f"{m}.{n}" for m in modules for n in vars(getattr(rnncore, m)) if not n.startswith("_")]
    own = [name for name in inner if getattr(look_up(name), "__module__", "").startswith("rnncore")]
    return [*(name for name in names if name not in modules), *own]


def look_up(name: str) -> Any:
    found: Any = rnncore
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", public())
def test_help_shows_no_private_names(name: str) -> None:
    """But in a class's lists of annotations and fields, which Python writes."""
    text = re.sub(
        r"__(annotations|dataclass_fields|dataclass_params)__ = .*", "", pydoc.plain(pydoc.render_doc(look_up(name)))
    )
    assert not re.findall(r"(?<![\w`])_[A-Za-z]\w*", text)

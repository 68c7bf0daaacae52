"""The benchmark programs: their arithmetic, their files, and one small run from end to end."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS

BENCH = Path(__file__).parents[1] / "bench"
pytestmark = pytest.mark.skipif(not (BENCH / "run.py").exists(), reason="bench/ is not beside these tests")


@pytest.fixture(autouse=True)
def _bench_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def load(name: str) -> ModuleType:
    """A module of bench/, which is no package; they import each other by their names."""
    return importlib.import_module(name)


def row(shape: str, contender: str, median: float, threads: int | None = 1, cell: str = "rnn") -> dict[str, Any]:
    sizes = {"sizes": "1,2,3,4,5", "tokens": False, "flops": 1e6, "best": median, "readings": 1}
    names = {"cell": cell, "shape": shape, "dtype": "float32", "contender": contender}
    return names | {"threads": threads, "median": median, **sizes}


def results(*rows: dict[str, Any], peak: float = 1e11) -> dict[str, Any]:
    environment = load("environment")
    limits = {"avx512 fma float32": [peak / 2, peak], "avx2 fma float32": [peak / 4], "fma latency": [1e-9]}
    limits |= {f"read {level}": [1e11] for level in ("L1", "L2", "L3", "DRAM")}
    limits |= {"tanh float32": [1e9], "exp float32": [1e9], "sigmoid float32": [5e8], "call": [1e-6]}
    return {
        "format": "rnncore bench 3", "complete": True, **environment.describe(), "limits": limits, "checks": [],
        "settings": {"rounds": 1, "seconds": 0.1, "cores": 2}, "peer_checks": [], "absent": {}, "rows": list(rows),
        "loops": [],
    }  # fmt: skip


def test_flops() -> None:
    shapes = load("shapes")
    net = shapes.Shape("", X=2, H=3, V=5, B=7, T=11)
    assert net.flops == 11 * 7 * (3 * (4 * 2 + 6 * 3) + 6 * 3 * 5)
    assert replace(net, tokens=True).flops == 11 * 7 * (3 * 6 * 3 + 6 * 3 * 5)
    assert replace(net, cell="lstm").flops == 11 * 7 * (4 * 3 * (4 * 2 + 6 * 3) + 6 * 3 * 5)
    assert replace(net, cell="lstm").flops_of_dinputs == 11 * 7 * 2 * 4 * 3 * 2
    assert replace(net, tokens=True).flops_of_dinputs == 0
    assert {name: len(cell.gates) for name, cell in CELLS.items()} == shapes.GATES


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_net_of_the_same_cost(cell: str, tokens: bool) -> None:
    shapes = load("shapes")
    shape = shapes.Shape("S4", 128, 256, 128, 32, 100, tokens, cell=cell)
    other = shapes.same_cost(shape)
    assert (other.cell, other.H % 16) == ("rnn", 0)
    assert abs(other.flops / shape.flops - 1) < 2 * 8 / other.H
    assert shapes.same_cost(shapes.Shape("S0", 3, 4, 3, 1, 5, cell=cell)).H == 16


def test_reduced_keeps_the_net_and_two_steps() -> None:
    shapes = load("shapes")
    (large,) = shapes.named("S5")
    small = shapes.reduced(large, 1e7)
    assert (small.X, small.H, small.V, small.B, small.T) == (256, 1024, 256, 1, 2)
    assert shapes.reduced(large, 1e12) == large
    with pytest.raises(ValueError, match="got S99"):
        shapes.named("S1,S99")


def test_shares_and_times_pytorch() -> None:
    report = load("report")
    found = results(
        row("S1", "rnncore cpp", 1e-4), row("S1", "rnncore cpp", 1e-4, 2), row("S1", "rnncore cpp", 1e-4, None),
        row("S1", "rnncore cpp.avx2", 1e-4), row("S1", "torch", 3e-4), row("S1", "torch", 2e-4, 2),
        row("S2", "rnncore cpp", 1e-4),
    )  # fmt: skip
    report.finish(found)
    assert [r["share"] for r in found["rows"][:4]] == pytest.approx([0.1, 0.05, None, 0.4])
    assert [r["times_torch"] for r in found["rows"]] == pytest.approx([3, 2, 2, 3, 1, 1, None])


def test_cells_are_told_apart_and_held_to_rnn() -> None:
    report, shapes = load("report"), load("shapes")
    found = results(
        row("S1", "rnncore cpp", 1e-4), row("S1", "torch", 3e-4), row("S1", "rnncore cpp", 5e-4, cell="lstm"),
        row("S1", "rnncore cpp", 4e-4, 2, "lstm"), row("S1", "rnncore cpp", 2e-4, None, "lstm"),
        row("S1", shapes.SAME_COST, 4e-4, cell="lstm") | {"sizes": "9,9,9,9,9"},
        row("S1", "torch", 1e-3, cell="lstm"), row("S1", "torch", 3e-4, 2, "lstm"), row("S1", "jax", 4e-4, cell="lstm"),
    )  # fmt: skip
    report.finish(found)
    assert [r["times_torch"] for r in found["rows"]] == pytest.approx([3, 1, 2, 0.75, 1.5, None, 1, 1, 2.5])
    (pair,) = report.against_rnn(found)
    assert (pair["cell"], pair["median"], pair["best"]) == ("lstm", pytest.approx(0.8), pytest.approx(0.8))
    assert report.behind(found, "median") == ["lstm S1 float32: jax on 1 (1.25 x)"]
    page = report.markdown(found, None)
    assert "0.80 at least; under 0.85: lstm S1 float32 0.80." in page
    overview = next(line for line in page.splitlines() if line.startswith("| S1 "))
    assert [text.strip() for text in overview.split("|")[7:11]] == ["500 us", "2 %", "2 x", "0.8 x jax"]


def test_the_other_calls_are_told_by_what_bptt_takes() -> None:
    report, shapes = load("report"), load("shapes")
    two, more = row("S1", shapes.TWO_CALLS, 3e-4) | {"best": 2.2e-4}, row("S1", shapes.WITH_DINPUTS, 2.5e-4)
    found = results(row("S1", "rnncore cpp", 2e-4), two, more, row("S1t", "rnncore cpp", 1e-4))
    found["rows"].append(row("S1t", shapes.TWO_CALLS, 1.1e-4))
    report.finish(found)
    lines = report.other_calls(found).splitlines()[2:]
    assert [[text.strip() for text in line.split("|")[6:10]] for line in lines] == [
        ["1.50", "1.10", "1.25", "1.25"],
        ["1.10", "1.10", "", ""],
    ]
    assert report.other_calls(results(row("S1", "rnncore cpp", 2e-4))) == ""


def test_another_call_that_gives_another_gradient_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    engines, problems, shapes = load("engines"), load("problems"), load("shapes")
    if not any(name.startswith("cpp.") for name in engines.engines()):
        pytest.skip("the compiled core is not here")
    task = problems.problem(shapes.named("tiny")[0], "float32")
    assert engines.unlike_bptt(task) == []
    right = rnncore.backward

    def wrong(*given: Any, **options: Any) -> rnncore.BackwardResult:
        found = right(*given, **options)
        found.grads.W_hh[0, 0] = np.nextafter(found.grads.W_hh[0, 0], np.float32(np.inf))
        return found

    monkeypatch.setattr(rnncore, "backward", wrong)
    assert engines.unlike_bptt(task) == [f"{shapes.TWO_CALLS} differs from rnncore cpp in W_hh"]


def test_the_share_is_told_by_the_peak_around_each_call() -> None:
    report, session, shapes, timing = load("report"), load("session"), load("shapes"), load("timing")
    readings = iter([1e11, 3e11, 4e11, 4e11])  # before and after each of two turns
    times = timing.Times()
    contender = timing.Contender("rnncore cpp", 1, lambda k: time.sleep(0.03 * k), dict)
    for _ in range(2):
        timing.measured_turn(contender, 0.0, times, lambda _: next(readings))
    assert times.peaks == [2e11, 4e11]
    times.seconds = [3e-6, 1e-6]
    assert times.work == pytest.approx((5e5, 4e5))
    told = session.row(shapes.named("S1")[0], "float32", contender, times) | {"flops": 1e5}
    found = results(told, peak=1e12)
    report.finish(found)
    assert found["rows"][0]["share"] == pytest.approx(1e5 / 5e5)
    assert report.fastest(found)["rows"][0]["share"] == pytest.approx(1e5 / 4e5)
    unread = session.row(shapes.named("S1")[0], "float32", contender, timing.Times([1e-6], [float("nan")]))
    assert (unread["work"], unread["best_work"]) == (None, None)
    found["rows"] = [unread | {"flops": 1e5}]
    report.finish(found)
    assert found["rows"][0]["share"] == pytest.approx(1e5 / 1e6)


def test_a_processor_has_a_name_and_is_said_what_it_is() -> None:
    processor = load("processor")
    machine = {"cpu": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.4GHz", "family_model": "6/143", "cores": 2}
    machine |= {"caches": {"L1": 49152, "L2": 2097152}, "instruction_sets": ["avx2"], "load_average": [0.5]}
    assert processor.name(machine) == "Intel Xeon Platinum 8488C (family/model 6/143)"
    assert processor.name(machine | {"cpu": "AMD EPYC", "family_model": "25/17"}) == "AMD EPYC (Zen 4)"
    assert processor.slug(machine) == "intel-xeon-platinum-8488c-6-143"
    assert "L1d 48 KiB, L2 2048 KiB; avx2; load average at the start 0.50" in processor.found(machine)
    limits = {f"chase {n} 4 KiB": [t, 9e-9] for n, t in ((32, 1e-9), (64, 1.1e-9), (128, 3e-9), (256, 1e-9))}
    (told,) = processor.reach(limits | {"chase 32 huge": [1e-9], "chase 256 huge": [1e-9]})
    assert "64 pages of 4 KiB (1.0 ns a load, over 256 1.0 ns), at least 256 pages of a huge page" in told
    assert processor.reach({"call": [1e-6]}) == []


def test_another_processor_is_another_column_and_another_table(tmp_path: Path) -> None:
    kept, quote, report = load("kept"), load("quote"), load("report")
    rows = [
        row(shape, contender, t, cell=cell) | {"best": t, "share": 0.5}
        for shape in quote.LIKE for cell in quote.CELLS for contender, t in (("rnncore cpp", 1e-4), ("torch", 2e-4))
    ]  # fmt: skip
    kinds = {"AMD EPYC": "25/17", "Intel(R) Xeon(R) Processor": "6/167"}
    for day in ("2026-01-01", "2026-02-01"):
        for cpu, family_model in kinds.items():
            found = results(*rows) | {"date": f"{day}T00:00:00+00:00"}
            found["machine"] |= {"cpu": cpu, "family_model": family_model, "cores": 2}
            report.write_json(tmp_path / f"{report.file_name(found)}.json", found)
    report.write_json(tmp_path / "sweep-amd-epyc-25-17.json", {"format": "rnncore sweep 3"})
    newest = kept.newest(tmp_path)
    assert {kind: path.stem for kind, path in newest.items()} == {
        "AMD EPYC (Zen 4)": "2026-02-01-amd-epyc-25-17-2-cores",
        "Intel Xeon (family/model 6/167)": "2026-02-01-intel-xeon-6-167-2-cores",
    }
    runs = {kind: (path.stem, kept.counted(path)) for kind, path in newest.items()}
    lines = quote.short_table(runs).splitlines()
    assert [text.strip() for text in lines[0].split("|")[3:-1]] == [
        "AMD EPYC (Zen 4): rnn", "lstm", "gru", "Intel Xeon (family/model 6/167): rnn", "lstm", "gru",
    ]  # fmt: skip
    assert lines[2].endswith("| 100 us, 2 x " * 6 + "|")
    assert [line for line in quote.sections(runs).splitlines() if line.startswith("### ")] == [f"### {k}" for k in runs]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{quote.BEGIN}\nold\n{quote.END}\nafter\n")
    quote.replaced(page, quote.SECTIONS, quote.sections(runs))
    assert page.read_text() == f"before\n{quote.sections(runs)}after\n"
    page.write_text("no table\n")
    with pytest.raises(ValueError, match="0 places"):
        quote.replaced(page, quote.SHORT_TABLE, "")


def test_older_counts_are_not_quoted(tmp_path: Path) -> None:
    kept, report = load("kept"), load("report")
    report.write_json(tmp_path / "old.json", results() | {"format": "rnncore bench 2"})
    assert kept.load(tmp_path / "old.json")["rows"] == []
    with pytest.raises(ValueError, match="counts flops in another way"):
        kept.counted(tmp_path / "old.json")


def test_few_steps_are_told_beside_the_others() -> None:
    few_steps, report, stepper = load("few_steps"), load("report"), load("stepper")
    found = results(
        row("1,2,3,4,5", "rnncore cpp", 2e-4), row("1,2,3,4,5", "torch", 1e-4), row("1,2,3,4,5", "numpy", 4e-4)
    )
    report.finish(found)
    seconds = {stepper.FORWARD: [2e-6, 1e-6], stepper.STEPPER: [1e-6, 1e-6], stepper.NUMPY: [1e-6, 3e-6]}
    found["steps"] = [{"cell": "gru", "dtype": "float32", "H": 64, "bytes": 1000, "read": 2e9, "seconds": seconds}]
    page = few_steps.markdown(found)
    lines = [[text.strip() for text in line.split("|")[2:-1]] for line in page.splitlines() if line.startswith("| ")]
    assert ["200 us", "5 %", "200 us", "0.5 x", "0.5 x", "2 x", "2 x"] in lines
    assert ["float32", "64", "2 us", "1 us", "500 ns", "2.00", "0.5 x", "", "", "0.5 x"] in lines
    assert "by medians: rnn 1,2,3,4,5 float32: torch on 1 (2.00 x); a step of gru 64 float32: numpy (2.00 x)." in page
    assert "by the fastest calls: rnn 1,2,3,4,5 float32: torch on 1 (2.00 x)." in page


def test_compare_counts_in_the_peaks_of_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare, report = load("compare"), load("report")
    old = results(row("S1", "rnncore cpp", 1e-4), row("S2", "rnncore cpp", 1e-4), row("S3", "torch", 1e-4))
    new = results(row("S1", "rnncore cpp", 0.5e-4), row("S2", "rnncore cpp", 1e-4), peak=2e11)
    found = compare.compare(old, new, 0.05)
    assert [(r["key"][1], r["ratio"], r["verdict"]) for r in found] == [("S1", 1, ""), ("S2", 2, "slower")]
    for old_row in old["rows"]:  # as when there was one cell
        del old_row["cell"]
    assert [r["ratio"] for r in compare.compare(old, new, 0.05)] == [1, 2]
    for name, content in (("old", old), ("new", new)):
        report.write_json(tmp_path / name, content)
    assert compare.main([str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert "only in the old: ('rnn', 'S3'" in capsys.readouterr().out
    assert compare.main([str(tmp_path / "old"), str(tmp_path / "old")]) == 0
    assert compare.main([str(tmp_path / "old"), str(BENCH / "README.md")]) == 2


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    report = load("report")
    path = tmp_path / "new" / "file.json"
    report.write_json(path, {"number": 0.123456789})
    assert json.loads(path.read_text()) == {"number": 0.123457}
    with pytest.raises(ValueError, match="Out of range"):
        report.write_json(path, {"number": float("nan")})
    with pytest.raises(TypeError):
        report.write_whole(path, 3)
    assert json.loads(path.read_text()) == {"number": 0.123457}
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_differences_name_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is wrong in one bit is found out, and the run says so and times nothing of ours."""
    engines, shapes = load("engines"), load("shapes")
    task = load("problems").problem(shapes.named("tiny")[0], "float32")
    right = engines.bits

    def wrong(task: Any, backend: str, threads: int | None) -> Any:
        found = right(task, "numpy", None)
        found["dstate"].flat[-1] ^= backend == "wrong"
        return found

    monkeypatch.setattr(engines, "bits", wrong)
    complaints = engines.differences(task, [("numpy", 1), ("right", 2), ("wrong", None)])
    assert complaints == ["wrong on auto threads differs from numpy in dstate"]


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "lstm", "gru"])
def test_the_numpy_peer_finds_the_same_gradient(cell: str) -> None:
    engines, peers, shapes, textbook = load("engines"), load("peers"), load("shapes"), load("textbook")
    for tokens in (False, True):
        for B in (1, 3):
            task = load("problems").problem(shapes.Shape("", 4, 7, 5, B, 6, tokens, cell=cell), "float64")
            expected = engines.named(engines.gradient(task, "numpy", 1))
            assert peers.error(expected, textbook.gradient(task)) < peers.TOLERANCE["float64"]


@pytest.mark.parametrize("peer", ["torch", "jax", "onednn"])
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_peer_finds_the_same_gradient_where_it_is_installed(cell: str, peer: str) -> None:
    engines, peers, shapes = load("engines"), load("peers"), load("shapes")
    task = load("problems").problem(shapes.Shape("", 4, 7, 5, 3, 6, cell=cell), "float32")
    try:
        contender = peers.PEERS[peer](task, 1)
    except peers.UnavailableError as why:
        pytest.skip(str(why))
    contender.before()
    contender.run(2)
    expected = engines.named(engines.gradient(task, "numpy", 1))
    assert peers.error(expected, contender.results()) < peers.TOLERANCE["float32"]


def test_who_takes_long_sits_out() -> None:
    timing = load("timing")
    slow = timing.Contender("slow", 1, lambda k: time.sleep(0.03), dict)
    fast = timing.Contender("fast", 1, lambda k: None, dict)
    for longest, rounds in ((0.09, timing.FEWEST), (60.0, 5)):
        times = [timing.Times(), timing.Times()]
        turns = [contender.name for contender in timing.interleave([slow, fast], 5, 0.0, times, longest)]
        assert (turns.count("slow"), turns.count("fast")) == (rounds, 5)
        assert len(times[0].seconds) == rounds


def test_roofline_names_the_limit() -> None:
    roofline, shapes = load("roofline"), load("shapes")
    found = results(row("S3", "rnncore cpp", 1.0))
    least, name = roofline.bound(roofline.needs(shapes.named("S3")[0], "float32", found, 1e11))
    assert name == "FMA units"
    assert least == pytest.approx(1e-6 + 64 * 32 * (128 * (4 * 65 + 6 * (128 + 65)) / 1e11 + (128 + 65) / 1e9))
    assert "FMA units" in roofline.part(found, "some.json")
    lstm = replace(shapes.named("S3")[0], cell="lstm")
    needs = roofline.needs(lstm, "float32", found, 1e11)
    assert needs["elementary"] == pytest.approx(64 * 32 * (128 * (3 / 5e8 + 2 / 1e9) + 65 / 1e9))
    assert needs["chain"] == pytest.approx(5 * 64 * 128 * 1e-9)


def test_the_sweep_has_enough_points_on_every_axis() -> None:
    sweep = load("sweep")
    points = {p.name: p for line in sweep.lines() for p in line} | {p.name: p for p in sweep.scattered()}
    assert len(points) >= 150
    for axis, values in sweep.AXES.items():
        assert {getattr(p, axis) for p in points.values()} >= set(values)
    assert {p.tokens for p in points.values()} == {True, False}
    for cell in ("lstm", "gru"):
        assert {p.cell for p in sweep.points_of(cell)} == {cell}
        assert 75 <= len({p.name for p in sweep.points_of(cell)}) == len(sweep.points_of(cell)) <= 95


def test_the_sweep_finds_what_falls_out_of_line() -> None:
    sweep = load("sweep")
    times = {"a": 1e-3, "b": 5e-3, "c": 1e-3}
    points: list[dict[str, Any]] = [
        {"cell": "rnn", "name": n, "cpp": t, "auto": t, "torch": 2e-3, "flops": 1e8, "T": 10, "X": 1, "H": 1, "V": 1}
        for n, t in times.items()
    ]
    sweep.judge(points, [["a", "b", "c"]], 1e12)
    assert [p["times_torch"] for p in points] == pytest.approx([2, 0.4, 2])
    assert ["neighbour" in p for p in points] == [False, True, False]
    assert points[1]["neighbour"]["reason"] == ""
    reasons = [sweep.reason({**points[0], "T": T}, points[0], lost) for T, lost in ((1, 4e-6), (100, 2e-5), (1, 1e-4))]
    assert reasons == ["the call", "latency of a step", ""]


def test_ragged_batches_are_told_by_the_steps_that_exist() -> None:
    ragged, shapes = load("ragged"), load("shapes")
    net = ragged.ragged(shapes.Shape("", 3, 5, 4, 6, 20, cell="lstm"))
    assert [len(x) for x in net.inputs] == [len(label) for label in net.labels] == net.lengths.tolist()
    assert sorted(net.lengths, reverse=True) != net.lengths.tolist()
    times = {ragged.FULL: [1e-6, 1e-6], ragged.RAGGED: [1.25e-6, 1.5e-6]}
    one = {"cell": "lstm", "sizes": "3,5,4,6,20", "B": 6, "steps": 70, "per_step": times}
    other = one | {"per_step": times | {ragged.TORCH: [2e-6, 2e-6], ragged.PACKED: [5e-6, 6e-6]}}
    lines = ragged.markdown({**load("environment").describe(), "rows": [one, other]}).splitlines()[-2:]
    cells = [[text.strip() for text in line.split("|")[4:13]] for line in lines]
    assert cells[0] == ["1 us", "1.25 us", "1.25", "1.50", "", "", "", "", ""]
    assert cells[1] == ["1 us", "1.25 us", "1.25", "1.50", "2 us", "5 us", "2.50", "3.00", "4 x"]


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "lstm", "gru"])
def test_packed_sequences_find_the_same_gradient_where_pytorch_is_installed(cell: str) -> None:
    pytest.importorskip("torch")
    engines, peers, ragged, shapes = load("engines"), load("peers"), load("ragged"), load("shapes")
    net = ragged.ragged(shapes.Shape("", 3, 5, 4, 6, 20, cell=cell))
    packed = ragged.by_torch(net)
    packed.run(1)
    options = {"state": net.task.state, "backend": "numpy"}
    expected = engines.named(rnncore.bptt(net.task.params, net.inputs, net.labels, **options))
    assert peers.error(expected, packed.results()) < peers.TOLERANCE["float32"]


@pytest.mark.parametrize("name", ["2-layer lstm", "bidirectional gru"])
@pytest.mark.parametrize("peer", ["torch", "jax", "onednn"])
def test_deep_nets_find_the_same_gradient_where_the_peer_is_installed(name: str, peer: str) -> None:
    deep, shapes = load("deep"), load("shapes")
    net = deep.deep(name, shapes.Shape("", 3, 5, 4, 2, 6))
    if peer == "onednn":
        found = deep.by_onednn(net, 1)
        if found is None:
            pytest.skip("oneDNN is not installed")
    else:
        pytest.importorskip(peer)
        found = deep.by_torch(net, 1) if peer == "torch" else deep.by_jax(net)
    load("peers").require_same(deep.by_rnncore(net, 1), found, name)


def test_what_deep_nets_cost_is_told_beside_their_parts() -> None:
    deep = load("deep")
    seconds = {deep.WHOLE: [2e-3, 1e-3], deep.PARTS: [1e-3, 1e-3], deep.TORCH: [4e-3, 3e-3]}
    row = {"net": "2-layer lstm", "shape": "S3", "sizes": "1,2,3,4,5", "threads": 1, "seconds": seconds}
    losses = {name: [(n + 1) * 1e-3] * 2 for n, name in enumerate(deep.LOSSES)}
    other = {"cell": "rnn", "shape": "S3", "sizes": "1,2,3,4,5", "seconds": losses}
    page = deep.markdown({**load("environment").describe(), "rows": [row], "losses": [other]})
    cells = [[text.strip() for text in line.split("|")[5:]] for line in page.splitlines() if "1,2,3,4,5" in line]
    assert cells[0] == ["2 ms", "2.00", "1.00", "2 x", "3 x", "", "", "", "", ""]
    assert cells[1] == ["2.00", "3.00", "4.00", ""]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_everybody_takes_the_same_steps(cell: str) -> None:
    stepper = load("stepper")
    for B in (1, 3):
        net = stepper.acting(cell, 20, B)
        for name in (stepper.STEPPER, stepper.FORWARD):
            stepper.require_same(net, name)
        stepper.require_same(stepper.acting(cell, 20, B, (5, 3), "float64"), stepper.NUMPY)
        if importlib.util.find_spec("torch"):
            stepper.require_same(net, stepper.MODULE)
            stepper.require_same(net, stepper.CELL)


def test_what_a_step_costs_is_told_beside_the_others() -> None:
    stepper = load("stepper")
    seconds = {stepper.STEPPER: [2e-6, 1e-6], stepper.FORWARD: [4e-6, 3e-6]}
    row = {"cell": "gru", "H": 32, "B": 1, "bytes": 20_000, "read": 4e10, "seconds": seconds}
    others = seconds | {stepper.MODULE: [100e-6, 90e-6], stepper.CELL: [50e-6, 40e-6]}
    page = stepper.markdown({**load("environment").describe(), "rows": [row, row | {"read": 0.0, "seconds": others}]})
    cells = [[text.strip() for text in line.split("|")[4:-1]] for line in page.splitlines() if line.startswith("| gru")]
    assert cells[0] == ["2 us", "1 us", "20.0 GB/s", "0.50", "2 x", "", "", ""]
    assert cells[1] == ["2 us", "1 us", "20.0 GB/s", "", "2 x", "50 x", "25 x", ""]


def start(*arguments: object, program: str = "run.py") -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RNNCORE_BENCH", "COV_"))}
    command = [sys.executable, str(BENCH / program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_resets_are_verified_and_told_by_ratios() -> None:
    resets = load("resets")
    net = resets.rollout("gru", 4)
    assert [0 < resets.some(share).mean() < 0.1 for share in resets.SHARES] == [True, True]
    assert net.call("bptt", None) != net.call("bptt", resets.some(0.05))
    resets.verify("gru", 4)
    row = resets.measure("gru", 4, "bptt", 1)
    assert len(row["ratios"]) == len(row["best"]) == len(resets.SHARES)
    rows = [{**row, "seconds": 1e-3, "ratios": [1.0, 1.5], "best": [1.0, 1.25]}]
    text = resets.markdown({**load("environment").describe(), "rows": rows})
    figures = [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]
    assert figures == ["gru", "4", "bptt", "1 ms", "1.000", "1.000", "1.500", "1.250"]


def test_outputs_stand_beside_whole_vectors() -> None:
    outputs = load("outputs")
    for loss in outputs.LOSSES:
        outputs.verify(loss, 9)
    assert [outputs.whole(V) for V in (1, 16, 17)] == [16, 16, 32]
    seconds = {str(V): [V * 2e-6, V * 1e-6] for V in outputs.OUTPUTS}
    text = outputs.markdown({**load("environment").describe(), "rows": [{"loss": "classes", "seconds": seconds}]})
    figures = [cell.strip() for cell in text.splitlines()[-1].split("|")[1:-1]]
    assert figures[:7] == ["classes", "0.06", "0.25", "0.50", "0.56", "0.94", "16 us"]


def test_threads_tell_how_many_sizes_lose_by_them() -> None:
    threads = load("threads")
    sizes = threads.by_chance(0, 5)
    assert sizes == threads.by_chance(0, 5)
    assert all(1 <= shape.T <= 5000 and 1e7 < shape.flops < 3e8 for shape in sizes)
    row = {"shape": "", "cell": "rnn", "sizes": "1,2,3,4,5", "seconds": 1e-3}
    rows = [{**row, "ratios": [1.5, 1.03]}, {**row, "ratios": [0.5, 1.02]}, {**row, "ratios": [0.6, 0.6]}]
    found = {"standard": rows[:1], "by_chance": rows, "realtime": False}
    text = threads.markdown({**load("environment").describe(), **found})
    assert "Of 3 sizes by chance: two threads take 0.50 to 1.50 times" in text
    assert "and more than 1.02 times in 1." in text


def test_a_quick_run(tmp_path: Path) -> None:
    run = start("--quick", "--shapes", "tiny", "--peers", "numpy", "--out", tmp_path, "--name", "trial")
    text, _ = run.communicate(timeout=120)
    assert run.returncode == 0, text
    found = json.loads((tmp_path / "trial.json").read_text())
    assert found["complete"]
    checks = [(check["cell"], check["shape"], check["equal"]) for check in found["checks"]]
    gates = [[(cell, "tiny", True), ("rnn", f"tiny as {cell}", True)] for cell in ("lstm", "gru")]
    assert checks == [("rnn", "tiny", True), *gates[0], *gates[1]]
    assert {(r["cell"], r["contender"]) for r in found["rows"]} >= {(c, "numpy") for c in ("rnn", "lstm", "gru")}
    assert all(0 < r["best"] <= r["median"] for r in found["rows"])
    assert "## Every row" in (tmp_path / "trial.md").read_text()
    assert "vs numpy" in text or "rnncore cpp" not in text


def test_a_quick_run_of_few_steps(tmp_path: Path) -> None:
    if not any(name.startswith("cpp.") for name in load("engines").engines()):
        pytest.skip("the compiled core is not here")
    options = ("--quick", "--cells", "lstm", "--dtypes", "float64", "--peers", "numpy", "--out", tmp_path)
    run = start(*options, program="few_steps.py")
    text, _ = run.communicate(timeout=120)
    assert run.returncode == 0, text
    (path,) = tmp_path.glob("few_steps-*.json")
    found = json.loads(path.read_text())
    assert found["complete"]
    assert {r["contender"] for r in found["rows"]} == {"rnncore cpp", "numpy"}
    assert {r["threads"] for r in found["rows"]} == {1}
    assert all(check["equal"] for check in found["checks"])
    assert [(step["H"], step["dtype"], step["bytes"] > 0) for step in found["steps"]] == [(64, "float64", True)]
    assert "## One step forward" in path.with_suffix(".md").read_text()


def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engines, timing, run = load("engines"), load("timing"), load("run")

    def interrupts(k: int) -> None:
        raise KeyboardInterrupt

    both = [timing.Contender("a", 1, lambda k: None, dict), timing.Contender("b", 1, interrupts, dict)]
    monkeypatch.setattr(engines, "contenders", lambda task, cores: both)
    monkeypatch.setenv("RNNCORE_BENCH_ENVIRONMENT", "1")
    before = signal.getsignal(signal.SIGTERM)
    try:
        options = ["--cells", "lstm", "--shapes", "tiny", "--peers", "none", "--out", str(tmp_path), "--name", "trial"]
        assert run.main(["--quick", *options]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    found = json.loads((tmp_path / "trial.json").read_text())
    assert not found["complete"]
    assert [(r["cell"], r["contender"]) for r in found["rows"]] == [("lstm", "a")]
    assert "INTERRUPTED" in (tmp_path / "trial.md").read_text()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_windows_find_the_same_gradient_where_pytorch_is_installed(cell: str) -> None:
    pytest.importorskip("torch")
    peers, problems, shapes, truncate = load("peers"), load("problems"), load("shapes"), load("truncate")
    task = problems.problem(shapes.Shape("", 3, 5, 4, 2, 6, cell=cell), "float32")
    torch = truncate.by_torch(task, 3)
    torch.run(1)
    assert peers.error(windowed(task, 3), torch.results()) < peers.TOLERANCE["float32"]


def test_the_double_loop_has_the_same_windows() -> None:
    peers, problems, shapes, truncate = load("peers"), load("problems"), load("shapes"), load("truncate")
    task = problems.problem(shapes.Shape("", 3, 5, 4, 2, 6), "float32")
    loop = truncate.by_double_loop(task, 3)
    loop.run(1)
    assert peers.error(windowed(task, 3), loop.results()) < peers.TOLERANCE["float32"]
    assert peers.error(windowed(task, 4), loop.results()) > 0.01


def windowed(task: Any, k: int) -> dict[str, Any]:
    """What the definition finds with windows of k steps."""
    options = {"state": task.state, "truncate": k, "backend": "numpy"}
    found: dict[str, Any] = load("engines").named(rnncore.bptt(task.params, task.inputs, task.labels, **options))
    return found


def test_windows_are_told_beside_the_others() -> None:
    truncate = load("truncate")
    seconds = {truncate.PLAIN: [1e-3, 9e-4], truncate.WINDOWS: [5e-3, 4e-3], truncate.TORCH: [1.0, 1.0]}
    rows = [{"cell": "gru", "sizes": "3,5,4,6,20", "k": 10, "seconds": seconds}]
    growth = [{"cell": "gru", "sizes": "3,5,4,6,20", "seconds": {"10": 5e-3}}]
    page = truncate.markdown({**load("environment").describe(), "rows": rows, "growth": growth})
    lines = [[text.strip() for text in line.split("|")[3:-1]] for line in page.splitlines() if line.startswith("| gru")]
    assert lines == [["10", "1 ms", "5 ms", "5 x", "200 x", ""], ["10", "5 ms", "500 us"]]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_insight_compares_before_it_measures(cell: str) -> None:
    insight, shapes = load("insight"), load("shapes")
    shape = shapes.Shape("", 3, 5, 4, 2, 6, cell=cell)
    with_torch = importlib.util.find_spec("torch") is not None
    sequences, steps = insight.by_sequence(shape, with_torch, 1), insight.by_step(replace(shape, B=1), "float64", 1)
    others = {insight.TORCH_FUNC, insight.TORCH_LOOP} if with_torch else set()
    assert (
        set(sequences["seconds"])
        == {insight.PLAIN, insight.NORMS, insight.CLIPPED, insight.ROWS, insight.LOOP} | others
    )
    page = insight.markdown({**load("environment").describe(), "sequences": [sequences], "steps": [steps]})
    assert len([line for line in page.splitlines() if line.startswith(f"| {cell}")]) == 2


@pytest.mark.parametrize("kind", ["a label a step", "two directions, one label"])
def test_a_long_sequence_with_checkpoint(kind: str) -> None:
    checkpoint, shapes = load("checkpoint"), load("shapes")
    row = checkpoint.measure(shapes.Shape(kind, 3, 5, 4, 1, 600, cell="lstm"), 2)
    assert [len(row[name]["seconds"]) for name in (checkpoint.PLAIN, checkpoint.AUTO)] == [2, 2]
    page = checkpoint.markdown({**load("environment").describe(), "rows": [row]})
    assert f"| {kind} | lstm | 3,5,4,1,600 |" in page

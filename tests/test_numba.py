"""Compiled code is kept on disk by a digest of its sources: found again, never stale, and not needed.

No call into it takes long, so that Python can answer signals between two.
"""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numba")

import numpy as np

import rnncore
from rnncore._numba import buffers, entries, stack, units
from rnncore._numba.linear import BLOCK
from rnncore.cells import CELLS
from rnncore.losses import LOSSES
from rnncore.net import net_of

SOFTMAX = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
logging.getLogger("numba").setLevel(logging.WARNING)
import numba, numpy as np
from rnncore._numba import engine, entries, softmax
before = numba.config.CACHE_DIR
p = engine.NumbaEngine().softmax(np.zeros((1, 4), np.float32))
assert p.tolist() == [[0.25] * 4]
assert numba.config.CACHE_DIR == before
stats = entries.entry(softmax.softmax).compiled.stats
print("hits", sum(stats.cache_hits.values()), "misses", sum(stats.cache_misses.values()))
"""


def softmax_in_new_process(**environment: str) -> str:
    """What a process says that computes one softmax."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    package = str(Path(entries.__file__).parents[2])
    path = os.pathsep.join([package, kept.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-c", SOFTMAX],
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_second_process_finds_what_the_first_compiled(tmp_path: Path) -> None:
    first = softmax_in_new_process(NUMBA_CACHE_DIR=str(tmp_path))
    second = softmax_in_new_process(NUMBA_CACHE_DIR=str(tmp_path))
    assert "hits 0 misses 1" in first
    assert "Numba compiles rnncore's softmax" in first
    assert "hits 1 misses 0" in second
    assert "compiles" not in second


def test_the_cache_is_where_the_user_has_others(tmp_path: Path) -> None:
    if sys.platform in ("win32", "darwin"):
        pytest.skip("XDG_CACHE_HOME is for the other systems")
    softmax_in_new_process(XDG_CACHE_HOME=str(tmp_path))
    (directory,) = (tmp_path / "rnncore").iterdir()
    assert directory.name == f"numba-{entries.source_digest(Path(entries.__file__).parent)}"


@pytest.mark.parametrize("source", sorted(path.name for path in Path(entries.__file__).parent.glob("*.py")))
def test_an_edit_of_any_source_is_another_key(source: str, tmp_path: Path) -> None:
    column = tmp_path / "_numba"
    shutil.copytree(Path(entries.__file__).parent, column, ignore=shutil.ignore_patterns("__pycache__"))
    before = entries.source_digest(column)
    with (column / source).open("a") as file:
        file.write("# edited\n")
    assert before == entries.source_digest(Path(entries.__file__).parent)
    assert entries.source_digest(column) != before


def test_another_registry_of_cells_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Path(entries.__file__).parent
    before = entries.source_digest(column)
    monkeypatch.setattr(entries, "CELLS", {**CELLS, "new": CELLS["rnn"]})
    assert entries.source_digest(column) != before


def test_without_a_writable_place_it_works_and_says_so_once(tmp_path: Path) -> None:
    file = tmp_path / "no directory"
    file.write_text("")  # what even root cannot make a directory in
    said = softmax_in_new_process(NUMBA_CACHE_DIR=str(file))
    assert "hits 0 misses 1" in said
    assert said.count("cannot be kept") == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_it_was(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(gc, "isenabled", lambda: enabled)
    monkeypatch.setattr(gc, "enable", lambda: calls.append(True))
    monkeypatch.setattr(gc, "disable", lambda: calls.append(False))
    with pytest.raises(ZeroDivisionError), entries.no_collections():
        _ = 1 / 0
    assert calls == ([False, True] if enabled else [False])


def rows_left(rows: Any, position: int) -> int:
    """Return how many rows are left to do from a position on, each twice: for its step, and for its sums."""
    t = position // 2
    left = 2 * rows.start[t]
    if position % 2 == 0:
        left -= rows.start[t] - rows.start[stack.chunk_start.py_func(rows.start, t, rows.B)]
    return int(left)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """Of each call of a span, its name and how many rows it worked on, while a span may take 2^20 operations."""
    calls: list[tuple[str, int]] = []
    call = entries.Entry.__call__

    def spy(self: entries.Entry, real: Any, *arguments: Any) -> Any:
        result, name = call(self, real, *arguments), self.compiled.__name__
        if name == "forward_span":
            start = arguments[3].rows.start
            calls.append((name, start[result] - start[arguments[5]]))
        elif name == "backward_span":
            left = [rows_left(arguments[2].rows, position) for position in (arguments[6], result)]
            calls.append((name, left[0] - left[1]))
        elif name == "loss":
            calls.append((name, arguments[4] - arguments[3]))
        elif name == "sample_span":
            calls.append((name, (result - arguments[5]) * arguments[4].tokens.shape[1]))
        return result

    monkeypatch.setattr(entries.Entry, "__call__", spy)
    monkeypatch.setattr(buffers, "OPERATIONS", 2**20)
    buffers.plan_of.cache_clear()
    yield calls
    buffers.plan_of.cache_clear()


@pytest.mark.parametrize("B", [1, 7, 150])
@pytest.mark.parametrize("is_ragged", [False, True])
def test_a_span_works_on_few_rows(B: int, is_ragged: bool, spans: list[tuple[str, int]]) -> None:
    """As many as the operations allow, and at most a chunk more, which is 128 rows or a step; and none is left out."""
    params = rnncore.init_params("lstm", inputs=9, hidden=20, outputs=11)
    lengths = np.full(B, 4500 // B) - (np.arange(B) % 5 if is_ragged else 0)
    steps = [(np.zeros(T, int), np.zeros(T, int)) for T in lengths]
    rnncore.bptt(params, *zip(*steps, strict=True), backend="numba")
    for name, times in (("forward_span", 1), ("backward_span", 2), ("loss", 1)):
        rows = [count for span, count in spans if span == name]
        assert sum(rows) == times * sum(lengths)
        assert len(rows) > 1
        if name != "loss":
            assert max(rows) <= buffers.plan_of(params._net).most + max(BLOCK, B)


def test_sampling_works_in_spans(spans: list[tuple[str, int]]) -> None:
    params = rnncore.init_params("gru", inputs=9, hidden=20, outputs=9)
    rnncore.sample(params, np.zeros((1, 3), int), np.full((2000, 3), 0.5), backend="numba")
    rows = [count for name, count in spans if name == "sample_span"]
    assert sum(rows) == 6000
    assert max(rows) <= buffers.plan_of(params._net).most + 3


@pytest.mark.parametrize("cell", CELLS)
def test_no_span_takes_long(cell: str) -> None:
    """At most 2^31 operations in float32, 0.1 s at 20 a nanosecond, up to H = 1024 (bench/shapes.py)."""
    for X, H, V, B in ((1, 1, 1, 1), (3, 4, 3, 1), (65, 128, 65, 32), (256, 1024, 256, 1), (256, 1024, 256, 64)):
        net = net_of(cell, X, H, V, np.dtype(np.float32))
        assert (buffers.plan_of(net).most + max(BLOCK, B)) * buffers.operations(net) <= 2**31


def read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


FORMS = {
    "plain": lambda a: a,
    "read-only": read_only,
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "Fortran": np.asfortranarray,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
}


def use_everything(cell: str, dtype: str, change: Any) -> None:
    """Calls of all kinds, each array in a form of the user's."""
    T, B, X, H = 4, 3, 5, 6
    params = rnncore.init_params(cell, X, H, X, dtype=dtype)
    numbers = np.random.default_rng(0)
    tokens, vectors = numbers.integers(0, X, (T, B)), numbers.standard_normal((T, B, X)).astype(dtype)
    soft, state = np.full((T, B, X), 1 / X, dtype), change(numbers.standard_normal((B, H)).astype(dtype))
    state = (state, state) if len(CELLS[cell].states) > 1 else state
    options: dict[str, Any] = {"backend": "numba"}
    for x in (tokens, vectors):
        params = rnncore.Params(cell, **params)
        for more in ({}, {"lengths": np.array([4, 0, 2])}, {"state": state}):
            need = {"need_dinputs": x is vectors}
            for labels in (tokens, soft):
                rnncore.bptt(params, change(x), change(labels), **more, **need, **options)
            for loss in LOSSES:
                weights = change(np.ones((T, B), dtype))
                rnncore.bptt(params, change(x), change(soft), loss=loss, weights=weights, **more, **need, **options)
                rnncore.bptt(params, change(x), change(soft[0]), loss=loss, weights=weights[0], **more, **options)
            params = rnncore.Params(cell, tokens=x is tokens, **params)
            last = rnncore.forward(params, change(x), last=True, **more, **options)
            rnncore.backward(params, last, dy=change(last.y), **need, **options)
            out = rnncore.forward(params, change(x), **more, **options)
            rnncore.cross_entropy(change(out.y), change(tokens), lengths=more.get("lengths"), **options)
            rnncore.backward(params, out, dy=change(out.y), dstate=state, **need, **options)
            rnncore.backward(params, out, dh=change(out.h), **need, **options)
        lists = [change(x[:n, b]) for b, n in enumerate((4, 0, 2))]
        rnncore.bptt(params, lists, [change(tokens[:n, b]) for b, n in enumerate((4, 0, 2))], **options)
        rnncore.bptt(params, lists, change(tokens[0]), **options)
        rnncore.bptt(params, change(x[:, 0]), np.int64(2), **options)
        rnncore.forward(params, change(x[:, 0]), **options)
    rnncore.softmax(change(vectors), **options)
    params = rnncore.Params(cell, tokens=True, **params)
    rnncore.sample(params, change(tokens), change(numbers.random((T, B))), state=state, **options)
    rnncore.optim.norm(change(vectors))


def test_entries_are_called_with_the_types_that_they_were_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later calls go to machine code that looks at no type, so all that users hand over must come to the same types."""
    seen: dict[tuple[str, Any], Any] = {}
    call = entries.Entry.__call__

    def recorded(entry: Any, real: Any, *arguments: Any) -> Any:
        types = tuple(map(entry.compiled.typeof_pyval, arguments))
        assert seen.setdefault((entry.compiled.__name__, real), types) == types
        return call(entry, real, *arguments)

    monkeypatch.setattr(entries.Entry, "__call__", recorded)
    with rnncore.use_backend("numba"):
        for cell in CELLS:
            for dtype in ("float32", "float64"):
                for change in FORMS.values():
                    use_everything(cell, dtype, change)
    assert len(seen) >= 14


def compiled_inside(function: Any) -> list[Any]:
    """What a function that chooses among compiled ones holds, each as the Python function it was."""
    found = []
    for cell in getattr(function, "py_func", function).__closure__ or ():
        if hasattr(cell.cell_contents, "py_func"):
            found += [cell.cell_contents.py_func, *compiled_inside(cell.cell_contents)]
    return found


@pytest.mark.parametrize("name", ["forward", "reset", "reset_backward", "backward"])
def test_loops_of_cells_have_names_of_their_own(name: str) -> None:
    """Machine code that several processes kept is linked by name. Else two names differ in a number only, which each
    process counts for itself, so that one cell's loop may stand in another's place."""
    found = {function for function in compiled_inside(getattr(units, name)) if function.__module__ == units.__name__}
    loops = {function for function in found if function.__name__ not in ("choice", "nothing")}
    assert len(loops) == sum(hasattr(import_module(f"rnncore._numba.{cell}"), name) for cell in CELLS)
    assert len({loop.__qualname__ for loop in loops}) == len(loops)

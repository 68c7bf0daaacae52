"""Compiled code is kept on disk by a digest of its sources: found again, never stale, and not needed."""

import gc
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from rnncore._numba import engine

SOFTMAX = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
logging.getLogger("numba").setLevel(logging.WARNING)
import numba, numpy as np
from rnncore._numba import engine
before = numba.config.CACHE_DIR
p = engine.NumbaEngine().softmax(np.zeros((1, 4), np.float32))
assert p.tolist() == [[0.25] * 4]
assert numba.config.CACHE_DIR == before
stats = engine.entry("softmax").compiled.stats
print("hits", sum(stats.cache_hits.values()), "misses", sum(stats.cache_misses.values()))
"""


def softmax_in_new_process(**environment: str) -> str:
    """What a process says that computes one softmax."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    package = str(Path(engine.__file__).parents[2])
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
    assert directory.name == f"numba-{engine.source_digest(Path(engine.__file__).parent)}"


@pytest.mark.parametrize("source", sorted(path.name for path in Path(engine.__file__).parent.glob("*.py")))
def test_an_edit_of_any_source_is_another_key(source: str, tmp_path: Path) -> None:
    column = tmp_path / "_numba"
    shutil.copytree(Path(engine.__file__).parent, column, ignore=shutil.ignore_patterns("__pycache__"))
    before = engine.source_digest(column)
    with (column / source).open("a") as file:
        file.write("# edited\n")
    assert before == engine.source_digest(Path(engine.__file__).parent)
    assert engine.source_digest(column) != before


def test_another_registry_of_cells_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Path(engine.__file__).parent
    before = engine.source_digest(column)
    monkeypatch.setattr(engine, "CELLS", {**engine.CELLS, "new": engine.CELLS["rnn"]})
    assert engine.source_digest(column) != before


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
    with pytest.raises(ZeroDivisionError), engine.no_collections():
        _ = 1 / 0
    assert calls == ([False, True] if enabled else [False])

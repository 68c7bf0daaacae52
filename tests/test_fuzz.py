"""Odd arguments give equal bits on all engines, or the same TypeError or ValueError: a short run of tools/fuzz.py."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from rnncore.engines import engines

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.mark.skipif(not (TOOLS / "fuzz.py").is_file(), reason="the tools are not beside these tests")
@pytest.mark.filterwarnings("ignore")
def test_no_input_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])
    fuzz = import_module("fuzz")
    names = [name for name in engines() if name != "numpy"] or ["numpy"]
    for number in range(600):
        assert not fuzz.fault_of(1, number, [*names, "numpy"] if number % 50 == 0 else names), number

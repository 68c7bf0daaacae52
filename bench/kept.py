"""The result files of run.py that are kept: one of each kind of processor is the newest."""

import json
from pathlib import Path
from typing import Any

import processor
import report

RESULTS = Path(__file__).resolve().parent / "results"


def load(path: Path) -> dict[str, Any]:
    """A result file, also one from the time when "rnn" was the only cell."""
    results: dict[str, Any] = json.loads(path.read_text())
    if not str(results.get("format")).startswith("rnncore bench"):
        raise ValueError(f"{path} is not a result of run.py")
    return results


def counted(path: Path) -> dict[str, Any]:
    """A result file whose flops are those that are computed, as all that is shown beside each other must be."""
    results = load(path)
    if results["format"] != report.FORMAT:
        raise ValueError(f"{path} counts flops in another way: {results['format']}, not {report.FORMAT}")
    return results


def newest(folder: Path = RESULTS) -> dict[str, Path]:
    """The latest whole run of each kind of processor, by its name, in the order of the names."""
    found: dict[str, tuple[str, Path]] = {}
    for path in folder.glob("*.json"):
        results = json.loads(path.read_text())
        if str(results.get("format")).startswith("rnncore bench") and results["complete"]:
            kind = processor.name(results["machine"])
            found[kind] = max(found.get(kind, ("", path)), (str(results["date"]), path))
    if not found:
        raise ValueError("there are no results yet: run bench/run.py")
    return {kind: found[kind][1] for kind in sorted(found)}

"""What the programs that write a page of their own share: options, progress, and what becomes of the results."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import environment
import processor

RESULTS = Path(__file__).resolve().parent / "results"
Item = TypeVar("Item")


def parser(about: str | None, quick: str, rounds: int, cells: str = "") -> argparse.ArgumentParser:
    """With --quick, --rounds, --out; and with --cells if something is to be said of them."""
    found = argparse.ArgumentParser(description=about.splitlines()[0] if about else None)
    if cells:
        found.add_argument("--cells", default="rnn,lstm,gru", help=cells)
    found.add_argument("--quick", action="store_true", help=quick)
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--out", type=Path, default=RESULTS)
    return found


def begin(program: str, version: int, *lists: str) -> dict[str, Any]:
    """Results with empty lists."""
    return {"format": f"rnncore {program} {version}", **environment.describe(), **{name: [] for name in lists}}


def progress(items: Sequence[Item]) -> Iterator[Item]:
    """The items, with a bar."""
    from tqdm import tqdm

    yield from tqdm(items, mininterval=0.1 if sys.stderr.isatty() else 10, dynamic_ncols=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """An interruption ends the block, and what was measured until then stays."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted: the files hold what was measured until then")


def fact(results: dict[str, Any], *more: str) -> str:
    """Where, when and with what, in a line, and further words."""
    machine = results["machine"]
    words = (
        str(results["date"]), f"commit {results['commit']}", processor.name(machine),
        f"load {machine['load_average'][0]:.1f}", *more,
    )  # fmt: skip
    return f"- {', '.join(words)}"


def stem(results: dict[str, Any], name: str) -> str:
    """What the files of a program are called: its name, and the kind of processor."""
    return f"{name}-{processor.slug(results['machine'])}"


def finish(results: dict[str, Any], page: str, out: Path, name: str) -> int:
    """Writes JSON and Markdown, and shows the page. name: of the program, as its files have it."""
    import report

    files = out / stem(results, name)
    report.write_json(files.with_suffix(".json"), results)
    report.write_whole(files.with_suffix(".md"), page)
    print(page + f"\nwritten: {files}.json, .md")
    return 0

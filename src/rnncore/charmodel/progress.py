"""A line on a terminal that says how far a run is, and lines above it."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

EVERY = 0.1  # seconds between two drawings, at least
WIDTH = 20  # characters of the bar


class Bar:
    """Shows how far a run is on the last line of stderr, if that is a terminal, inside ``with``."""

    def __init__(self, total: float | None) -> None:
        """Take how much there is to do; None where nothing says."""
        self.total = total
        self._started = time.monotonic()
        self._drawn_at = 0.0
        self._line = ""

    def __enter__(self) -> Bar:
        global _shown
        if sys.stderr.isatty():
            _shown = self
        return self

    def __exit__(self, *exception: object) -> None:
        global _shown
        if _shown is self:
            self.clear()
            _shown = None

    def update(self, done: float, words: str) -> None:
        """Show how much is done, and some words, if it is time to."""
        now = time.monotonic()
        if _shown is self and now - self._drawn_at >= EVERY:
            self._drawn_at = now
            self.clear()
            self._line = self._text(done, words, now - self._started)[: shutil.get_terminal_size().columns - 1]
            self.draw()

    def _text(self, done: float, words: str, seconds: float) -> str:
        share = min(1.0, done / self.total) if self.total else 0.0
        if not self.total:
            return f"{clock(seconds)}, {words}"
        left = f"<{clock(seconds / share - seconds)}" if share > 0 else ""
        return f"{share:4.0%} |{'#' * int(share * WIDTH):{WIDTH}}| {clock(seconds)}{left}, {words}"

    def draw(self) -> None:
        """Write the line."""
        print(self._line, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        print("\r" + " " * len(self._line) + "\r", end="", file=sys.stderr, flush=True)


_shown: Bar | None = None  # the one that is on the terminal


def clock(seconds: float) -> str:
    """Return a time as minutes and seconds, 1:05, or with hours, 1:00:05."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def print_above(text: str, file: TextIO) -> None:
    """Print a line above the bar, if one is shown, at once."""
    if _shown is not None:
        _shown.clear()
    print(text, file=file, flush=True)
    if _shown is not None:
        _shown.draw()

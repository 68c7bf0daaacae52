"""One run of training in a terminal: the loop, its progress, its signals, its saves."""

from __future__ import annotations

import argparse
import contextlib
import math
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from . import file
from .model import DivergedError, Training
from .text import UTF_8, Source

SECONDS = 60.0  # of training, unless the command line says otherwise
SAVE_EVERY = 30.0  # seconds
PATIENCE = 2.0  # seconds after which another Ctrl-C no longer waits for the iteration's end
TEMPERATURE = 0.8


@dataclass
class Saver:
    """Saves a training at a path, now and then. With no path it does nothing."""

    path: str | None
    training: Training
    source: Source
    text_digest: str
    saved_at: int | None = None
    last_try: float = field(default_factory=time.monotonic)

    def save(self) -> None:
        """Save, unless it is saved already. Raises OSError if it cannot be; the file then is what it was before."""
        self.last_try = time.monotonic()
        if self.path is None or self.saved_at == self.training.iteration:
            return
        if not np.isfinite(self.training.params.flat).all():
            raise DivergedError(
                f"the parameters are not finite at iteration {self.training.iteration}, and not saved: "
                "lower --learning-rate"
            )
        file.save(self.path, self.training, self.source, self.text_digest)
        self.saved_at = self.training.iteration

    def save_now_and_then(self) -> None:
        """Save if it is time to. A full disk is a warning: the next try may do better, and learning goes on."""
        if self.path is None or time.monotonic() - self.last_try < SAVE_EVERY:
            return
        try:
            self.save()
        except (OSError, file.ModelFileError) as error:
            tqdm.write(f"rnncore: warning: not saved at iteration {self.training.iteration}: {error}", sys.stderr)

    def outcome(self) -> str:
        """Return what was saved, for a person."""
        if self.path is None:
            return "the model is not saved: that takes --save FILE"
        if self.saved_at is None:
            return "nothing new to save"
        again = f"python -m rnncore train --resume {as_typed(self.path)}"
        if file.path_from(self.path, self.source) == "":  # a pipe cannot be read again
            encoding = "" if self.source.encoding == UTF_8 else f" --encoding {self.source.encoding}"
            again += f" --text FILE{encoding}, a file of the same text"
        return f"saved {self.path} at iteration {self.saved_at}; continue with: {again}"


def as_typed(path: str) -> str:
    """Return a path as one types it in a terminal of this system."""
    return subprocess.list2cmdline([path]) if sys.platform == "win32" else shlex.quote(path)


STOPPED = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up", "SIGBREAK": "interrupted"}
"""What is said of a training that a signal has stopped: Ctrl-C, the system, a terminal that was closed, Ctrl-Break.

Windows has no SIGHUP, and other systems no SIGBREAK.
"""


class Stop:
    """Notes the signals of STOPPED inside ``with``, so that they are acted on between two iterations.

    A save is thus never cut short. If an iteration takes so long that someone presses Ctrl-C again, it is abandoned.
    """

    signal: int | None = None
    name = ""
    saving = False
    _since = 0.0

    def __enter__(self) -> Stop:
        self._before: dict[int, Any] = {}
        known = [getattr(signal, name) for name in STOPPED if hasattr(signal, name)]
        for number in known:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and background jobs have it
                with contextlib.suppress(ValueError):  # only the main thread hears signals
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            # After the one that was acted on, the process ends: a repeated one must not turn that into a crash.
            signal.signal(number, handler if self.signal is None else signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = int(number), now
            self.name = STOPPED[signal.Signals(number).name]
        elif not self.saving and now - self._since > PATIENCE:
            raise KeyboardInterrupt


class Display:
    """Shows a progress bar on stderr, if that is a terminal, and text above it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.iterations: int | None = args.iterations
        seconds = args.seconds if args.seconds is not None else SECONDS if args.iterations is None else math.inf
        self.seconds: float = seconds
        self._characters, self._times = deque([0], 100), deque([0.0], 100)

    def __enter__(self) -> Display:
        total = self.iterations or (self.seconds if self.seconds < math.inf else None)
        bar = "{percentage:3.0f} % |{bar}| " if total else ""
        self.bar = tqdm(
            total=total, disable=None, dynamic_ncols=True, leave=False,
            bar_format=bar + "{elapsed}" + ("<{remaining}" if total else "") + "{postfix}",
        )  # fmt: skip
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()

    def learned(self, characters: int, seconds: float) -> None:
        """Count an iteration for the speed, which is the mean of the last hundred."""
        self._characters.append(characters)
        self._times.append(seconds)

    @property
    def speed(self) -> float:
        """Return characters per second of learning; samples and saving are not counted."""
        return sum(self._characters) / (sum(self._times) or math.inf)

    def update(self, training: Training, iterations: int, seconds: float) -> None:
        """Move the bar to where this run is."""
        done = iterations if self.iterations else min(seconds, self.seconds)
        self.bar.set_postfix_str(f"train {training.loss:.3f} nats, {self.speed:,.0f} characters/s", refresh=False)
        self.bar.update(done - self.bar.n)


@dataclass
class Run:
    """Runs iterations of training until the budget is spent or a signal comes."""

    training: Training
    saver: Saver
    stop: Stop
    display: Display
    args: argparse.Namespace
    iterations: int = 0
    seconds: float = 0.0
    reported: int = -1

    def loop(self) -> None:
        """Learn, report, save. Whatever ends it, a reader of the output that has gone included, the model is saved."""
        try:
            while self.stop.signal is None and not self.spent():
                self.iterate()
                if self.args.sample_every and self.training.iteration % self.args.sample_every == 0:
                    self.report()
                self.saver.save_now_and_then()
            if self.stop.signal is None and self.reported != self.training.iteration:
                self.report()
        except OSError:
            self.save()
            raise
        self.save()

    def spent(self) -> bool:
        """Return whether the budget of this run is used up."""
        return self.iterations == self.display.iterations or self.seconds >= self.display.seconds

    def iterate(self) -> None:
        """Learn one piece and count its time, but not that of the first: a backend may compile during it."""
        start = time.perf_counter()
        characters = self.training.step(self.args.threads)
        seconds = time.perf_counter() - start
        self.iterations += 1
        if self.iterations > 1:
            self.seconds += seconds
            self.display.learned(characters, seconds)
        self.display.update(self.training, self.iterations, self.seconds)

    def report(self) -> None:
        """Print losses, speed and a sample."""
        start = time.perf_counter()
        training, threads = self.training, self.args.threads
        held_out = training.held_out_loss(threads)
        line = f"iteration {training.iteration:,} | {training.characters:,} characters | train {training.loss:.3f}"
        line += f" | held out {held_out:.3f} nats" if held_out is not None else " nats"
        say(f"{line} | {self.display.speed:,.0f} characters/s")
        if self.args.sample_length:
            sample = written(training.sample(self.args.sample_length, TEMPERATURE))
            say("\n".join("    " + line for line in sample.split("\n")) + "\n")
        self.reported = training.iteration
        self.seconds += time.perf_counter() - start

    def save(self) -> None:
        """Save to the end, whatever keys are pressed."""
        self.stop.saving = True
        try:
            self.saver.save()
        finally:
            self.stop.saving = False


def written(text: str) -> str:
    """Return what a model wrote, as it is; for a terminal without the characters that would move its cursor."""
    if not sys.stdout.isatty():
        return text
    return "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text.replace("\r\n", "\n"))


def say(text: str) -> None:
    """Print above the progress bar, at once."""
    tqdm.write(text, sys.stdout)
    sys.stdout.flush()

"""Timing several programs side by side: in turn, many times over, in one process."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt

Results = dict[str, npt.NDArray[np.floating]]
SHORTEST = 200e-6  # what one reading of the clock is worth; shorter calls are timed several at a time
WARM = 20e-3  # shorter calls run once untimed when their turn comes, to find their memory in the caches again
FEWEST = 3
SETTLE = 4e-3  # OpenMP's threads spin a while after their work, and would take a core from the next in turn


def nothing() -> None:
    """What most contenders need before their turn."""


@dataclass
class Contender:
    """Something that computes the gradient of one problem.

    run(k) computes it k times; results() gives what the last one found, by rnncore's names. threads: how many it may
    use, None if it chooses. before() runs ahead of each turn, untimed.
    """

    name: str
    threads: int | None
    run: Callable[[int], None]
    results: Callable[[], Results]
    before: Callable[[], None] = nothing
    spins: bool = False


Peak = Callable[[Contender], float]
"""Reads what one thread could do at best just now, in flops a second, for the instruction set of a contender."""


def unread(contender: Contender) -> float:
    """For who does not ask for the peak."""
    return math.nan


@dataclass
class Times:
    """Seconds of single calls, and beside each the peak around its turn: NaN where it was not read."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def add(self, seconds: list[float], peak: float) -> None:
        """The calls of a turn."""
        self.seconds += seconds
        self.peaks += [peak] * len(seconds)

    @property
    def median(self) -> float:
        """The call in the middle."""
        return median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest call."""
        return min(self.seconds)

    @property
    def work(self) -> tuple[float, float]:
        """How many flops the peak around a call allows in its time: of the call in the middle, and of the fastest."""
        each = [time * peak for time, peak in zip(self.seconds, self.peaks, strict=True)]
        return median(each), each[self.seconds.index(self.best)]


def repeat(call: Callable[[], object]) -> Callable[[int], None]:
    """A function of k that calls k times."""

    def run(k: int) -> None:
        for _ in range(k):
            call()

    return run


def turn(contender: Contender, seconds: float) -> list[float]:
    """One turn: calls for about that long, at least one; each entry the time of one call."""
    contender.before()
    once = timed(contender, 1)
    if once >= max(WARM, seconds):
        return [once]
    once = timed(contender, 1)
    together = max(1, round(SHORTEST / once))
    readings = min(50, max(1, round(seconds / (once * together))))
    return [timed(contender, together) for _ in range(readings)]


def timed(contender: Contender, calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    contender.run(calls)
    return max(time.perf_counter() - start, 1e-9) / calls


def measured_turn(contender: Contender, seconds: float, times: Times, peak: Peak) -> float:
    """One turn, and the peak read right before and right after it; returns how many seconds it took."""
    before = peak(contender)
    start = time.perf_counter()
    found = turn(contender, seconds)
    taken = time.perf_counter() - start
    if contender.spins:
        time.sleep(SETTLE)
    times.add(found, (before + peak(contender)) / 2)
    return taken


def by_turn(calls: Sequence[Callable[[], object]], turns: int, each: int = 1) -> npt.NDArray[np.float64]:
    """Seconds of a call, (turns, calls): each is called so often in a turn, and turns begin with another.

    It is the processor's time of this thread, which other programs disturb less than the clock.
    """
    times = np.empty((turns, len(calls)))
    for turn in range(turns):
        for place in range(len(calls)):
            which = (turn + place) % len(calls)
            start = time.thread_time()
            for _ in range(each):
                calls[which]()
            times[turn, which] = (time.thread_time() - start) / each
    return times


def over_first(times: npt.NDArray[np.float64]) -> tuple[list[float], list[float]]:
    """How many times as long as the first the others take: medians of the ratios of all turns, and by the fastest."""
    others = times[:, 1:]
    return np.median(others / times[:, :1], axis=0).tolist(), (others.min(axis=0) / times[:, 0].min()).tolist()


def interleave(
    contenders: list[Contender],
    rounds: int,
    seconds: float,
    times: list[Times],
    longest: float = math.inf,
    peak: Peak = unread,
) -> Iterator[Contender]:
    """Rounds of turns, each beginning with another contender; fills ``times`` and yields whose turn is over.

    After FEWEST rounds, who has had ``longest`` seconds sits out.
    """
    taken = [0.0] * len(contenders)
    for round_ in range(rounds):
        for place in range(len(contenders)):
            which = (round_ + place) % len(contenders)
            if round_ >= FEWEST and taken[which] > longest:
                continue
            taken[which] += measured_turn(contenders[which], seconds, times[which], peak)
            yield contenders[which]


def take_turns(contenders: list[Contender], rounds: int, seconds: float, longest: float) -> dict[str, list[float]]:
    """Medians and fastest calls in seconds, by name."""
    times = [Times() for _ in contenders]
    for _ in interleave(contenders, rounds, seconds, times, longest):
        pass
    return {c.name: [t.median, t.best] for c, t in zip(contenders, times, strict=True)}

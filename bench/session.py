"""One run of the benchmark: check, then time, block by block; every block leaves its rows in the results."""

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import engines
import environment
import loops
import native
import numpy as np
import peers
from problems import Problem, problem
from shapes import GATES, SAME_COST, Shape, named, reduced, same_cost
from timing import Contender, Times, interleave, repeat, turn
from tqdm import tqdm

from rnncore.engines import engine

FORMAT = "rnncore bench 2"
ENOUGH = 1.0  # a peer is warmed up by three calls, unless they take longer


@dataclass(frozen=True)
class Settings:
    """What a run does: rounds of turns, seconds a turn, and how much of a net NumPy checks.

    longest: after how many seconds a contender at one net has no further turn.
    """

    cells: list[str]
    shapes: list[Shape]
    dtypes: list[str]
    peers: list[str]
    rounds: int
    seconds: float
    longest: float
    definition_flops: float
    loops: list[str]
    limit_seconds: float


@dataclass
class Session:
    """Fills ``results`` as it goes, so that an interrupted run keeps what it has."""

    settings: Settings
    bar: Any = field(default_factory=lambda: tqdm(disable=True))
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Limits first and last, the shapes between."""
        settings = self.settings
        self.results |= {"format": FORMAT, "complete": False, **environment.describe()}
        self.results["versions"] |= peers.versions() if "onednn" in settings.peers else {}
        self.results["settings"] = {"rounds": settings.rounds, "seconds": settings.seconds}
        self.results["settings"] |= {"longest": settings.longest, "cores": environment.cores()}
        self.results |= {"limits": {}, "checks": [], "peer_checks": [], "absent": {}, "rows": [], "loops": []}
        self.limits = native_limits(self.results)
        self.read_limits()
        for cell, shape, dtype in product(settings.cells, settings.shapes, settings.dtypes):
            self.block(replace(shape, cell=cell), dtype)
            self.bar.update()
        for cell, name in product(settings.cells, settings.loops):
            self.loop(replace(named(name)[0], cell=cell))
            self.bar.update()
        self.read_limits()
        self.results["complete"] = True

    def read_limits(self) -> None:
        """FMA peaks alone and together, FMA latency, reading memory, elementary functions, and the emptiest call."""
        self.say("limits")
        seconds, readings = self.settings.limit_seconds, self.results["limits"]
        for isa in self.limits:
            for dtype in self.settings.dtypes:
                self.read_peak(isa, dtype, seconds)
                both = isa.fma_together(dtype, seconds, environment.cores())
                readings.setdefault(f"{isa.isa} fma {dtype} all cores", []).append(both)
        for isa in self.limits[:1]:
            readings.setdefault("fma latency", []).append(isa.latency(seconds))
            for level, size in native.block_sizes(environment.caches()).items():
                readings.setdefault(f"read {level}", []).append(isa.read(size, seconds))
        for name, value in own_limits(seconds, self.settings.dtypes).items():
            readings.setdefault(name, []).append(value)

    def read_peak(self, isa: native.Limits, dtype: str, seconds: float) -> float:
        """One reading of the FMA peak."""
        rate = isa.fma(dtype, seconds)
        self.results["limits"].setdefault(f"{isa.isa} fma {dtype}", []).append(rate)
        return rate

    def block(self, shape: Shape, dtype: str) -> None:
        """One cell, shape and dtype. Whoever is not shown right is not timed."""
        title = f"{shape.cell} {shape.name} {dtype}"
        self.say(f"{title}: checking")
        equal = self.check(shape, dtype)
        task = problem(shape, dtype)
        own = engines.contenders(task, environment.cores()) if equal else []
        contenders = own + self.right_peers(task)
        for isa in self.limits:
            self.read_peak(isa, dtype, min(0.05, self.settings.limit_seconds))
        for contender, times in self.time(contenders, title):
            net = same_cost(shape) if contender.name == SAME_COST else shape
            found = row(shape, dtype, contender, times) | {"sizes": net.sizes, "flops": net.flops}
            self.results["rows"].append(found)

    def check(self, shape: Shape, dtype: str) -> bool:
        """Whether all engines agree on the shape, and on some of the net that it is measured by."""
        cores, flops = environment.cores(), self.settings.definition_flops
        checked = [engines.check(shape, dtype, cores, flops)]
        if GATES[shape.cell] > 1:
            small = reduced(same_cost(shape), engines.BASELINE * flops)
            checked.append(engines.check(replace(small, name=f"{shape.name} as {shape.cell}"), dtype, cores, flops))
        self.results["checks"] += checked
        return all(bool(check["equal"]) for check in checked)

    def time(self, contenders: list[Contender], title: str) -> Iterator[tuple[Contender, Times]]:
        """All turns, and then whoever was timed; an interruption comes through after that."""
        times = [Times() for _ in contenders]
        turns = self.settings.rounds * len(contenders)
        interruption: KeyboardInterrupt | None = None
        try:
            for done, contender in enumerate(self.turns(contenders, times), 1):
                self.say(f"{title}: {done}/{turns} {contender.name}")
        except KeyboardInterrupt as interrupted:
            interruption = interrupted
        yield from ((c, measured) for c, measured in zip(contenders, times, strict=True) if measured.seconds)
        if interruption:
            raise interruption

    def turns(self, contenders: list[Contender], times: list[Times]) -> Iterator[Contender]:
        """Rounds of turns as the settings have them."""
        settings = self.settings
        return interleave(contenders, settings.rounds, settings.seconds, times, settings.longest)

    def say(self, what: str) -> None:
        """Shows what is being done, without filling a file with it."""
        self.bar.set_description(what, refresh=sys.stderr.isatty())

    def right_peers(self, task: Problem) -> list[Contender]:
        """The peers that are here and find the same gradient."""
        expected = engines.named(engines.gradient(task, None, None))
        found = []
        for contender in self.present_peers(task):
            contender.before()
            warm_up(contender)
            error = peers.error(expected, contender.results())
            right = error <= peers.TOLERANCE[task.dtype]
            self.results["peer_checks"].append(
                {"cell": task.shape.cell, "shape": task.shape.name, "dtype": task.dtype, "peer": contender.name}
                | {"threads": contender.threads}
                | {"error": error if math.isfinite(error) else None, "right": right}
            )
            found += [contender] if right else []
        return found

    def present_peers(self, task: Problem) -> Iterator[Contender]:
        """Those that were asked for and can; the reasons of the others go into the results."""
        for name in self.settings.peers:
            counts = (1, environment.cores()) if name in peers.THREADED else (1,)
            for threads in dict.fromkeys(counts):
                try:
                    yield peers.PEERS[name](task, threads)
                except peers.UnavailableError as why:
                    self.results["absent"].setdefault(name, str(why))
                    break

    def loop(self, shape: Shape) -> None:
        """Whole training steps."""
        title = f"training {shape.cell} {shape.name}"
        self.say(f"{title}: checking")
        task = problem(shape, "float32")
        with_torch = "torch" in self.settings.peers
        if with_torch and loops.optional(loops.by_torch, task, 1):
            error = loops.agree(task)
            self.results["peer_checks"].append(
                {"cell": shape.cell, "shape": f"training {shape.name}", "dtype": "float32", "peer": "torch"}
                | {"threads": 1, "error": error, "right": error < 1e-3}
            )
            with_torch = error < 1e-3
        contenders = loops.contenders(task, environment.cores(), with_torch)
        for contender, times in self.time(contenders, title):
            speed = {"characters_per_second": shape.T * shape.B / times.median}
            self.results["loops"].append(row(shape, "float32", contender, times) | speed)


def row(shape: Shape, dtype: str, contender: Contender, times: Times) -> dict[str, Any]:
    """What is written of one contender at one shape."""
    return {
        "cell": shape.cell,
        "shape": shape.name,
        "sizes": shape.sizes,
        "tokens": shape.tokens,
        "dtype": dtype,
        "contender": contender.name,
        "threads": contender.threads,
        "median": times.median,
        "best": times.best,
        "readings": len(times.seconds),
    }


def warm_up(contender: Contender) -> None:
    """One call, and two more if they are short: the heap grows until it has room for all that a call needs at once."""
    start = time.perf_counter()
    for _ in range(3):
        contender.run(1)
        if time.perf_counter() - start > ENOUGH:
            break


def native_limits(results: dict[str, Any]) -> list[native.Limits]:
    """The programs that read the limits; without a compiler there are no shares of the peak."""
    try:
        return native.limits()
    except native.BuildError as why:
        results["absent"]["limits"] = str(why)
        return []


def own_limits(seconds: float, dtypes: list[str]) -> dict[str, float]:
    """What our own parts cost by themselves: tanh, exp, sigmoid a second from L2, and a call with one of everything."""
    found = {}
    for dtype in dtypes:
        x = np.linspace(-3, 3, 1 << 15).astype(dtype)
        for name in ("tanh", "exp", "sigmoid"):
            call = repeat(partial(engine("cpp").elementary, name, x))
            found[f"{name} {dtype}"] = x.size / best(call, seconds)
    one = problem(Shape("one", 1, 1, 1, 1, 1), "float32")
    found["call"] = best(engines.contender(one, "cpp", 1).run, seconds)
    return found


def best(run: Any, seconds: float) -> float:
    """The fastest call's time."""
    start, times = time.perf_counter(), [1e30]
    while time.perf_counter() - start < seconds:
        times += turn(Contender("", 1, run, dict), seconds / 10)
    return min(times)

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
from report import FORMAT
from shapes import GATES, SAME_COST, WITH_DINPUTS, Shape, named, reduced, same_cost
from timing import Contender, Peak, Times, interleave, repeat, turn
from tqdm import tqdm

from rnncore.engines import engine

AROUND = 2e-3  # seconds of a reading of the peak, before and after each turn
CHASE = 0.02  # seconds of a reading of the time of a load; most of the loads are nanoseconds
ENOUGH = 1.0  # a peer is warmed up by three calls, unless they take longer


@dataclass(frozen=True)
class Settings:
    """What a run does: rounds of turns, seconds a turn, and how much of a net NumPy checks.

    longest: after how many seconds a contender at one net has no further turn. alone: the compiled core and its peers
    on one thread each, and nothing else.
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
    alone: bool = False


@dataclass
class Session:
    """Fills ``results`` as it goes, so that an interrupted run keeps what it has."""

    settings: Settings
    bar: Any = field(default_factory=lambda: tqdm(disable=True))
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Limits first and last, the shapes between."""
        settings = self.settings
        self.begin()
        self.blocks()
        for cell, name in product(settings.cells, settings.loops):
            self.loop(replace(named(name)[0], cell=cell))
            self.bar.update()
        self.end()

    def begin(self) -> None:
        """What is said of the machine, and the limits."""
        settings = self.settings
        self.results |= {"format": FORMAT, "complete": False, **environment.describe()}
        self.results["versions"] |= peers.versions() if "onednn" in settings.peers else {}
        self.results["settings"] = {"rounds": settings.rounds, "seconds": settings.seconds}
        self.results["settings"] |= {"longest": settings.longest, "cores": environment.cores()}
        self.results |= {"limits": {}, "checks": [], "peer_checks": [], "absent": {}, "rows": [], "loops": []}
        self.limits = native_limits(self.results)
        self.read_limits()

    def blocks(self) -> None:
        """Every cell, shape and dtype."""
        for cell, shape, dtype in product(self.settings.cells, self.settings.shapes, self.settings.dtypes):
            self.block(replace(shape, cell=cell), dtype)
            self.bar.update()

    def end(self) -> None:
        """The limits once more."""
        self.read_limits()
        self.results["complete"] = True

    def read_limits(self) -> None:
        """FMA peaks alone and together, FMA latency, memory, elementary functions, and the emptiest call."""
        self.say("limits")
        seconds, readings = self.settings.limit_seconds, self.results["limits"]
        for isa in self.limits:
            for dtype in self.settings.dtypes:
                readings.setdefault(f"{isa.isa} fma {dtype}", []).append(isa.fma(dtype, seconds))
                both = isa.fma_together(dtype, seconds, environment.cores())
                readings.setdefault(f"{isa.isa} fma {dtype} all cores", []).append(both)
        for isa in self.limits[:1]:
            readings.setdefault("fma latency", []).append(isa.latency(seconds))
            for level, size in native.block_sizes(environment.caches()).items():
                readings.setdefault(f"read {level}", []).append(isa.read(size, seconds))
            for name, time_of_load in isa.chases(min(CHASE, seconds)).items():
                readings.setdefault(name, []).append(time_of_load)
        for name, value in own_limits(seconds, self.settings.dtypes).items():
            readings.setdefault(name, []).append(value)

    def peak(self, dtype: str) -> Peak:
        """Reads the peak around turns; the results keep the lowest and the highest reading."""

        def read(contender: Contender) -> float:
            own = [isa for isa in self.limits if contender.name.endswith(f".{isa.isa}")] or self.limits[:1]
            if not own:
                return math.nan
            rate = own[0].fma(dtype, AROUND)
            name = f"{own[0].isa} fma {dtype} around turns"
            least, most = self.results["limits"].get(name, (rate, rate))
            self.results["limits"][name] = [min(least, rate), max(most, rate)]
            return rate

        return read

    def block(self, shape: Shape, dtype: str) -> None:
        """One cell, shape and dtype. Whoever is not shown right is not timed."""
        title = f"{shape.cell} {shape.name} {dtype}"
        self.say(f"{title}: checking")
        equal = self.check(shape, dtype)
        task = problem(shape, dtype)
        contenders = (self.own(task) if equal else []) + self.right_peers(task)
        for contender, times in self.time(contenders, title, dtype):
            net = same_cost(shape) if contender.name == SAME_COST else shape
            flops = net.flops + (net.flops_of_dinputs if contender.name == WITH_DINPUTS else 0)
            found = row(shape, dtype, contender, times) | {"sizes": net.sizes, "flops": flops}
            self.results["rows"].append(found)

    def own(self, task: Problem) -> list[Contender]:
        """Of rnncore's."""
        return [engines.contender(task, "cpp", 1)] if self.settings.alone else engines.contenders(task, self.cores())

    def cores(self) -> int:
        """The most threads that anybody gets."""
        return 1 if self.settings.alone else environment.cores()

    def check(self, shape: Shape, dtype: str) -> bool:
        """Whether all engines agree on the shape, and on some of the net that it is measured by."""
        cores, flops = environment.cores(), self.settings.definition_flops
        checked = [engines.check(shape, dtype, cores, flops)]
        if GATES[shape.cell] > 1 and not self.settings.alone:
            small = reduced(same_cost(shape), engines.BASELINE * flops)
            checked.append(engines.check(replace(small, name=f"{shape.name} as {shape.cell}"), dtype, cores, flops))
        self.results["checks"] += checked
        return all(bool(check["equal"]) for check in checked)

    def time(self, contenders: list[Contender], title: str, dtype: str) -> Iterator[tuple[Contender, Times]]:
        """All turns, and then whoever was timed; an interruption comes through after that."""
        times = [Times() for _ in contenders]
        turns = self.settings.rounds * len(contenders)
        interruption: KeyboardInterrupt | None = None
        try:
            for done, contender in enumerate(self.turns(contenders, times, dtype), 1):
                self.say(f"{title}: {done}/{turns} {contender.name}")
        except KeyboardInterrupt as interrupted:
            interruption = interrupted
        yield from ((c, measured) for c, measured in zip(contenders, times, strict=True) if measured.seconds)
        if interruption:
            raise interruption

    def turns(self, contenders: list[Contender], times: list[Times], dtype: str) -> Iterator[Contender]:
        """Rounds of turns as the settings have them."""
        settings = self.settings
        return interleave(contenders, settings.rounds, settings.seconds, times, settings.longest, self.peak(dtype))

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
            counts = (1, self.cores()) if name in peers.THREADED else (1,)
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
        for contender, times in self.time(contenders, title, "float32"):
            speed = {"characters_per_second": shape.T * shape.B / times.median}
            self.results["loops"].append(row(shape, "float32", contender, times) | speed)


def row(shape: Shape, dtype: str, contender: Contender, times: Times) -> dict[str, Any]:
    """What is written of one contender at one shape. work: see Times; nothing where the peak was not read."""
    work, best_work = (None if math.isnan(flops) else flops for flops in times.work)
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
        "work": work,
        "best_work": best_work,
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

"""Our own C++ programs: compiled when they are first needed, kept, and called through ctypes."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import environment
import numpy.typing as npt

SOURCES = Path(__file__).resolve().parent / "native"
FLAGS = ("-std=c++17", "-O3", "-Wall", "-Wextra", "-Wno-psabi", "-fPIC", "-shared")
X86 = {"avx512": ("-mavx512f", "-DVECTOR_BYTES=64"), "avx2": ("-mavx2", "-mfma", "-DVECTOR_BYTES=32")}
NEEDS = {"avx512": ["avx512f"], "avx2": ["avx2", "fma"]}
PAGES = (32, 48, 64, 80, 96, 128, 192, 256)  # over which address translation is tried
DEEP = getattr(os, "RTLD_DEEPBIND", 0)  # PyTorch carries a oneDNN of its own, under the same names


class BuildError(Exception):
    """A program could not be compiled, or loaded: the message says why."""


def load(source: str, *flags: str, mode: int = ctypes.DEFAULT_MODE) -> ctypes.CDLL:
    """A program as a library, compiled unless that was done before with the same text and flags."""
    path = SOURCES / source
    key = hashlib.sha256(repr((path.read_text(), FLAGS, flags)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rnncore-bench"
    library = cache / f"{path.stem}-{key}.so"
    if not library.exists():
        build(path, library, flags)
    try:
        return ctypes.CDLL(str(library), mode=mode)
    except OSError as why:
        raise BuildError(str(why)) from None


def build(source: Path, library: Path, flags: tuple[str, ...]) -> None:
    """Compile under another name, then rename: half a library is never found."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch) / library.name
        options, libraries = [f for f in flags if not f.startswith("-l")], [f for f in flags if f.startswith("-l")]
        command = [os.environ.get("CXX", "g++"), *FLAGS, *options, str(source), *libraries, "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as why:
            raise BuildError(str(why)) from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line]
            raise BuildError((lines or done.stderr.splitlines() or ["the compiler failed"])[0])
        made.replace(library)


class Limits:
    """What one instruction set can do at best on this machine: native/limits.cpp."""

    def __init__(self, isa: str, flags: tuple[str, ...]) -> None:
        self.isa = isa
        self._library = load("limits.cpp", "-ffp-contract=fast", *flags)
        for name in ("fma_rate_float32", "fma_rate_float64", "fma_latency"):
            function = getattr(self._library, name)
            function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
        self._library.read_rate.restype = ctypes.c_double
        self._library.read_rate.argtypes = [ctypes.c_size_t, ctypes.c_double]
        self._library.chase.restype = ctypes.c_double
        self._library.chase.argtypes = [ctypes.c_size_t, ctypes.c_int, ctypes.c_double]

    def fma(self, dtype: str, seconds: float) -> float:
        """Flops per second of one thread that only multiplies and adds in registers."""
        return float(getattr(self._library, f"fma_rate_{dtype}")(seconds))

    def fma_together(self, dtype: str, seconds: float, threads: int) -> float:
        """The same, of several threads at once: their sum."""
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(lambda _: self.fma(dtype, seconds), range(threads)))

    def latency(self, seconds: float) -> float:
        """Seconds of one FMA that waits for the one before."""
        return float(self._library.fma_latency(seconds))

    def read(self, size: int, seconds: float) -> float:
        """Bytes per second, of a block of that size."""
        return float(self._library.read_rate(size, seconds))

    def chases(self, seconds: float) -> dict[str, float]:
        """Seconds of a load over so many pages, in small pages and in a huge one: the reach of address translation."""
        kinds = {"4 KiB": 0, "huge": 1}
        return {
            f"chase {pages} {kind}": float(self._library.chase(pages, huge, seconds))
            for kind, huge in kinds.items()
            for pages in PAGES
        }


def limits() -> list[Limits]:
    """One for each instruction set of this machine, best first."""
    available = environment.machine()["instruction_sets"]
    sets = [name for name in X86 if all(flag in available for flag in NEEDS[name])]
    return [Limits(name, X86[name]) for name in sets] or [Limits("baseline", ("-DVECTOR_BYTES=16",))]


def block_sizes(caches: dict[str, int]) -> dict[str, int]:
    """A block that lies in each cache with room to spare, and one that lies in none."""
    sizes = {level: size // 2 for level, size in caches.items() if level in ("L1", "L2")}
    if "L3" in caches:
        sizes["L3"] = max(4 * caches.get("L2", 0), min(caches["L3"] // 4, 16 << 20))
    return sizes | {"DRAM": min(1 << 29, max(1 << 28, 4 * max(caches.values())))}


class OneDnn:
    """Its recurrent primitives with inner products and softmax: native/onednn.cpp."""

    def __init__(self) -> None:
        self.library = load("onednn.cpp", "-fopenmp", "-ldnnl", mode=ctypes.DEFAULT_MODE | DEEP)
        self.library.onednn_create.restype = ctypes.c_void_p
        self.library.onednn_run.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self.library.onednn_destroy.argtypes = [ctypes.c_void_p]

    @property
    def version(self) -> str:
        """Like 2.6.3."""
        number = int(self.library.onednn_version())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    """For a C function; the array must live on."""
    return ctypes.c_void_p(array.ctypes.data)

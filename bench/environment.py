"""The process that everybody is timed in: its environment variables, and what is said of it in the results."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "amx_tile")  # those that matter to anybody here
DONE = "RNNCORE_BENCH_ENVIRONMENT"
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "RNNCORE_ISA", "RNNCORE_BACKEND")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NPROC", "PJRT_NPROC")
# Memory that was freed stays with the process, so that nobody is timed while the kernel clears pages.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def fixed() -> dict[str, str]:
    """The variables that are set for everybody: one thread for each peer unless a row says otherwise."""
    xla = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return dict.fromkeys(THREADS, "1") | MALLOC | {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}


def prepare() -> None:
    """Start this program again with that environment, if it is not: libraries read it when they are loaded.

    Also makes the package of this source tree importable when none is installed.
    """
    if os.environ.get(DONE) != "1":
        variables = {name: value for name, value in os.environ.items() if name not in UNSET}
        os.execve(sys.executable, [sys.executable, *sys.argv], variables | fixed() | {DONE: "1"})
    try:
        importlib.metadata.version("rnncore")
    except importlib.metadata.PackageNotFoundError:
        sys.path.append(str(ROOT / "src"))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Machine, versions, date and commit."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "environment": fixed() | {"unset": ", ".join(UNSET)},
    }


def machine() -> dict[str, Any]:
    """CPU, cores, caches in bytes, memory, kernel, and how busy it was at the start."""
    info = cpu_info()
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "family_model": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
        "instruction_sets": [flag for flag in INSTRUCTION_SETS if flag in info.get("flags", "").split()],
        "cores": cores(),
        "caches": caches(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": list(os.getloadavg()),
    }


def cpu_info() -> dict[str, str]:
    """The first CPU of /proc/cpuinfo; empty where there is no such file."""
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.split("\n"))}
    return {}


def caches() -> dict[str, int]:
    """L1, L2, L3: bytes, as the first core sees them."""
    found: dict[str, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        with contextlib.suppress(OSError, ValueError):
            if (index / "type").read_text().strip() != "Instruction":
                size = (index / "size").read_text().strip()
                found[f"L{(index / 'level').read_text().strip()}"] = int(size.rstrip("K")) * 1024
    return found or {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}


def versions() -> dict[str, str]:
    """Of Python, the compiler, and every package that is timed or used."""
    found = {"python": platform.python_version(), "libc": "-".join(platform.libc_ver())}
    for name in ("rnncore", "numpy", "numba", "torch", "jax", "jaxlib"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if "rnncore" not in found:
        text = (ROOT / "src" / "rnncore" / "__init__.py").read_text()
        version = re.search(r'^__version__ = "(.*)"', text, re.MULTILINE)
        found["rnncore"] = version[1] if version else "unknown"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found["g++"] = output("g++", "--version").split("\n")[0]
    return found


def commit() -> str:
    """The commit that was timed, with a + if the tree was changed since."""
    try:
        changed = output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no").strip()
        return output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD").strip() + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

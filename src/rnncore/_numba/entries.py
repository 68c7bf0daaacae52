"""The functions of this column that Python calls, compiled when they are first called and then kept on disk.

Numba's own cache looks only at the file a function is in, and would go on serving what an edited neighbour
was before. So the code is kept in a directory named by a digest of all sources it is made of.
"""

import contextlib
import functools
import gc
import hashlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import event

from ..cells import CELLS
from ..losses import LOSSES
from . import OPTIONS

config: Any = numba.config  # one of its names is set below, for a moment
logger = logging.getLogger("rnncore")


class Entry:
    """A function that Python calls: compiled, or loaded from disk, when it is first called with a dtype.

    Arguments are always of the same types but for the dtype, and arrays contiguous and writable. So later calls go to
    the machine code directly: to look at the types of thirty arrays takes Numba longer than a small net takes to run.
    """

    def __init__(self, function: Any, directory: Path | None) -> None:
        self.ready: dict[Any, Any] = {}
        self.compiled = numba.njit(**OPTIONS)(function.py_func)
        if directory is not None:
            enable_cache(self.compiled, directory)

    def __call__(self, real: Any, *arguments: Any) -> Any:
        code = self.ready.get(real)
        if code is not None:
            return code(*arguments)
        with event.install_listener("numba:compile", Announcement(self.compiled)), no_collections():
            result = self.compiled(*arguments)
        types = tuple(map(self.compiled.typeof_pyval, arguments))
        self.ready[real] = self.compiled.overloads[types].entry_point
        return result


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Leave Python's garbage uncollected meanwhile.

    Numba makes so many objects, nearly all to stay, that looking for garbage among them is a tenth of the compilation.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Announcement(event.Listener):
    """Logs that compiling takes a while, before it does; loading from disk is quick and not logged."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self.compiled:
            logger.info("Numba compiles rnncore's %s, which takes some seconds", self.compiled.__name__)

    def on_end(self, event: Any) -> None:
        pass


@functools.cache
def entry(function: Any) -> Entry:
    """Return the entry of a compiled function."""
    return Entry(function, cache_directory())


def enable_cache(compiled: Any, directory: Path) -> None:
    """Make Numba keep a function's code in a directory, and leave Numba's configuration as it was."""
    with _configuring:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(directory)
        try:
            compiled.enable_caching()
        finally:
            config.CACHE_DIR = before


_configuring = threading.RLock()  # a signal handler may call rnncore as well


@functools.cache
def cache_directory() -> Path | None:
    """Return where code is kept: a place of its own for each state of the sources; None if none is writable."""
    directory = user_cache() / f"numba-{source_digest(Path(__file__).parent)}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        logger.warning("rnncore's Numba code is compiled anew in each process, as it cannot be kept: %s", error)
        return None
    return directory


def user_cache() -> Path:
    """Return the user's directory for what can be made again: Numba's NUMBA_CACHE_DIR, or else the system's."""
    if config.CACHE_DIR:
        return Path(config.CACHE_DIR, "rnncore").absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base), "rnncore").absolute()


def source_digest(column: Path) -> str:
    """Return a digest of all sources in a directory, and of the registries of cells and losses."""
    digest = hashlib.sha256(repr((CELLS, LOSSES)).encode())
    for source in sorted(column.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]

"""The Numba column as an engine: one call into compiled code for a loop through time, kept on disk once compiled.

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
import numpy as np
from numba.core import event

from .. import rounding
from ..cells import CELLS, tape_shape
from ..params import Params
from ..types import Array, Indices, Steps
from . import OPTIONS, compiled, elementary, optim, sampling, sequence, softmax
from .sequence import Inputs, Loss, Weights
from .softmax import Labels

config: Any = numba.config  # one of its names is set below, for a moment
logger = logging.getLogger("rnncore")


class NumbaEngine:
    """Calls of the compiled column: trusted, canonical arrays in, fresh ones out, +0 in padding.

    T steps, B sequences, X inputs, H hidden units, V outputs, S states. lengths None is T for every sequence. One
    thread does all the work, whatever ``threads`` says: the compiled core is the engine with threads.
    """

    name = "numba"
    bptt_at_once = forward_at_once = backward_at_once = None

    def forward(
        self, params: Params, inputs: Steps, state: Array, lengths: Indices | None, threads: int | None
    ) -> tuple[Array, Array, Array, Array]:
        """Outputs y (T, B, V), hidden states h (T, B, H), the tape, last states (S, B, H)."""
        T, B = inputs.shape[:2]
        y, h = np.zeros((T, B, params.outputs), params.dtype), np.zeros((T, B, params.hidden), params.dtype)
        tape, last = np.zeros(tape_shape(params.cell, T, B, params.hidden), params.dtype), np.empty_like(state)
        entry("forward")(
            params.dtype,
            _weights(params),
            _inputs(params, inputs),
            _rows(state),
            _lengths(lengths, T, B),
            _rows(y),
            _rows(h),
            _rows(tape),
            _rows(last),
        )
        return y, h, tape, last

    def backward(
        self,
        params: Params,
        inputs: Steps,
        h: Array,
        tape: Array,
        state: Array,
        lengths: Indices | None,
        dy: Array | None,
        dh: Array | None,
        dstate: Array | None,
        need_dinputs: bool,
        threads: int | None,
    ) -> tuple[Params, Array, Array | None]:
        """Gradients of the parameters, of the initial states (S, B, H), of the inputs (T, B, X) if needed."""
        T, B = inputs.shape[:2]
        grads, carried = params.zeros_like(), np.empty_like(state)
        dinputs = np.zeros((T, B, params.inputs if need_dinputs else 0), params.dtype)
        empty = np.empty((0, 0), params.dtype)
        loss = Loss(
            dy is not None,
            dh is not None,
            dstate is not None,
            empty if dy is None else _rows(dy),
            empty if dh is None else _rows(dh),
            empty if dstate is None else _rows(dstate),
        )
        entry("backward")(
            params.dtype,
            _weights(params),
            _inputs(params, inputs),
            _rows(h),
            _rows(tape),
            _rows(state),
            _lengths(lengths, T, B),
            loss,
            need_dinputs,
            _weights(grads),
            _rows(carried),
            _rows(dinputs),
        )
        return grads, carried, dinputs if need_dinputs else None

    def bptt(
        self,
        params: Params,
        inputs: Steps,
        labels: Steps,
        state: Array,
        lengths: Indices | None,
        need_dinputs: bool,
        threads: int | None,
    ) -> tuple[float, Array, Params, Array, Array, Array | None]:
        """J, losses (T, B), gradients, last states, dstate, dinputs if needed."""
        y, h, tape, last = self.forward(params, inputs, state, lengths, threads)
        J, losses, dy = self._cross_entropy(y, labels, lengths)
        grads, dstate, dinputs = self.backward(
            params, inputs, h, tape, state, lengths, dy, None, None, need_dinputs, threads
        )
        return J, losses, grads, last, dstate, dinputs

    def cross_entropy(self, y: Array, labels: Steps, lengths: Indices | None) -> tuple[Array, Array]:
        """Losses (T, B) and dy (T, B, V) of outputs y (T, B, V)."""
        _, losses, dy = self._cross_entropy(y, labels, lengths)
        return losses, dy

    def _cross_entropy(self, y: Array, labels: Steps, lengths: Indices | None) -> tuple[float, Array, Array]:
        """J, the sum of the losses, too."""
        T, B = y.shape[:2]
        losses, dy = np.zeros((T, B), y.dtype), np.zeros_like(y)
        J = entry("cross_entropy")(
            y.dtype, _rows(y), _labels(y.dtype, labels), _lengths(lengths, T, B), losses.reshape(T * B), _rows(dy)
        )
        return J, losses, dy

    def softmax(self, y: Array) -> Array:
        """p (R, V) of outputs y (R, V)."""
        p = np.empty_like(y)
        entry("softmax")(y.dtype, _plain(y), p)
        return p

    def sample(
        self, params: Params, first: Indices, uniforms: Array, state: Array, temperature: float
    ) -> tuple[Indices, Array]:
        """Tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and states (S, B, H); last states."""
        tokens, last = np.empty(uniforms.shape, np.int64), np.empty_like(state)
        entry("sample")(
            params.dtype,
            _weights(params),
            _plain(first),
            _plain(uniforms),
            _rows(state),
            temperature,
            tokens,
            _rows(last),
        )
        return tokens, last

    def norm(self, x: Array) -> float:
        """The length of a vector x (n,)."""
        length: float = entry("norm")(x.dtype, _plain(x))
        return length

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length, then by value; the length that it had. NaN: not by its length."""
        length: float = entry("clip")(dx.dtype, dx, longest, limit)
        return length

    def step(
        self,
        rule: str,
        x: Array,
        dx: Array,
        memory: tuple[Array, ...],
        numbers: tuple[float, ...],
        scale: float,
        longest: float,
        limit: float,
    ) -> float:
        """One step of an optimizer in place of x (n,) and memory; the length of scale dx."""
        c, none = np.zeros(7, x.dtype), np.empty(0, x.dtype)
        with rounding.standard(), np.errstate(all="ignore"):
            c[: len(numbers)] = numbers
        a, b = (*memory, none, none)[:2]
        length: float = entry("step")(x.dtype, optim.RULES[rule], x, _plain(dx), a, b, c, scale, longest, limit)
        return length

    def elementary(self, name: str, x: Array) -> Array:
        """exp, tanh, sigmoid or log of x (n,)."""
        out = np.empty_like(x)
        entry(name)(x.dtype, _plain(x), out)
        return out


def _plain(array: Any) -> Any:
    """A writable array: Numba would compile everything once more for read-only ones."""
    return array if array.flags.writeable else array.copy()


def _rows(array: Any) -> Array:
    """(..., N) as (R, N); (0, 0) if N is 0."""
    N = array.shape[-1]
    rows: Array = _plain(array).reshape(-1 if N else 0, N)
    return rows


NUMBER = {name: number for number, name in enumerate(CELLS)}


def _weights(params: Params) -> Weights:
    b_h = params.b_h
    b_x = params.b_x if CELLS[params.cell].apart else b_h
    arrays = params.W_xh, params.W_hh, params.W_hy, b_x, b_h, params.b_y
    return Weights(NUMBER[params.cell], *map(_plain, arrays))


def _inputs(params: Params, inputs: Steps) -> Inputs:
    if inputs.ndim == 2:
        return Inputs(True, _plain(inputs).reshape(-1), np.empty((0, 0), params.dtype))
    return Inputs(False, np.empty(0, np.int64), _rows(inputs))


def _labels(dtype: Any, labels: Steps) -> Labels:
    if labels.ndim == 2:
        return Labels(True, _plain(labels).reshape(-1), np.empty((0, 0), dtype))
    return Labels(False, np.empty(0, np.int64), _rows(labels))


def _lengths(lengths: Indices | None, T: int, B: int) -> Indices:
    return np.full(B, T) if lengths is None else _plain(lengths)


@compiled
def exp_each(x: Array, out: Array) -> None:
    """exp of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.exp(x[i])


@compiled
def tanh_each(x: Array, out: Array) -> None:
    """tanh of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.tanh(x[i])


@compiled
def sigmoid_each(x: Array, out: Array) -> None:
    """sigmoid of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.sigmoid(x[i])


@compiled
def log_each(x: Array, out: Array) -> None:
    """log of each number of x (n,)."""
    for i in range(len(x)):
        out[i] = elementary.log(x[i])


ENTRIES = {
    "forward": sequence.forward,
    "backward": sequence.backward,
    "cross_entropy": sequence.sequence_cross_entropy,
    "softmax": softmax.softmax,
    "sample": sampling.sample,
    "norm": optim.norm,
    "clip": optim.clip,
    "step": optim.step,
    "exp": exp_each,
    "tanh": tanh_each,
    "sigmoid": sigmoid_each,
    "log": log_each,
}


class Entry:
    """A function that Python calls: compiled, or loaded from disk, when first called with a dtype."""

    def __init__(self, function: Any, directory: Path | None) -> None:
        self.ready: set[Any] = set()
        self.compiled = numba.njit(**OPTIONS)(function.py_func)
        if directory is not None:
            enable_cache(self.compiled, directory)

    def __call__(self, real: Any, *arguments: Any) -> Any:
        with rounding.standard():
            return self._call(real, arguments)

    def _call(self, real: Any, arguments: tuple[Any, ...]) -> Any:
        if real in self.ready:
            return self.compiled(*arguments)
        with event.install_listener("numba:compile", Announcement(self.compiled)), no_collections():
            result = self.compiled(*arguments)
        self.ready.add(real)
        return result


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Leaves Python's garbage uncollected meanwhile.

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
    """Says that compiling takes a while, before it does; loading from disk is quick and goes unsaid."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self.compiled:
            logger.info("Numba compiles rnncore's %s, which takes some seconds", self.compiled.__name__)

    def on_end(self, event: Any) -> None:
        pass


@functools.cache
def entry(name: str) -> Entry:
    """The entry by its name in ENTRIES."""
    return Entry(ENTRIES[name], cache_directory())


def enable_cache(compiled: Any, directory: Path) -> None:
    """Makes Numba keep a function's code in a directory, and leaves Numba's configuration as it was."""
    with _configuring:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(directory)
        try:
            compiled.enable_caching()
        finally:
            config.CACHE_DIR = before


_configuring = threading.Lock()


@functools.cache
def cache_directory() -> Path | None:
    """Where compiled code is kept: a place of its own for each state of the sources; None if none is writable."""
    directory = user_cache() / f"numba-{source_digest(Path(__file__).parent)}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        logger.warning("rnncore's Numba code is compiled anew in each process, as it cannot be kept: %s", error)
        return None
    return directory


def user_cache() -> Path:
    """The user's directory for what can be made again: Numba's if NUMBA_CACHE_DIR names one, else the system's."""
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
    """A digest of all sources in a directory, and of the registry of cells."""
    digest = hashlib.sha256(repr(CELLS).encode())
    for source in sorted(column.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]

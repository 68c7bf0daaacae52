"""Which engine computes: the compiled core, Numba or NumPy. All give the same bits."""

import contextlib
import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from . import checks
from .params import Params
from .types import Array, Indices, States, Steps

ORDER = ("cpp", "numba", "numpy")

# J, losses (T, B), gradients, last states, dstate, dinputs if needed
BpttTuple: TypeAlias = tuple[float, Array, Params, States, States, Array | None]


class Engine(Protocol):
    """What a backend is, for the rest of the package.

    Arrays are C-contiguous, aligned, in native byte order and checked: an engine trusts them, and does not write to
    them but in ``clip`` and ``step``. Real is ``params.dtype``, or the dtype of y.

    inputs: tokens int64 (T, B) or vectors Real (T, B, X); labels: int64 (T, B) or Real (T, B, V); state Real
    (S, B, H), one for each state that the cell has; lengths int64 (B,), or None if every sequence has T steps;
    threads: None if the engine may choose.
    Results are new arrays, +0 in the padding.
    """

    name: str
    # bptt, forward and backward for arguments as the user gave them, of which params alone has been checked (and what
    # forward kept). They answer None, before any work, unless those are in canonical form already; results have the
    # form of the arguments. forward also gives copies of the inputs and states that it read. None: no such road.
    bptt_at_once: Callable[[Params, object, object, object, object, object], BpttTuple | None] | None
    forward_at_once: Callable[..., tuple[Array, Array, Array, States, Steps, Array] | None] | None
    backward_at_once: Callable[..., tuple[Params, States, Array | None] | None] | None

    def forward(
        self, params: Params, inputs: Steps, state: Array, lengths: Indices | None, threads: int | None
    ) -> tuple[Array, Array, Array, Array]:
        """Outputs y (T, B, V), hidden states h (T, B, H), the tape (``cells.tape_shape``), last states (S, B, H)."""

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

    def bptt(
        self,
        params: Params,
        inputs: Steps,
        labels: Steps,
        state: Array,
        lengths: Indices | None,
        need_dinputs: bool,
        threads: int | None,
    ) -> BpttTuple:
        """J, losses (T, B), gradients, last states, dstate, dinputs if needed."""

    def cross_entropy(self, y: Array, labels: Steps, lengths: Indices | None) -> tuple[Array, Array]:
        """Losses (T, B) and dy (T, B, V) of outputs y (T, B, V)."""

    def softmax(self, y: Array) -> Array:
        """Probabilities (R, V) of rows y (R, V)."""

    def sample(
        self, params: Params, first: Indices, uniforms: Array, state: Array, temperature: float
    ) -> tuple[Indices, Array]:
        """Tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and states (S, B, H); last states."""

    def norm(self, x: Array) -> float:
        """The length of a vector x (n,)."""

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length, then by value; the length that it had. NaN: not by its length."""

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
        """One step of an optimizer in place of x (n,) and memory; the length of scale dx. See ``_numpy/optim.py``."""

    def elementary(self, name: str, x: Array) -> Array:
        """exp, tanh, sigmoid or log of each element of x (n,): for the tests."""


_made: dict[str, Engine] = {}
_default: Engine | None = None
_chosen: ContextVar[Engine | None] = ContextVar("rnncore backend", default=None)
_failed: dict[str, str] = {}


def backends() -> list[str]:
    """The backends that work here, the one used by default first.

    "cpp" is the compiled core, "numba" compiles on the first use, "numpy" is the definition, slow. Numba is looked
    up, not imported. ``RNNCORE_BACKEND`` in the environment, read at the first call that computes, chooses another
    default; :func:`use_backend` and ``backend=`` choose for a block and for a call.

    >>> "numpy" in backends()
    True
    """
    return [name for name in ORDER if _works(name)]


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Compute with the named backend inside a ``with`` block: "cpp", "numba", "numpy" or one of the core's
    instruction sets, such as "cpp.avx2".

    It holds for this thread or asyncio task and those it starts with a copy of its context; blocks may be nested.
    ValueError if the name is unknown or does not work here.

    >>> with use_backend("numpy"):
    ...     pass
    """
    token = _chosen.set(engine(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def current(name: str | None) -> Engine:
    """The engine of a call: the one it names, else that of the ``with`` block, else the default."""
    if name is not None:
        return engine(name)
    return _chosen.get() or _default or _choose_default()


def engines() -> list[str]:
    """Every engine that works here, one for each instruction set of the core; "numpy", the definition, first."""
    names = ["numpy"]
    if _works("numba"):
        names.append("numba")
    if _works("cpp"):
        names += [f"cpp.{isa}" for isa in _core().instruction_sets()]
    return names


def engine(name: str) -> Engine:
    """The engine of that name; "cpp" is the core's best instruction set, or the one that ``RNNCORE_ISA`` forces."""
    if isinstance(name, str) and name in _made:
        return _made[name]
    backend, _, isa = checks.backend(name, ORDER).partition(".")
    if not _works(backend) or (backend == "cpp" and isa and isa not in _core().instruction_sets()):
        raise checks.backend_does_not_work(name, _failed.get(backend), engines())
    if backend == "numba":
        _try_import("numba", "._numba.engine")
        if backend in _failed:
            raise checks.backend_does_not_work(name, _failed[backend], engines())
    return _made.setdefault(name, _make(backend, isa))


def _make(backend: str, isa: str) -> Engine:
    if backend == "cpp":
        made: Engine = _core().CppEngine(isa or _core().best())
    elif backend == "numba":
        made = _module("._numba.engine").NumbaEngine()
    else:
        made = _module("._numpy.engine").NumpyEngine()
    return made


def _choose_default() -> Engine:
    """The one that RNNCORE_BACKEND names, or the first that works; chosen once, since it is asked for in every call."""
    global _default
    wanted = os.environ.get("RNNCORE_BACKEND")
    if wanted:
        _default = engine(wanted)
        return _default
    for name in ORDER:
        if _works(name) and (name != "numba" or _try_import("numba", "._numba.engine")):
            _default = engine(name)
            break
    assert _default is not None  # numpy always works
    return _default


def _works(backend: str) -> bool:
    """Whether a backend is there and, as far as is known, loads."""
    if backend == "numpy":
        return True
    if backend in _failed:
        return False
    if backend == "numba":
        return importlib.util.find_spec("numba") is not None
    if importlib.util.find_spec("rnncore._core") is None:
        return False
    return _try_import("cpp", "._cpp")


def _try_import(backend: str, module: str) -> bool:
    """Import a backend that is there; if it does not load, say why, once."""
    if backend in _failed:
        return False
    try:
        _module(module)
    except Exception as why:
        _failed[backend] = f"{type(why).__name__}: {why}"
        warnings.warn(checks.does_not_load(backend, _failed[backend]), RuntimeWarning, stacklevel=2)
        return False
    return True


def _module(name: str) -> Any:
    return importlib.import_module(name, "rnncore")


def _core() -> Any:
    return _module("._cpp")

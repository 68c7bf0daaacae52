"""Which engine computes: the compiled core, Numba or NumPy. All give the same bits.

A *backend* is what users name, "cpp", "numba" or "numpy"; an *engine* is the object that computes, of which the core
has one for each instruction set.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from .net import Net
from .problem import Kept, Options
from .steps import Steps
from .types import Array, Indices, Inputs, Labels, States
from .words import one_of, what

ORDER = ("cpp", "numba", "numpy")

# y, h (read-only), the last states, what backward needs
Forward: TypeAlias = "tuple[Array, Array, States, Kept]"
# gradients with respect to flat, the initial states, and the inputs or None
Backward: TypeAlias = "tuple[Array, States, Array | None]"
# J, losses, how many steps have one, gradients with respect to flat, the last states, then as Backward
Bptt: TypeAlias = "tuple[float, Array, int, Array, States, States, Array | None]"


class Held(Protocol):
    """A net that an engine holds from step to step: what a :class:`rnncore.Stepper` works with.

    Arguments are canonical, and results new. x: a token, () or (B,), or a vector, (X,) or (B, X). reset: None, of a
    batch booleans (B,), else True or False. One call at a time works with it; one within another is refused.
    """

    def step(self, x: Any, reset: Any) -> Array | None:
        """Return y (V,) or (B, V) of a step, or h where there are no outputs; where reset says so, from zeros."""

    def state(self) -> States:
        """Return the state."""

    def put_state(self, state: States) -> None:
        """Take a copy of a state; None is zeros."""

    def load(self, flat: Array) -> None:
        """Take a copy of other parameters."""


class Engine(Protocol):
    """What computes, for the rest of the package.

    Arguments are canonical, as problem.py has them: an engine trusts them, and writes to none but in ``clip``,
    ``add_shortened`` and ``step``. Results are new arrays in the form of the arguments, +0 in the padding. Real is the
    dtype of the net, or that of y.

    An engine that ``reads_raw`` may also be tried with arguments as the user gave them, ``forward`` and ``bptt`` also
    with resets in the place of steps. It answers None, before any work, where they are not canonical. ``arguments``
    then mends them or says what is wrong, and the same function is called again.

    An engine that ``reads_addresses`` also has ``module_forward`` and ``module_backward``, for modules of PyTorch: it
    gets the addresses of their arrays, and the caller answers for these as for canonical ones.
    """

    name: str
    reads_raw: bool
    reads_addresses: bool

    def forward(
        self, net: Net, flat: Array, inputs: Inputs, state: States, steps: Steps | None, options: Options
    ) -> Forward | None:
        """Return outputs y, hidden states h, the last states, and what ``backward`` needs."""

    def backward(
        self,
        kept: Kept,
        flat: Array,
        dy: Array | None,
        dh: Array | None,
        dstate: States,
        options: Options,
        later: Array | None = None,
    ) -> Backward | None:
        """Return the gradients with respect to the parameters, the initial states, and the inputs if needed.

        later: those with respect to the parameters from the steps that come after these, to which these are added.
        """

    def gates(
        self,
        kept: Kept,
        flat: Array,
        given: tuple[Array | None, Array | None, States],
        options: Options,
        states: bool = False,
    ) -> tuple[Array, States, Array | None]:
        """Return the gradients with respect to gates, the initial states, and, if so wanted, the states after steps.

        It is the half of ``backward`` that goes back in time: ``sums`` is the other. given: dy, dh, dstate. The former
        are ``net.gates_shape``: of each part, da and, where the cell splits them, du, in rows like the tape's. The last
        are (P, S, N, H), in the same rows: what is carried back to a state from the steps after, and, to h, from
        outputs.
        """

    def sums(
        self, kept: Kept, flat: Array, dy: Array | None, gates: Array, options: Options, each: range | None = None
    ) -> tuple[Array, Array | None]:
        """Return the gradients with respect to the parameters, and to the inputs if needed.

        gates: as ``gates`` gives them, or sums of such. each: of which sequences those of each are wanted, as if it
        were the only one, (len(each), size); None: those of all together, (size,).
        """

    def bptt(
        self,
        net: Net,
        flat: Array,
        inputs: Inputs,
        state: States,
        steps: Steps | None,
        options: Options,
        labels: Labels,
        checked: bool = False,
        after: tuple[States, Array | None] | None = None,
    ) -> Bptt | None:
        """Return J, losses, how many steps have one, gradients, last states, gradients of initial states and inputs.

        checked: whether labels and weights are known to be in their ranges, beside classes. after: of the steps that
        come after these, the gradients with respect to the last states here, and to the parameters, to which those of
        these steps are added; None for the latter if there are none.
        """

    def each(
        self,
        net: Net,
        flat: Array,
        inputs: Inputs,
        state: States,
        steps: Steps | None,
        options: Options,
        labels: Labels,
        longest: float,
    ) -> tuple[Bptt, Array] | None:
        """Return what ``bptt`` does, with the sum of the gradients of the sequences, each shortened, and their lengths.

        The results have the bits that ``sums`` and ``add_shortened`` give. Returns None if this engine has no faster
        way than these.
        """

    def outputs(
        self, flat: Array, h: Array, labels: Labels, steps: Steps | None, options: Options, later: Array | None = None
    ) -> tuple[Array, int, Array, Array]:
        """Return losses, how many steps have one, gradients with respect to flat and to h, of an output layer alone.

        flat (V*W + V,): W_hy and b_y. h (..., W): what it reads, in the form of vectors. labels: one for each of the
        steps. later: the gradients with respect to flat from the steps that come after these, to which these are added.
        """

    def loss(self, name: str, y: Array, labels: Labels, steps: Steps | None) -> tuple[Array, Array]:
        """Return losses and dy of outputs y, by the loss of a name."""

    def softmax(self, y: Array) -> Array:
        """Return the probabilities (R, V) of rows y (R, V)."""

    def sample(
        self, net: Net, flat: Array, first: Indices, uniforms: Array, state: States, temperature: float
    ) -> tuple[Indices, States]:
        """Return tokens (T, B) drawn by uniforms float64 (T, B) after tokens first (B,) and the states; last states."""

    def hold(self, net: Net, flat: Array, batch: int | None) -> Held:
        """Return a net of one direction, held from step to step, with a copy of flat and states of zeros.

        batch: B, or None of one sequence without an axis for it. If the engine ``reads_raw``, so does what it holds.
        """

    def norm(self, x: Array) -> float:
        """Return the length of a vector x (n,)."""

    def clip(self, dx: Array, longest: float, limit: float) -> float:
        """Clip dx (n,) in place, by its length unless longest is NaN, then by value; return the length it had."""

    def add_shortened(self, total: Array, rows: Array, longest: float) -> Array:
        """Add rows (k, n) to total (n,), in order, each first shortened; return the lengths that they have, (k,).

        What is added of a row is no longer than longest, as ``clip`` has it. A row whose length is not finite is added
        as it is.
        """

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
        """Take one step of an optimizer in place of x (n,) and memory; return the length of scale dx."""

    def elementary(self, name: str, x: Array) -> Array:
        """Return exp, tanh, sigmoid, log or log1p of each element of x (n,): for the tests."""


_made: dict[str, Engine] = {}
_default: Engine | None = None
_chosen: ContextVar[Engine | None] = ContextVar("rnncore backend", default=None)
_reasons: dict[str, str] = {}
"""Of each backend that does not work here, why."""
_loaded: set[str] = set()
_MODULES = {"cpp": "._cpp", "numba": "._numba.engine", "numpy": "._numpy.engine"}


def backends() -> list[str]:
    """Return the backends that work here, the one used by default first.

    "cpp" is the compiled core, "numba" compiles on the first use, "numpy" is the definition, slow. Each is loaded to
    find out, Numba too, which takes a second; a call loads only what it needs. ``RNNCORE_BACKEND`` in the environment,
    read at the first call that computes, chooses another default. :func:`use_backend` chooses for a block, and
    ``backend=`` for a call.

    >>> "numpy" in backends()
    True
    """
    return [name for name in ORDER if _works(name)]


def not_working() -> dict[str, str]:
    """Return the backends that do not work here, and why."""
    return {name: _reasons[name] for name in ORDER if not _works(name)}


def release_memory() -> int:
    """Give the memory that rnncore keeps between calls back to the system; return how many bytes it was.

    The compiled core keeps the work areas of the threads that called it, and the pages of large results that are no
    longer used, because fresh ones cost time: up to 256 MB of each over all threads, or one work area if that is
    larger. What a call uses at this moment stays. It may be called at any time, from any thread, and changes no result.

    >>> release_memory() >= 0
    True
    """
    return int(_core().release_memory()) if "cpp" in _loaded else 0


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Compute with the named backend inside a ``with`` block: "cpp", "numba", "numpy" or one of the core's
    instruction sets, such as "cpp.avx2".

    It holds for this thread or asyncio task and those it starts with a copy of its context; blocks may be nested.
    Raises ValueError if the name is unknown or does not work here.

    >>> with use_backend("numpy"):
    ...     pass
    """
    token = _chosen.set(engine(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def current(name: str | None) -> Engine:
    """Return the engine of a call: the one it names, else that of the ``with`` block, else the default."""
    if name is not None:
        return engine(name)
    return _chosen.get() or _default or _choose_default()


def engines() -> list[str]:
    """Return the names of all engines that work here, one for each instruction set of the core; "numpy" first."""
    names = ["numpy"]
    if _works("numba"):
        names.append("numba")
    if _works("cpp"):
        names += [f"cpp.{isa}" for isa in _core().instruction_sets()]
    return names


def engine(name: str) -> Engine:
    """Return the engine of a name; "cpp" is the core's best instruction set, or the one that ``RNNCORE_ISA`` forces."""
    if isinstance(name, str) and name in _made:
        return _made[name]
    backend, _, isa = _known(name).partition(".")
    if not _works(backend) or (backend == "cpp" and isa and isa not in _core().instruction_sets()):
        raise _does_not_work_error(name, _reasons.get(backend))
    return _made.setdefault(name, _make(backend, isa))


def _make(backend: str, isa: str) -> Engine:
    if backend == "cpp":
        made: Engine = _core().CppEngine(isa or _core().best())
    elif backend == "numba":
        made = _module(_MODULES[backend]).NumbaEngine()
    else:
        made = _module(_MODULES[backend]).NumpyEngine()
    return made


def _choose_default() -> Engine:
    """Return what RNNCORE_BACKEND names, or the first that works; chosen once, as every call needs it.

    If it is not the first of all, a RuntimeWarning says why.
    """
    global _default
    wanted = os.environ.get("RNNCORE_BACKEND")
    if wanted:
        _default = engine(wanted)
        return _default
    name = next(name for name in ORDER if _works(name))  # numpy always does
    _default = engine(name)
    if name != ORDER[0]:
        reasons = "; ".join(f"{other}: {_reasons[other]}" for other in ORDER[: ORDER.index(name)])
        warnings.warn(
            f"rnncore computes with {name}, with the same results, more slowly ({reasons})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _default


def _works(backend: str) -> bool:
    """Return whether a backend loads; it is tried once."""
    if backend in _loaded:
        return True
    if backend not in _reasons:
        missing = _missing(backend)
        if missing:
            _reasons[backend] = missing
        else:
            _load(backend)
    return backend in _loaded


def _load(backend: str) -> None:
    try:
        _module(_MODULES[backend])
    except Exception as why:  # a broken library makes the import raise nearly anything
        _reasons[backend] = f"it does not load, {type(why).__name__}: {why}"
    else:
        _loaded.add(backend)


def _missing(backend: str) -> str:
    """Return why a backend is not there, and what to do; "" if it is."""
    if backend == "numba" and importlib.util.find_spec("numba") is None:
        return "it is not installed; pip install numba"
    if backend == "cpp" and importlib.util.find_spec("rnncore._core") is None:
        others = [path.name for path in Path(__file__).parent.glob("_core*") if path.suffix in (".so", ".pyd")]
        if others:
            return f"it was built for another Python, {', '.join(others)}; install rnncore again with this one"
        return "the compiled core was not built; install rnncore again where there is a C++ compiler"
    return ""


def _module(name: str) -> Any:
    return importlib.import_module(name, "rnncore")


def _core() -> Any:
    return _module(_MODULES["cpp"])


def _known(name: object) -> str:
    """Return the name of a backend that is known, whether or not it works here."""
    if not isinstance(name, str):
        raise TypeError(f"backend must be a string, one of {one_of(ORDER)}, got {what(name)}")
    family, dot, isa = name.partition(".")
    if family not in ORDER or (dot and not (family == "cpp" and isa)):
        raise ValueError(f"backend must be one of {one_of(ORDER)}, or 'cpp.' and an instruction set, got {name!r}")
    return name


def _does_not_work_error(name: str, why: str | None) -> ValueError:
    reason = f": {why}" if why else ""
    return ValueError(f"backend must be one that works here, {one_of(engines())}, got {name!r}{reason}")

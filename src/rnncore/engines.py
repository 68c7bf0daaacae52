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

    Arguments are canonical, as problem.py has them: an engine trusts them, and writes to none but in ``clip`` and
    ``step``. Results are new arrays in the form of the arguments, +0 in the padding. Real is the dtype of the net, or
    that of y.

    An engine that ``reads_raw`` may also be tried with arguments as the user gave them: it answers None, before any
    work, where they are not canonical. ``arguments`` then mends them or says what is wrong, and the same function is
    called again.
    """

    name: str
    reads_raw: bool

    def forward(
        self, net: Net, flat: Array, inputs: Inputs, state: States, steps: Steps | None, options: Options
    ) -> Forward | None:
        """Return outputs y, hidden states h, the last states, and what ``backward`` needs."""

    def backward(
        self, kept: Kept, flat: Array, dy: Array | None, dh: Array | None, dstate: States, options: Options
    ) -> Backward | None:
        """Return the gradients with respect to the parameters, the initial states, and the inputs if needed."""

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
        after: tuple[States, Array] | None = None,
    ) -> Bptt | None:
        """Return J, losses, how many steps have one, gradients, last states, gradients of initial states and inputs.

        checked: whether labels and weights are known to be in their ranges, beside classes. after: of the steps that
        come after these, the gradients with respect to the last states here, and to the parameters, to which those of
        these steps are added.
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
_failed: dict[str, str] = {}


def backends() -> list[str]:
    """Return the backends that work here, the one used by default first.

    "cpp" is the compiled core, "numba" compiles on the first use, "numpy" is the definition, slow. Numba is looked
    up, not imported. ``RNNCORE_BACKEND`` in the environment, read at the first call that computes, chooses another
    default. :func:`use_backend` chooses for a block, and ``backend=`` for a call.

    >>> "numpy" in backends()
    True
    """
    return [name for name in ORDER if _works(name)]


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
        raise _does_not_work_error(name, _failed.get(backend))
    if backend == "numba":
        _try_import("numba", "._numba.engine")
        if backend in _failed:
            raise _does_not_work_error(name, _failed[backend])
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
    """Return what RNNCORE_BACKEND names, or the first that works; chosen once, as every call needs it."""
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
    """Return whether a backend is there and, as far as is known, loads."""
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
    """Import a backend that is there, and return whether that worked; if not, warn once and say why."""
    if backend in _failed:
        return False
    try:
        _module(module)
    except Exception as why:
        _failed[backend] = f"{type(why).__name__}: {why}"
        warnings.warn(_does_not_load(backend, _failed[backend]), RuntimeWarning, stacklevel=2)
        return False
    return True


def _module(name: str) -> Any:
    return importlib.import_module(name, "rnncore")


def _core() -> Any:
    return _module("._cpp")


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


def _does_not_load(backend: str, why: str) -> str:
    """Return the warning about a backend that is there and broken."""
    there = "the compiled core is present" if backend == "cpp" else f"{backend} is installed"
    return f"rnncore: {there} but does not load, so the next backend is used ({why})"

"""One step at a time: a net with a state, for whoever acts between steps."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .engines import Held, current
from .net import Net, described
from .params import Params, require_params
from .states import as_states
from .types import AnyArray, Array, Inputs, States
from .values import as_int64, as_integer, as_numbers, as_real, require_shape
from .words import kind_of, what


class Stepper:
    """Holds a copy of a net's parameters, and a state that goes from step to step: for an agent that acts.

    Each call of ``step`` takes the inputs of one step and returns its outputs, with the bits that :func:`forward` has
    over all these steps. It costs less than ``forward`` of one step, because the weights are packed once. One thread
    does the work.

    params: a net of one direction, any number of layers. Training does not change the copy: hand it changed parameters
    with ``load``. batch: how many sequences go side by side, B; with None it is one, without an axis for it. backend:
    who computes (see :func:`backends`). The state is zeros at first.

    Threads may share a Stepper: their steps come one after the other. A signal handler that uses it while the same
    thread is within one of its steps gets a RuntimeError. It cannot be pickled or copied: make another one of the
    parameters, and assign ``state``. Raises ValueError or TypeError for arguments of another kind, shape or range,
    before any work.

    >>> import numpy as np, rnncore
    >>> params = rnncore.init_params("gru", inputs=3, hidden=4, outputs=2, seed=0)
    >>> stepper = rnncore.Stepper(params)
    >>> inputs = np.ones((5, 3), np.float32)
    >>> steps = [stepper.step(x) for x in inputs]
    >>> bool((np.stack(steps) == rnncore.forward(params, inputs).y).all())
    True
    >>> stepper
    Stepper(Params('gru', inputs=3, hidden=4, outputs=2, dtype=float32), batch=None)
    """

    __slots__ = ("__weakref__", "_batch", "_held", "_net", "_raw")
    _batch: int | None
    _held: Held
    _net: Net

    def __init__(self, params: Params, batch: int | None = None, *, backend: str | None = None) -> None:
        require_params("params", params)
        net, engine = params._net, current(backend)
        if net.bidirectional:
            raise ValueError(
                "params must be of one direction: the reverse direction begins at the end of a sequence, "
                f"which is not known while it is read step by step; got {params!r}"
            )
        self._batch = None if batch is None else as_integer("batch", batch, 1)
        _require_room(net, self._batch or 1)
        self._net, self._held = net, engine.hold(net, params.flat, self._batch)
        self._raw = self._held.step if engine.reads_raw else _nothing

    def step(self, x: npt.ArrayLike, reset: npt.ArrayLike | None = None) -> Array:
        """Return the outputs of the next step, y (V,) or (B, V), or h (H,) or (B, H) of a net without outputs.

        x: a token, () or (B,) integers in [0, X), or a vector, (X,) or (B, X), converted to the dtype of the
        parameters. reset: whether the state is zeros before this step, a boolean or (B,) booleans; None is False. In
        reinforcement learning it is the ``done`` of the step before. The array that is returned is yours.

        If Ctrl-C stops a large step, the state is as before it, but for the resets.
        """
        y = self._raw(x, reset)
        return self._canonical_step(x, reset) if y is None else y

    def _canonical_step(self, x: object, reset: object) -> Array:
        y = self._held.step(_as_inputs(self._net, self._batch, x), _as_reset(self._batch, reset))
        assert y is not None  # as the arguments are canonical
        return y

    @property
    def state(self) -> States:
        """The state from which the next step goes on: (H,) or (B, H), of several layers (L, H) or (L, B, H), and of
        "lstm" a pair (h, c) of such arrays.

        Reading it gives a copy. Assigning takes a copy, or zeros for None.
        """
        return self._held.state()

    @state.setter
    def state(self, value: npt.ArrayLike | None) -> None:
        self._held.put_state(as_states("state", value, self._net, () if self._batch is None else (self._batch,)))

    @property
    def batch(self) -> int | None:
        """B, how many sequences go side by side; None for one without an axis for it."""
        return self._batch

    def load(self, params: Params) -> None:
        """Take a copy of changed parameters of the same net. The state stays.

        Raises ValueError if they are of another cell, size or dtype.
        """
        require_params("params", params)
        if not self._net.is_like(params._net):
            raise ValueError(
                f"params must be of the net of this Stepper, Params({described(self._net)}), got {params!r}"
            )
        self._held.load(params.flat)

    def __repr__(self) -> str:
        return f"Stepper(Params({described(self._net)}), batch={self._batch})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Stepper cannot be pickled or copied: make another one of the parameters, Stepper(params), "
            "and assign the state, other.state = stepper.state"
        )


def _nothing(x: object, reset: object) -> None:
    """Return None: what an engine answers that reads no arguments as the user gave them."""


def _require_room(net: Net, batch: int) -> None:
    """Raise if a batch is so large that no memory can have its numbers."""
    if batch * (net.inputs + net.outputs + 64 * (net.hidden + 16) * net.layers) * 8 > sys.maxsize:
        raise ValueError(f"batch must fit into memory, got {batch}")


def _as_inputs(net: Net, batch: int | None, value: object) -> Inputs:
    """Return the tokens or vectors of one step."""
    x, lead = as_numbers("x", value), () if batch is None else (batch,)
    if x.shape == (*lead, net.inputs) and net.tokens is not True:
        return as_real(x, net.dtype)
    if x.shape != lead or net.tokens is False:
        raise _shape_error(net, x, lead)
    if x.dtype.kind == "f":
        raise TypeError(f"x must be integers to be tokens, got {kind_of(x)}; vectors have X = {net.inputs} numbers")
    tokens = as_int64(x)
    bad = np.flatnonzero((tokens < 0) | (tokens >= net.inputs))
    if bad.size:
        place = f" for sequence {bad[0]}" if lead else ""
        raise ValueError(f"x must be in [0, X) = [0, {net.inputs}), got {x.reshape(-1)[bad[0]]}{place}")
    return tokens


def _shape_error(net: Net, x: AnyArray, lead: tuple[int, ...]) -> ValueError:
    """Return the error for inputs that are no step, with what is probably meant."""
    tokens = "tokens, integers of shape (B,)" if lead else "a token, an integer of shape ()"
    letters, vectors = "(B, X)" if lead else "(X,)", (*lead, net.inputs)
    kinds = [f"{tokens} = {lead}"] if net.tokens is not False else []
    kinds += [f"{'vectors' if lead else 'a vector'} {letters} = {vectors}"] if net.tokens is not True else []
    remedy = ""
    if x.shape in ((1, *lead), (1, *vectors)):
        remedy = "; x is one step, without an axis for time: x[0]"
    elif not lead and x.ndim in (1, 2):
        remedy = "; several sequences side by side are Stepper(params, batch=B)"
    return ValueError(f"x must be {', or '.join(kinds)}, got {kind_of(x)}{remedy}")


def _as_reset(batch: int | None, value: object) -> Any:
    """Return None, a boolean, or of a batch booleans (B,)."""
    if value is None:
        return None
    array = np.asarray(value)
    shape, wanted = ((), "True or False") if batch is None else ((batch,), "booleans")
    if array.dtype != np.bool_:
        raise TypeError(f"reset must be None or {wanted}, got {what(value)}")
    require_shape("reset", array, "()" if batch is None else "(B,)", shape)
    return bool(array) if batch is None else np.ascontiguousarray(array)

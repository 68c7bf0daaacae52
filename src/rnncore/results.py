"""What bptt, forward and backward return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from .kept import TAPE_FORM, require_kept
from .net import described
from .params import Params
from .problem import Kept
from .steps import Steps
from .types import AnyArray, Array, States
from .words import cannot_change_error

ArrayOrList: TypeAlias = Any  # an array, or a list of them where the arguments were lists


@dataclass(eq=False, repr=False)
class PerSequence:
    """Holds what :func:`bptt` returns of each of the B sequences by itself, as if it were the only one."""

    __slots__ = {
        "grads": "The gradients (B, P), P the numbers of ``Params.flat``; None unless per_sequence is True.",
        "loss": "J of each sequence, float64 (B,).",
        "norms": "The length of each gradient, before it is clipped, float64 (B,); None if per_sequence is True.",
    }
    loss: Array
    grads: Array | None
    norms: Array | None

    def __repr__(self) -> str:
        return f"PerSequence({len(self.loss)} sequences)"


@dataclass(eq=False, repr=False)
class BpttResult:
    """Holds the loss and the gradients that :func:`bptt` returns, in the dtype of the parameters."""

    __slots__ = {  # help() shows what is said here
        "count": "How many labels there are, one for each step or sequence, but for -1 and those with a weight of 0.",
        "dinputs": "The gradient with respect to the inputs, shaped like them; None if it was not asked for.",
        "dstate": "The gradient with respect to the initial state, shaped like it.",
        "grads": "The gradients with respect to the parameters, by name and as one vector ``flat``.",
        "loss": "J, the sum of the losses of all steps of all sequences.",
        "losses": "J_t by step, for lists a list of arrays (T_b,); of labels of sequences, (B,) or ().",
        "per_sequence": "What belongs to each sequence by itself, a :class:`PerSequence`; None if not asked for.",
        "state": "The last hidden state, shaped as the initial one. The next piece of a stream begins with it.",
    }
    loss: float
    losses: ArrayOrList
    count: int
    grads: Params
    state: States
    dstate: States
    dinputs: ArrayOrList | None
    per_sequence: PerSequence | None

    @property
    def mean(self) -> float:
        """The loss divided by ``count``; 0 if there is no label with a loss."""
        return self.loss / self.count if self.count else 0.0

    def __repr__(self) -> str:
        return f"BpttResult(loss={self.loss!r}, grads={self.grads!r})"


@dataclass(eq=False, repr=False)
class BackwardResult:
    """Holds the gradients that :func:`backward` returns, in the dtype of the parameters."""

    __slots__ = {
        "dinputs": "The gradient with respect to the inputs, shaped like them; None if it was not asked for.",
        "dstate": "The gradient with respect to the initial state, shaped like it.",
        "grads": "The gradients with respect to the parameters, by name and as one vector ``flat``.",
    }
    grads: Params
    dstate: States
    dinputs: ArrayOrList | None

    def __repr__(self) -> str:
        return f"BackwardResult(grads={self.grads!r})"


@dataclass(eq=False, repr=False, init=False, match_args=False)
class ForwardResult:
    """Holds the outputs and states that :func:`forward` returns, with what :func:`backward` needs of the call.

    It cannot be changed, and ``h``, which backward relies on, cannot be written to.
    """

    __slots__ = {
        "_kept": "What backward needs.",
        "h": "The hidden states (..., D*H) of the last layer, read-only; for lists, a list of arrays (T_b, D*H).",
        "state": "The last hidden state (B, H) or (H,), or a pair of them; of several layers with a first axis L*D.",
        "y": "The outputs (..., V); for lists, a list of arrays (T_b, V); of last states only, (B, V) or (V,).",
    }
    y: ArrayOrList
    h: ArrayOrList
    state: States
    _kept: Kept

    def __setattr__(self, name: str, value: object) -> None:
        raise cannot_change_error("ForwardResult", name)

    def __delattr__(self, name: str) -> None:
        raise cannot_change_error("ForwardResult", name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.y, self.state, self._kept, TAPE_FORM)

    def __repr__(self) -> str:
        net, _, _, steps, h, _, _ = self._kept
        T, B = (steps.T, steps.B) if steps is not None else (len(h), h.shape[1] if h.ndim == 3 else 1)
        return f"ForwardResult(T={T}, B={B}, Params({described(net)}))"


# What sets the slots, past ForwardResult.__setattr__; bound once, because one step of a small net costs little more.
_new = object.__new__
_put_y = ForwardResult.__dict__["y"].__set__
_put_h = ForwardResult.__dict__["h"].__set__
_put_state = ForwardResult.__dict__["state"].__set__
_put_kept = ForwardResult.__dict__["_kept"].__set__


def forward_result(y: ArrayOrList, h: ArrayOrList, state: States, kept: Kept) -> ForwardResult:
    """Return a ForwardResult of an engine's results, of which h is read-only."""
    result = _new(ForwardResult)
    _put_y(result, y)
    _put_h(result, h)
    _put_state(result, state)
    _put_kept(result, kept)
    return result


def _restored(y: ArrayOrList, state: States, kept: Any, form: int = 1) -> ForwardResult:
    """Return a ForwardResult as pickle and deepcopy make it, with h read-only again, if nothing is damaged."""
    _, _, _, steps, h, _, _ = kept = require_kept(kept, form)
    h.flags.writeable = False
    return forward_result(y, in_form(h, steps), state, kept)


def in_form(array: AnyArray, steps: Steps | None) -> ArrayOrList:
    """Return a result as the user has the arguments: a list of arrays if those are lists."""
    return array if steps is None or steps.form != "list" else steps.split(array)


def optional_in_form(array: Array | None, steps: Steps | None) -> ArrayOrList | None:
    """Return a result that may be None as ``in_form`` does."""
    return None if array is None else in_form(array, steps)

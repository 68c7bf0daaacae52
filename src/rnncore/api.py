"""What users call. Each function checks its arguments, and hands whole sequences to one call of an engine.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import checks
from .backends import current
from .params import Net, Params, described
from .types import Array, Indices, States, Steps

ArrayOrList: TypeAlias = Any  # an array, or a list of them where the arguments were lists
Sequences: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike]


class BpttResult:
    """What :func:`bptt` returns: ``loss``, ``losses``, ``grads``, ``state``, ``dstate``, ``dinputs``."""

    __slots__ = ("dinputs", "dstate", "grads", "loss", "losses", "state")

    def __init__(
        self,
        loss: float,
        losses: ArrayOrList,
        grads: Params,
        state: States,
        dstate: States,
        dinputs: ArrayOrList | None,
    ) -> None:
        self.loss = loss
        self.losses = losses
        self.grads = grads
        self.state = state
        self.dstate = dstate
        self.dinputs = dinputs

    def __repr__(self) -> str:
        return f"BpttResult(loss={self.loss!r}, grads={self.grads!r})"


class ForwardResult:
    """What :func:`forward` returns: ``y``, ``h``, ``state``, and, out of sight, what :func:`backward` needs.

    It cannot be changed, and ``h``, which backward relies on, cannot be written to.
    """

    __slots__ = ("_batch", "_h", "_net", "_tape", "h", "state", "y")
    y: ArrayOrList
    h: ArrayOrList
    state: States
    _h: Array
    _tape: Array
    _batch: checks.Batch
    _net: Net

    def __init__(
        self, net: Net, batch: checks.Batch, y: ArrayOrList, h: ArrayOrList, tape: Array, state: States, kept: Array
    ) -> None:
        for name, value in zip(self.__slots__, (batch, kept, net, tape, h, state, y), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, params: Params, batch: checks.Batch, y: Array, h: Array, tape: Array, last: Array) -> "ForwardResult":
        """The result in the form of the arguments, from arrays (T, B, ...)."""
        form, lengths = batch.form, batch.lengths
        ys, hs = _steps(form, lengths, y), _steps(form, lengths, _read_only(h))
        return cls(params._net, batch, ys, hs, tape, _states(form, last), h)

    @classmethod
    def _at_once(
        cls, params: Params, y: Array, h: Array, tape: Array, last: States, inputs: Steps, state: Array
    ) -> "ForwardResult":
        """The result from arrays that have the form of the arguments, and from copies of what was read."""
        batch = checks.Batch()
        batch.form = checks.ONE if h.ndim == 2 else checks.MANY
        batch.inputs, batch.state, batch.lengths = inputs, state, None
        return cls(params._net, batch, y, _read_only(h), tape, last, h[:, None] if h.ndim == 2 else h)

    def __setattr__(self, name: str, value: object) -> None:
        raise checks.fixed_name("ForwardResult", name)

    def __delattr__(self, name: str) -> None:
        raise checks.fixed_name("ForwardResult", name)

    def __setstate__(self, state: tuple[None, dict[str, object]]) -> None:
        for name, value in state[1].items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        T, B = self._batch.inputs.shape[:2]
        return f"ForwardResult(T={T}, B={B}, {described(self._net)})"


class BackwardResult:
    """What :func:`backward` returns: ``grads``, ``dstate``, ``dinputs``."""

    __slots__ = ("dinputs", "dstate", "grads")

    def __init__(self, grads: Params, dstate: States, dinputs: ArrayOrList | None) -> None:
        self.grads = grads
        self.dstate = dstate
        self.dinputs = dinputs

    def __repr__(self) -> str:
        return f"BackwardResult(grads={self.grads!r})"


def bptt(
    params: Params,
    inputs: Sequences,
    labels: Sequences,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    need_dinputs: bool = False,
    backend: str | None = None,
    threads: int | None = None,
) -> BpttResult:
    """The loss of a net on labelled sequences, and its gradient: backpropagation through time.

    ``y_t = b_y + W_hy h_t``, ``p_t = softmax(y_t)``, ``J_t = -log p_t[label_t]``, and J is the sum over all steps of
    all sequences. Of the cell "rnn", ``h_t = tanh(z_t)`` with ``z_t = b_h + W_xh x_t + W_hh h_{t-1}``;
    :class:`Params` has the other cells.

    inputs: tokens, integers (T,) or (T, B) in [0, X), or vectors (T, X) or (T, B, X), converted to the dtype of the
    parameters. labels: classes, integers (T,) or (T, B) in [-1, V), -1 for a step without loss, or distributions,
    floating (T, V) or (T, B, V), with rows that sum to 1, zeros for a step without loss. Without the axis B the call
    is about one sequence. A list or tuple of arrays (T_b, ...) as inputs and as labels is a batch of sequences of
    any lengths, 0 included; lengths, integers (B,), says the same of a padded array: padding is never read.
    state: the initial hidden state (B, H), or (H,) for one sequence, and for the cell "lstm" a pair of them, (h, c);
    None is zeros.
    need_dinputs: whether to give dJ/dinputs, for vectors. backend, threads: who computes, and on how many cores; None
    chooses (see :func:`backends`), and no choice changes a bit of the result.

    Returns ``loss``, J as a float; ``losses``, J_t in the shape of the steps; ``grads``, a :class:`Params`; ``state``,
    the last hidden state (or pair), to go on from; ``dstate``, dJ/d(initial state); ``dinputs``, None if not asked for.
    They have the dtype of the parameters and +0 in padding; for lists, losses and dinputs are lists of arrays
    (T_b, ...).

    ValueError or TypeError, before any work, for arguments of another kind, shape or range. NaN and Inf in vectors,
    state or parameters are no errors: they flow through.

    Sources: Werbos 1990, "Backpropagation through time: what it does and how to do it"; Williams and Zipser 1995,
    "Gradient-based learning algorithms for recurrent networks and their computational complexity"; and, step by
    step, Karpathy's min-char-rnn, WildML's "Recurrent Neural Networks Tutorial, Part 3", and Existor's "Training
    Recurrent Neural Networks: Backpropagation Through Time".

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[0.5, -0.5]], W_hh=[[0.0]], W_hy=[[0.0], [0.0]])
    >>> result = bptt(params, np.array([0, 1, 1]), np.array([1, 0, -1]))
    >>> round(result.loss / float(np.log(2)), 12)  # two steps have a loss, and the outputs know nothing yet
    2.0
    >>> result.grads.b_y
    array([0., 0.])
    >>> bptt(params, [np.array([0, 1, 1]), np.array([], int)], [np.array([1, 0, -1]), np.array([], int)]).state.shape
    (2, 1)
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    engine = current(backend)
    if lengths is None and engine.bptt_at_once is not None:
        found = engine.bptt_at_once(params, inputs, labels, state, need_dinputs, threads)
        if found is not None:
            return BpttResult(*found)
    batch = checks.labelled(params, inputs, labels, state, lengths)
    need, workers = checks.dinputs(batch, need_dinputs), checks.threads(threads)
    loss, losses, grads, last, dstate, dinputs = engine.bptt(
        params, batch.inputs, batch.labels, batch.state, batch.lengths, need, workers
    )
    form, T_b = batch.form, batch.lengths
    return BpttResult(
        loss,
        _steps(form, T_b, losses),
        grads,
        _states(form, last),
        _states(form, dstate),
        None if dinputs is None else _steps(form, T_b, dinputs),
    )


def forward(
    params: Params,
    inputs: Sequences,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> ForwardResult:
    """Run a net over sequences: its outputs, its hidden states, and what :func:`backward` needs for any loss on them.

    The equations and the arguments are those of :func:`bptt`. As no labels tell what a step is, an array of two axes
    is tokens (T, B) if it is of integers, and vectors (T, X) if it is floating.

    Returns ``y``, the outputs before the softmax (..., V); ``h`` (..., H), read-only; ``state``, the last hidden state,
    (B, H) or (H,), or a pair of them. For lists, y and h are lists. The result keeps copies of inputs and state, so
    that changing yours does no harm; the parameters it does not keep: give :func:`backward` the same ones.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[0.5, -0.5]], W_hh=[[0.0]], W_hy=[[1.0], [-1.0]])
    >>> out = forward(params, np.array([0, 1]))
    >>> out.y.shape, out.h.shape, out.state.shape
    ((2, 2), (2, 1), (1,))
    >>> bool(out.h[0, 0] == -out.h[1, 0]), bool(out.y[0, 0] == out.h[0, 0])
    (True, True)
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    engine = current(backend)
    if lengths is None and engine.forward_at_once is not None:
        found = engine.forward_at_once(params, inputs, state, threads)
        if found is not None:
            return ForwardResult._at_once(params, *found)
    batch = checks.unlabelled(params, inputs, state, lengths)
    workers = checks.threads(threads)
    y, h, tape, last = engine.forward(params, batch.inputs, batch.state, batch.lengths, workers)
    if batch.form != checks.LIST:  # lists have been copied into one array already
        batch.inputs = batch.inputs.copy()
    batch.state = batch.state.copy()
    batch.lengths = None if batch.lengths is None else batch.lengths.copy()
    return ForwardResult._of(params, batch, y, h, tape, last)


def backward(
    params: Params,
    out: ForwardResult,
    *,
    dy: Sequences | None = None,
    dh: Sequences | None = None,
    dstate: npt.ArrayLike | None = None,
    need_dinputs: bool = False,
    backend: str | None = None,
    threads: int | None = None,
) -> BackwardResult:
    """The gradients of any loss J of your own, from its derivatives by what :func:`forward` gave.

    ``dh_t = W_hy^T dy_t + W_hh^T dz_{t+1} + dJ/dh_t``, ``dz_t = dh_t (1 - h_t^2)`` of the cell "rnn", and
    ``dW_xh = sum_t dz_t x_t^T``, ``dW_hh = sum_t dz_t h_{t-1}^T``, ``dW_hy = sum_t dy_t h_t^T``, ``db_h = sum_t dz_t``,
    ``db_y = sum_t dy_t``.

    dy, dh, dstate: dJ by ``out.y``, ``out.h`` and ``out.state``, in their shapes (lists where those are lists); at
    least one is given, and what is None does not enter J directly. params: those that forward had.

    Returns ``grads``, a :class:`Params`; ``dstate``, dJ/d(initial state), to hand on to the piece of the stream
    before; ``dinputs`` if need_dinputs, for vectors. ``bptt`` is forward, cross_entropy and backward in one pass, with
    the same bits.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[0.5, -0.5]], W_hh=[[0.0]], W_hy=[[1.0], [-1.0]])
    >>> out = forward(params, np.array([0, 1]))
    >>> backward(params, out, dy=np.ones((2, 2))).grads.b_y  # J = sum of all outputs
    array([2., 2.])
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    if not isinstance(out, ForwardResult):
        raise checks.not_forward(out)
    if params._net != out._net:
        raise checks.other_net(params, described(out._net))
    batch, engine = out._batch, current(backend)
    if batch.lengths is None and engine.backward_at_once is not None:
        kept = batch.inputs, out._h, out._tape, batch.state, batch.form == checks.ONE
        found = engine.backward_at_once(params, *kept, dy, dh, dstate, need_dinputs, threads)
        if found is not None:
            return BackwardResult(*found)
    checks.some_gradient(dy, dh, dstate)
    by_y = checks.step_gradient("dy", dy, batch, "V", params.outputs, params.dtype)
    by_h = checks.step_gradient("dh", dh, batch, "H", params.hidden, params.dtype)
    by_last = checks.state_gradient(dstate, batch, params)
    need = checks.dinputs(batch, need_dinputs)
    workers = checks.threads(threads)
    grads, by_first, dinputs = engine.backward(
        params, batch.inputs, out._h, out._tape, batch.state, batch.lengths, by_y, by_h, by_last, need, workers
    )
    return BackwardResult(
        grads,
        _states(batch.form, by_first),
        None if dinputs is None else _steps(batch.form, batch.lengths, dinputs),
    )


def cross_entropy(
    y: Sequences, labels: Sequences, lengths: npt.ArrayLike | None = None, *, backend: str | None = None
) -> tuple[ArrayOrList, ArrayOrList]:
    """The loss of each step, ``J_t = -log softmax(y_t)[label_t]``, and its gradient ``dy_t = softmax(y_t) - label_t``.

    y: outputs (T, V), (T, B, V), or a list of (T_b, V), float32 or float64 (float16 is computed in float32, everything
    else in float64); labels and lengths as for :func:`bptt`. Returns (losses, dy) in the shapes of the steps and of y;
    both are +0 at steps without a label and in padding.

    >>> import numpy as np
    >>> losses, dy = cross_entropy(np.zeros((2, 2)), np.array([1, -1]))
    >>> dy
    array([[ 0.5, -0.5],
           [ 0. ,  0. ]])
    >>> bool(abs(losses[0] - np.log(2)) < 1e-15), float(losses[1])
    (True, 0.0)
    """
    rows, label, T_b, form = checks.outputs(y, labels, lengths)
    losses, dy = current(backend).cross_entropy(rows, label, T_b)
    return _steps(form, T_b, losses), _steps(form, T_b, dy)


def softmax(y: Sequences, *, backend: str | None = None) -> ArrayOrList:
    """Probabilities ``p_v = exp(y_v) / sum_w exp(y_w)`` along the last axis, of outputs of any size.

    y: an array of one axis or more, or a list of arrays, as ``forward`` gives for lists; float32 or float64 (float16
    is computed in float32, everything else in float64). ValueError if the last axis is empty.

    >>> import numpy as np
    >>> softmax(np.array([0.0, 0.0, 1000.0]))
    array([0., 0., 1.])
    """
    if isinstance(y, checks.SEQUENCES):
        return [softmax(sequence, backend=backend) for sequence in checks.row_lists(y)]
    rows, shape = checks.rows(y)
    return current(backend).softmax(rows).reshape(shape)


def sample(
    params: Params,
    prime: npt.ArrayLike,
    uniforms: npt.ArrayLike,
    *,
    state: npt.ArrayLike | None = None,
    temperature: float = 1.0,
    backend: str | None = None,
) -> tuple[Indices, States]:
    """Draw tokens: the net reads the prime, draws the next token by what it then thinks, reads that one, and so on.

    A token is drawn from ``softmax(y / temperature)``: temperatures below 1 prefer the likely ones, and 0 takes the
    likeliest, of equals the first. ``uniforms``, numbers in [0, 1), one for each token to draw, are the chance in it:
    drawn beforehand by whatever generator, so that every backend gives the same tokens. The first token whose
    cumulated probability exceeds u is taken.

    params: a net that reads what it says, X = V. uniforms: (T,), or (T, B) for B sequences side by side. prime: the
    token to begin after, or some, () or (P,), for B sequences (B,) or (P, B). state: the hidden state before the prime,
    (H,) or (B, H), or a pair of them; None is zeros.

    Returns the tokens, integers (T,) or (T, B), and the state in which the last one was drawn. Hand on both, the last
    token as the prime, and the text goes on as if it had never stopped. ValueError or TypeError for anything else.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[1.0, -1.0]], W_hh=[[0.0]], W_hy=[[-9.0], [9.0]])  # the other one is likely next
    >>> tokens, state = sample(params, 0, np.full(6, 0.5))
    >>> tokens
    array([1, 0, 1, 0, 1, 0])
    """
    if not isinstance(params, Params):
        raise checks.not_params("params", params)
    read, canonical, before, heat, form = checks.sampling(params, prime, uniforms, state, temperature)
    engine = current(backend)
    if len(read) > 1:
        _, _, _, before = engine.forward(params, np.ascontiguousarray(read[:-1]), before, None, 1)
    tokens, last = engine.sample(params, np.ascontiguousarray(read[-1]), canonical, before, heat)
    return (tokens[:, 0] if form == checks.ONE else tokens), _states(form, last)


def _steps(form: str, lengths: Indices | None, result: Array) -> ArrayOrList:
    """Results (T, B, ...) in the form of the arguments."""
    if form == checks.ONE:
        return result[:, 0]
    if form == checks.MANY:
        return result
    assert lengths is not None
    return [_piece(result, int(T_b), b) for b, T_b in enumerate(lengths)]


def _read_only(array: Array) -> Array:
    seen = array.view()
    seen.flags.writeable = False
    return seen


def _piece(result: Array, T_b: int, b: int) -> Array:
    piece = result[:T_b, b].copy()
    piece.flags.writeable = result.flags.writeable
    return piece


def _states(form: str, result: Array) -> States:
    """States (S, B, H) in the form of the arguments."""
    states = tuple(result[:, 0] if form == checks.ONE else result)
    return states if len(states) > 1 else states[0]

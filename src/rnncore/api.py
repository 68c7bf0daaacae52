"""What users call. Each function hands whole sequences to one call of an engine.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import arguments, drawing, given, masks
from .division import Division
from .engines import current
from .net import described
from .params import Params, not_params_error
from .problem import as_tuple, options_of
from .results import (
    ArrayOrList,
    BackwardResult,
    BpttResult,
    ForwardResult,
    forward_result,
    in_form,
    optional_in_form,
)
from .types import Indices, States
from .values import SEQUENCES
from .words import what

Sequences: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike]


def bptt(
    params: Params,
    inputs: Sequences,
    labels: Sequences,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    resets: Sequences | None = None,
    loss: str = "cross_entropy",
    weights: Sequences | None = None,
    dropout_masks: Sequence[Any] | None = None,
    truncate: int | None = None,
    checkpoint: int | str | None = None,
    per_sequence: bool | str = False,
    clip_norm: float | None = None,
    need_dinputs: bool = False,
    backend: str | None = None,
    threads: int | None = None,
) -> BpttResult:
    """Return the loss of a net on labelled sequences, and its gradient: backpropagation through time.

    ``y_t = b_y + W_hy h_t``, ``J_t`` is a loss of ``y_t`` and a label, and J is the sum over all steps of all
    sequences. With "cross_entropy", ``J_t = -log p_t[label_t]`` with ``p_t = softmax(y_t)``; with "squared_error",
    ``J_t = sum_v (y_tv - l_tv)^2 / 2``; with "binary_cross_entropy", ``J_t = sum_v log(1 + e^y_tv) - l_tv y_tv``. Of
    the cell "rnn", ``h_t = tanh(z_t)`` with ``z_t = b_h + W_xh x_t + W_hh h_{t-1}``; :class:`Params` has the others.

    inputs: tokens, integers (T,) or (T, B) in [0, X), or vectors (T, X) or (T, B, X), converted to the dtype of the
    parameters. Integers of two axes are what ``params.tokens`` says, or else what fits X and the labels. labels of the
    cross-entropy: classes, integers (T,) or (T, B) in [-1, V), -1 for a step without loss, or distributions, floating
    (T, V) or (T, B, V), with rows that sum to 1, zeros for a step without loss. Of the squared error: floating (T, V)
    or (T, B, V). Of the binary cross-entropy: numbers in [0, 1] or booleans in those shapes. Of both, the last axis may
    be missing where V = 1. Labels without the axis T, (B,) or (B, V), or for one sequence a number or (V,), are one for
    each sequence: outputs are then made of the last state of each only, ``J_b`` takes the place of ``J_t``, and an
    empty sequence has no loss. weights: floating, at least 0, one for each label, or, where there is a label for each
    step, one for each sequence, (B,) or a number: the loss is multiplied by its weight, and where that is 0 the label
    is not read. Without the axis B the call is about one sequence. A list or tuple of arrays (T_b, ...) as inputs and
    as labels is a batch of sequences of any lengths, 0 included; lengths, integers (B,), says the same of a padded
    array: padding is never read. offsets, integers (B + 1,) that ascend from 0 to N, says the same of arrays (N, ...)
    in which one sequence follows the other: sequence b has the steps from offsets[b] to offsets[b + 1]. resets:
    booleans, one for each step, for lists a list of them: before such a step the state is zero, and no gradient
    crosses, as if another sequence began there; at the first step of a sequence its initial state is not read, and has
    the gradient 0. Networks of two directions take None. state: the initial hidden state (B, H), or (H,) for one
    sequence, and for the cell "lstm" a pair of them, (h, c); None is zeros. Of several layers or directions it has a
    first axis L*D: layer by layer, forward before reverse. dropout_masks: one for each layer but the first, (T, B,
    D*H), or (B, D*H) for all steps, (T, D*H) or (D*H,) for one sequence, what that layer's inputs are multiplied by;
    see :func:`dropout_masks`. truncate: k, an integer of at least 1: J_t goes back through the steps t, t - 1 ... t - k
    + 1 only, in all layers, and in two directions also through t + 1 ... t + k - 1; the states that enter these from
    outside are constants, and ``dstate`` is what J_0 ... J_(k-1) send. It takes time O(T k). None, and any k from the
    longest sequence on, give the whole gradient. checkpoint: n, or "auto" for about the square root of T: keep the
    states of about every n-th step only, and compute the steps between once more on the way back: the same bits, in
    memory for T / n + n steps rather than T, and about 1.4 times the time; of two directions h of all steps is kept.
    per_sequence: the gradient of each sequence by itself, ``result.per_sequence``: True keeps all, "norms" their
    lengths, and "clipped" shortens each to the length ``clip_norm`` first, as :func:`rnncore.optim.clip_by_norm`. The
    last two never hold the gradients of all sequences at once. ``grads`` is then the sum of these gradients, one after
    the other, which is rounded otherwise than the plain call's. need_dinputs: whether the gradient with respect to the
    inputs is wanted, which must be vectors. backend: who computes (see :func:`backends`); threads: how many may
    work at most; a call takes no more than its work is worth. None chooses, and no choice changes a bit of the result.

    Returns a :class:`BpttResult`: ``loss``, ``losses``, ``count``, ``grads``, ``state``, ``dstate``, ``dinputs``, and
    ``mean``. Arrays have the dtype of the parameters, and +0 in padding. For lists, losses and dinputs are lists of
    arrays (T_b, ...), which are views of one array.

    Raises ValueError or TypeError, before any work, for arguments of another kind, shape or range. NaN and Inf in
    vectors, state or parameters are no errors: they flow through.

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
        raise not_params_error("params", params)
    net, flat, engine = params._net, params.flat, current(backend)
    options, found = arguments.options(need_dinputs, threads, loss), None
    labelled: Any = labels if weights is None else (labels, weights)
    plain = truncate is checkpoint is clip_norm is None and per_sequence is False
    simple = plain and lengths is offsets is dropout_masks is None and type(inputs) is not tuple
    if simple and engine.reads_raw and type(labels) is not tuple:
        found = engine.bptt(net, flat, inputs, state, resets, options, labelled)  # type: ignore[arg-type]  # as the user gave them
    if found is not None:
        total, losses, count, grads, last, dstate, dinputs = found
        return BpttResult(total, losses, count, params._like(grads), last, dstate, dinputs, None)
    batch = arguments.labelled(net, inputs, labels, state, Division(lengths, offsets, resets), options.loss, weights)
    arguments.require_vectors(batch.inputs, options)
    batch = batch._replace(inputs=masks.as_masks(net, dropout_masks, batch.inputs, batch.steps))
    options = options_of(options.need_dinputs, options.threads, options.loss, batch.last)
    if plain:
        found, each = engine.bptt(net, flat, *batch[:3], options, batch.labels, True), None
        assert found is not None  # as the arguments are canonical
    else:
        from . import gradients  # which few calls need, and takes a tenth of the time to import

        asked = gradients.Asked(truncate, checkpoint, per_sequence, clip_norm)
        found, each = gradients.bptt(engine, net, flat, batch, options, asked)
    total, losses, count, grads, last, dstate, dinputs = found
    losses = losses if options.last else in_form(losses, batch.steps)
    dinputs = optional_in_form(dinputs, batch.steps)
    return BpttResult(total, losses, count, params._like(grads), last, dstate, dinputs, each)


def forward(
    params: Params,
    inputs: Sequences,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    resets: Sequences | None = None,
    last: bool = False,
    dropout_masks: Sequence[Any] | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> ForwardResult:
    """Return the outputs and hidden states of a net, and what :func:`backward` needs for any loss on them.

    The equations and the arguments are those of :func:`bptt`. As no labels tell what a step is, integers of two axes
    are tokens (T, B) or vectors (T, X) as ``params.tokens`` says, and a ValueError where it is None. last: whether
    outputs are made of the last state of each sequence only, as for one label a sequence: y is then (B, V) or (V,), +0
    for an empty sequence.

    Returns a :class:`ForwardResult`: ``y``, the outputs before the softmax (..., V); ``h`` (..., D*H) of the last
    layer, read-only; ``state``, the last hidden state, shaped as the initial one. For lists, y and h are lists. The
    result keeps copies of inputs, masks and state, so that you may change yours. It does not keep the parameters: give
    :func:`backward` the same ones.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[0.5, -0.5]], W_hh=[[0.0]], W_hy=[[1.0], [-1.0]])
    >>> out = forward(params, np.array([0, 1]))
    >>> out.y.shape, out.h.shape, out.state.shape
    ((2, 2), (2, 1), (1,))
    >>> bool(out.h[0, 0] == -out.h[1, 0]), bool(out.y[0, 0] == out.h[0, 0])
    (True, True)
    """
    if not isinstance(params, Params):
        raise not_params_error("params", params)
    net, flat, engine = params._net, params.flat, current(backend)
    options = arguments.options(False, threads, "cross_entropy", last)
    simple, found = lengths is offsets is dropout_masks is None and type(inputs) is not tuple, None
    if simple and engine.reads_raw:
        found = engine.forward(net, flat, inputs, state, resets, options)  # type: ignore[arg-type]  # as the user gave them
    if found is not None:
        return forward_result(*found)
    batch = arguments.unlabelled(net, inputs, state, Division(lengths, offsets, resets))
    read = masks.as_masks(net, dropout_masks, batch.inputs, batch.steps)
    found = engine.forward(net, flat, read, batch.state, batch.steps, options)
    assert found is not None  # as the arguments are canonical
    y, h, last, kept = found
    y = y if options.last else in_form(y, batch.steps)
    return forward_result(y, in_form(h, batch.steps), last, kept)


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
    """Return the gradients of any loss J of your own, from its gradients with respect to what :func:`forward` returned.

    ``dh_t = W_hy^T dy_t + W_hh^T dz_{t+1} + (your dh_t)``, ``dz_t = dh_t (1 - h_t^2)`` of the cell "rnn", and
    ``dW_xh = sum_t dz_t x_t^T``, ``dW_hh = sum_t dz_t h_{t-1}^T``, ``dW_hy = sum_t dy_t h_t^T``, ``db_h = sum_t dz_t``,
    ``db_y = sum_t dy_t``.

    dy, dh, dstate: the gradients of J with respect to ``out.y``, ``out.h`` and ``out.state``, in their shapes (lists
    where those are lists). At least one is given; None means that J does not depend on it directly. params: those that
    forward had.

    Returns a :class:`BackwardResult`: ``grads``, a :class:`Params`; ``dstate``, the gradient with respect to the
    initial state, to hand on to the piece of the stream before; ``dinputs`` if need_dinputs, for vectors. ``bptt`` is
    forward, cross_entropy and backward in one pass, with the same bits.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[0.5, -0.5]], W_hh=[[0.0]], W_hy=[[1.0], [-1.0]])
    >>> out = forward(params, np.array([0, 1]))
    >>> backward(params, out, dy=np.ones((2, 2))).grads.b_y  # J = sum of all outputs
    array([2., 2.])
    """
    if not isinstance(params, Params):
        raise not_params_error("params", params)
    if not isinstance(out, ForwardResult):
        raise TypeError(f"out must be what forward returned, got {what(out)}")
    net, inputs, _, steps, h, _, last = out._kept
    if params._net is not net and not params._net.is_like(net):
        raise ValueError(f"params must be of the net that forward ran, Params({described(net)}), got {params!r}")
    engine, options = current(backend), arguments.options(need_dinputs, threads, "cross_entropy", last)
    found = engine.backward(out._kept, params.flat, dy, dh, dstate, options) if engine.reads_raw else None  # type: ignore[arg-type]  # as above
    if found is None:
        gradients = given.gradients(net, h, steps, last, dy, dh, dstate)
        arguments.require_vectors(inputs, options)
        found = engine.backward(out._kept, params.flat, *gradients, options)
        assert found is not None  # as the arguments are canonical
    grads, first, dinputs = found
    return BackwardResult(params._like(grads), first, optional_in_form(dinputs, steps))


def cross_entropy(
    y: Sequences,
    labels: Sequences,
    lengths: npt.ArrayLike | None = None,
    *,
    weights: Sequences | None = None,
    backend: str | None = None,
) -> tuple[ArrayOrList, ArrayOrList]:
    """Return the loss of each step and its gradient with respect to y.

    ``J_t = -log softmax(y_t)[label_t]`` and ``dy_t = softmax(y_t) - label_t``, each times the weight of the step.

    y: outputs (T, V), (T, B, V), or a list of (T_b, V), float32 or float64 (float16 is computed in float32, everything
    else in float64); labels, lengths and weights as for :func:`bptt`. Returns (losses, dy) in the shapes of the steps
    and of y; both are +0 at steps without a label and in padding. Where the net is right and nearly certain, the loss
    and dy are small and still exact: they come from the other classes.

    >>> import numpy as np
    >>> losses, dy = cross_entropy(np.zeros((2, 2)), np.array([1, -1]))
    >>> dy
    array([[ 0.5, -0.5],
           [ 0. ,  0. ]])
    >>> bool(abs(losses[0] - np.log(2)) < 1e-15), float(losses[1])
    (True, 0.0)
    """
    return _loss("cross_entropy", y, labels, lengths, weights, backend)


def squared_error(
    y: Sequences,
    labels: Sequences,
    lengths: npt.ArrayLike | None = None,
    *,
    weights: Sequences | None = None,
    backend: str | None = None,
) -> tuple[ArrayOrList, ArrayOrList]:
    """Return half the squared error of each step and its gradient with respect to y.

    ``J_t = sum_v (y_tv - l_tv)^2 / 2`` and ``dy_t = y_t - l_t``, each times the weight of the step.

    The arguments and results are those of :func:`cross_entropy`, but that labels are floating, in the shape of y; of
    one output (V = 1) also in the shape of the steps. A NaN among them raises ValueError, unless its weight is 0.

    >>> import numpy as np
    >>> losses, dy = squared_error(np.array([[1.0], [2.0]]), np.array([0.5, 2.0]))
    >>> losses
    array([0.125, 0.   ])
    >>> dy
    array([[0.5],
           [0. ]])
    """
    return _loss("squared_error", y, labels, lengths, weights, backend)


def binary_cross_entropy(
    y: Sequences,
    labels: Sequences,
    lengths: npt.ArrayLike | None = None,
    *,
    weights: Sequences | None = None,
    backend: str | None = None,
) -> tuple[ArrayOrList, ArrayOrList]:
    """Return the loss of V questions with the answers yes and no, and its gradient with respect to y.

    ``J_t = sum_v log(1 + e^y_tv) - l_tv y_tv`` and ``dy_t = sigmoid(y_t) - l_t``, each times the weight of the step.

    The arguments and results are those of :func:`cross_entropy`, but that labels are the probabilities of yes, numbers
    in [0, 1] or booleans, in the shape of y; of one output (V = 1) also in the shape of the steps. No y is too large:
    nothing overflows, and small losses keep their digits.

    >>> import numpy as np
    >>> losses, dy = binary_cross_entropy(np.array([[0.0], [100.0]]), np.array([True, False]))
    >>> dy
    array([[-0.5],
           [ 1. ]])
    >>> float(losses[1])
    100.0
    """
    return _loss("binary_cross_entropy", y, labels, lengths, weights, backend)


def _loss(
    name: str, y: Sequences, labels: Sequences, lengths: object, weights: object, backend: str | None
) -> tuple[ArrayOrList, ArrayOrList]:
    rows, label, steps, one = arguments.outputs(y, labels, lengths, name, weights)
    losses, dy = current(backend).loss(name, rows, label, steps)
    return (losses[0, ...], dy[0]) if one else (in_form(losses, steps), in_form(dy, steps))


def softmax(y: Sequences, *, backend: str | None = None) -> ArrayOrList:
    """Return probabilities ``p_v = exp(y_v) / sum_w exp(y_w)`` along the last axis, of outputs of any size.

    y: an array of one axis or more, or a list of arrays, as ``forward`` gives for lists; float32 or float64 (float16
    is computed in float32, everything else in float64). Raises ValueError if the last axis is empty.

    >>> import numpy as np
    >>> softmax(np.array([0.0, 0.0, 1000.0]))
    array([0., 0., 1.])
    """
    if isinstance(y, SEQUENCES):
        return [softmax(sequence, backend=backend) for sequence in arguments.row_lists(y)]
    rows, shape = arguments.rows(y)
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
    """Draw tokens: the net reads the prime, draws the next token by its outputs, reads that one, and so on.

    A token is drawn from ``softmax(y / temperature)``: temperatures below 1 prefer the likely ones, and 0 takes the
    likeliest, of equals the first. ``uniforms``, numbers in [0, 1), one for each token to draw, are the chance in it:
    drawn beforehand by whatever generator, so that every backend gives the same tokens. The first token whose
    cumulated probability exceeds u is taken.

    params: a net of one direction that reads what it says, X = V. uniforms: (T,), or (T, B) for B sequences side by
    side. prime: the token to begin after, or some, () or (P,), for B sequences (B,) or (P, B). state: the hidden state
    before the prime, (H,) or (B, H), or a pair of them, with a first axis L where there are several layers; None is
    zeros.

    Returns the tokens, integers (T,) or (T, B), and the state in which the last one was drawn. Hand on both, the last
    token as the prime, and the text goes on as if it had never stopped. Raises ValueError or TypeError for anything
    else.

    >>> import numpy as np
    >>> params = Params("rnn", W_xh=[[1.0, -1.0]], W_hh=[[0.0]], W_hy=[[-9.0], [9.0]])  # the other one is likely next
    >>> tokens, state = sample(params, 0, np.full(6, 0.5))
    >>> tokens
    array([1, 0, 1, 0, 1, 0])
    """
    if not isinstance(params, Params):
        raise not_params_error("params", params)
    net, flat, engine = params._net, params.flat, current(backend)
    prime, uniforms, state, heat, one = drawing.sampling(net, prime, uniforms, state, temperature)
    if len(prime) > 1:
        read = np.ascontiguousarray(prime[:-1])
        found = engine.forward(net.of_tokens(), flat, read, state, None, arguments.options(False, 1))
        assert found is not None  # as the arguments are canonical
        state = found[2]
    tokens, last = engine.sample(net, flat, np.ascontiguousarray(prime[-1]), uniforms, state, heat)
    if not one:
        return tokens, last
    of_one = [array[:, 0] if net.parts > 1 else array[0] for array in as_tuple(last)]
    return tokens[:, 0], tuple(of_one) if len(of_one) > 1 else of_one[0]

"""The promises, on the user's own machine and net: every engine gives the same bits, and they are the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from .. import arguments
from ..api import Sequences
from ..division import Division
from ..masks import as_masks
from ..params import Params, require_params
from ..problem import DEFAULT
from ..words import what
from .own import Function
from .report import Report


def verify(
    params: Params,
    inputs: Sequences,
    labels: Sequences | None = None,
    *,
    state: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    resets: Sequences | None = None,
    loss: str | Function = DEFAULT.loss,
    weights: Sequences | None = None,
    dropout_masks: Sequence[Any] | None = None,
    truncate: int | None = None,
    checkpoint: int | str | None = None,
    per_sequence: bool | str = False,
    clip_norm: float | None = None,
    need_dinputs: bool = False,
    backend: None = None,
    threads: None = None,
) -> Report:
    """Compare every engine that works here on one net, bit for bit, and its gradient with central differences.

    The arguments are those of :func:`bptt`. The definition, "numpy", is slow: take a net of your sizes and a short
    piece of your data. Compared are all results, also outputs and hidden states, and of vectors always ``dinputs``,
    with one thread and with several: so ``backend`` and ``threads`` are refused. With checkpoint a row "the plain call"
    compares all of this with the call without it.

    Then, in float64, a few elements of each gradient are compared with differences of J. With truncate it is the sum of
    the losses of windows of k steps, into which the states from outside enter as constants. With per_sequence it is
    also that of each sequence; lengths are compared with those of the gradients, and a clipped sum with the sum of the
    clipped gradients.

    loss: also a function of your own, for :func:`forward` and :func:`backward`, with labels None: ``loss(out)`` returns
    J, a number, and a dict of any of ``"dy"``, ``"dh"`` and ``"dstate"``, its gradients with respect to ``out.y``,
    ``out.h`` and ``out.state``. ``out`` is in float64 for the differences. Rows "loss: dy" and the like compare what it
    returned with differences of J, others what ``backward`` makes of it. Only so are nets without outputs verified.

    Returns a :class:`Report`: ``report.ok``, and ``print(report)`` for a table.

    >>> import numpy as np
    >>> from rnncore import init_params
    >>> params = init_params("rnn", inputs=3, hidden=2, outputs=3, seed=0, dtype="float32")
    >>> verify(params, np.array([0, 1, 2]), np.array([1, 2, 0]), truncate=2).ok
    True

    The sum of the cubes of all outputs, with its gradient, and with a wrong one:

    >>> verify(params, np.array([0, 1, 2]), loss=lambda out: ((out.y**3).sum(), {"dy": 3 * out.y**2})).ok
    True
    >>> verify(params, np.array([0, 1, 2]), loss=lambda out: ((out.y**3).sum(), {"dy": 2 * out.y**2})).ok
    False
    """
    require_params("params", params)
    for name, value in {"backend": backend, "threads": threads}.items():
        if value is not None:
            raise TypeError(
                f"verify takes no {name}, got {what(value)}: it compares all engines, on one thread and more"
            )
    from ..gradients import Asked  # which few calls need, as the others, and takes time to import
    from .agreements import agreements
    from .case import Case
    from .differences import differences

    division, asked = Division(lengths, offsets, resets), Asked(truncate, checkpoint, per_sequence, clip_norm)
    if callable(loss):
        _require_nothing_beside({"labels": labels, "weights": weights, **asked._asdict()})
        batch = arguments.unlabelled(params._net, inputs, state, division)
    else:
        if params.outputs == 0:
            raise ValueError(f"loss must be a function where params has outputs = 0, got {what(loss)}")
        asked.require_sense()
        loss = arguments.options(False, None, loss).loss
        batch = arguments.labelled(params._net, inputs, labels, state, division, loss, weights)
    arguments.require_vectors(batch.inputs, arguments.options(need_dinputs, None))
    batch = batch._replace(inputs=as_masks(params._net, dropout_masks, batch.inputs, batch.steps))
    case = Case(params, batch, loss, asked)
    return Report(case.about, agreements(case), differences(case))


def _require_nothing_beside(options: dict[str, Any]) -> None:
    """Raise for options that make no sense beside a loss of the user's own."""
    for name, value in options.items():
        none = False if name == "per_sequence" else None
        if value is not none:
            raise ValueError(
                f"{name} must be {none} where loss is a function, got {what(value)}: "
                "J is what that returns, of all sequences together"
            )

"""Dropout between layers: masks that a user gives, and masks by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import unlabelled
from .division import Division
from .lists import as_list, packed
from .net import Net
from .params import Params, require_params
from .problem import with_masks
from .steps import Steps
from .types import Array, Inputs
from .values import SEQUENCES, as_flag, as_integer, as_number, as_numbers, as_real, require_shape
from .words import kind_of, what


def as_masks(net: Net, value: object, inputs: Inputs, steps: Steps | None) -> Any:
    """Return inputs with masks, in canonical form; inputs as they are where there are none."""
    if value is None or (isinstance(value, SEQUENCES) and not value and net.layers == 1):
        return inputs
    wanted = f"dropout_masks must be a list of layers - 1 = {net.layers - 1} masks, one for each layer but the first"
    if not isinstance(value, SEQUENCES):
        raise TypeError(f"{wanted}, got {what(value)}")
    if len(value) != net.layers - 1:
        raise ValueError(f"{wanted}, got a {type(value).__name__} of {len(value)}")
    lead = steps_of(inputs)
    return inputs, tuple(_mask(f"dropout_masks[{n}]", mask, net, lead, steps) for n, mask in enumerate(value))


def steps_of(inputs: Inputs) -> tuple[int, ...]:
    """Return the axes of canonical inputs that count steps: (T,), (T, B), or (N,) of packed ones."""
    x, _ = with_masks(inputs)
    return x.shape[: x.ndim - (x.dtype.kind == "f")]


def _mask(name: str, value: object, net: Net, lead: tuple[int, ...], steps: Steps | None) -> Array:
    """Return a mask of each step, from one of each step or of each sequence."""
    letters, W, value = "2H" if net.bidirectional else "H", net.width, as_list(name, value)
    if steps is not None and steps.form == "list" and isinstance(value, SEQUENCES):
        sequences = [as_numbers(f"{name}[{b}]", mask) for b, mask in enumerate(value)]
        empty = np.empty((0, W), net.dtype)
        sequences = [empty if mask.shape == (0,) else mask for mask in sequences]
        if len(sequences) != steps.B:
            raise ValueError(f"{name} must have B = {steps.B} sequences, got {len(sequences)}")
        for b, (mask, length) in enumerate(zip(sequences, steps.lengths.tolist(), strict=True)):
            require_shape(f"{name}[{b}]", mask, f"(T_b, {letters})", (length, W))
        return packed(sequences, (W,), net.dtype)
    mask = as_numbers(name, value)
    if steps is not None and steps.packed and not (steps.form == "flat" and mask.shape == (steps.count, W)):
        each_step = f"(N, {letters}) = {(steps.count, W)} or " * (steps.form == "flat")
        require_shape(name, mask, f"{each_step}(B, {letters})", (steps.B, W))
        return np.repeat(as_real(mask, net.dtype), steps.lengths, axis=0)
    if mask.shape not in ((*lead, W), (*lead[1:], W)):
        axes = ("T, B, ", "B, ") if len(lead) == 2 else ("T, ", "")
        each, one = (f"({axis}{letters}{',' * (not axis)})" for axis in axes)
        raise ValueError(
            f"{name} must have shape {each} = {(*lead, W)}, or {one} = {(*lead[1:], W)} for all steps, "
            f"got {kind_of(mask)}"
        )
    return np.ascontiguousarray(np.broadcast_to(as_real(mask, net.dtype), (*lead, W)))


def dropout_masks(
    params: Params,
    inputs: Any,
    rate: float,
    seed: int,
    *,
    per_step: bool = True,
    lengths: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
) -> list[Any]:
    """Return random masks for ``dropout_masks`` of :func:`bptt` and :func:`forward`: one for each layer but the first.

    A number of a mask is 0 with probability ``rate``, and else 1 / (1 - rate), so that what a layer reads keeps its
    mean (Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting"; between layers
    only: Zaremba, Sutskever, Vinyals 2014, "Recurrent neural network regularization"). per_step: whether each step has
    a mask of its own, (T, B, D*H) or (T, D*H), or all steps of a sequence share one, (B, D*H) or (D*H,) (Gal and
    Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural networks"). inputs, lengths
    and offsets: those of the call; for a list of sequences each mask is a list of arrays (T_b, D*H), with offsets
    (N, D*H), or for both (B, D*H). Resets change no mask.

    The same seed gives the same masks, on every machine: PCG64 of NumPy, drawn in float64, for each layer and each
    sequence by itself. So a list has the masks of the padded array, and a shorter sequence the beginning of those of a
    longer one at its place in the batch. Give another seed at each step of training, such as its number. Outputs are
    not masked, and a net of one layer has no masks. Raises ValueError or TypeError unless 0 <= rate < 1, and for a seed
    that is not an integer of at least 0.

    >>> import numpy as np
    >>> from rnncore import init_params
    >>> params = init_params("lstm", inputs=3, hidden=2, outputs=1, layers=2)
    >>> masks = dropout_masks(params, np.zeros((2, 3)), rate=0.5, seed=1)
    >>> masks[0].tolist()
    [[0.0, 2.0], [2.0, 0.0]]
    """
    require_params("params", params)
    share, each = as_number("rate", rate), as_flag("per_step", per_step)
    if not 0 <= share < 1:
        raise ValueError(f"rate must be at least 0 and less than 1, got {share}")
    key = as_integer("seed", seed, 0)
    batch, net = unlabelled(params._net, inputs, None, Division(lengths, offsets)), params._net
    lead, steps = steps_of(batch.inputs), batch.steps
    if steps is not None and steps.packed and each:
        lists = [[_drawn(net, share, (key, n, b), (T,)) for b, T in enumerate(steps.lengths)] for n in layers_of(net)]
        return lists if steps.form == "list" else list(map(np.concatenate, lists))
    B = steps.B if steps is not None else lead[1] if len(lead) == 2 else None
    length = lead[:1] if each else ()
    if B is None:
        return [_drawn(net, share, (key, n, 0), length) for n in layers_of(net)]
    return [
        np.stack([_drawn(net, share, (key, n, b), length) for b in range(B)], axis=len(length)) for n in layers_of(net)
    ]


def layers_of(net: Net) -> range:
    """Return the numbers of the layers that masks are for: all but the first."""
    return range(1, net.layers)


def _drawn(net: Net, rate: float, key: tuple[int, ...], steps: tuple[int, ...]) -> Array:
    """Return the mask of one sequence, (T, D*H) or (D*H,): it depends on the key alone, and a longer one begins so."""
    rng = np.random.Generator(np.random.PCG64(key))
    mask: Array = np.where(rng.random((*steps, net.width)) < rate, 0, 1 / (1 - rate)).astype(net.dtype)
    return mask

"""The arguments of ``rnncore.jax``: their kinds and shapes, which JAX knows before it computes.

Their values, such as tokens and lengths, are checked where they are computed with, by the functions behind
``rnncore.forward`` and ``rnncore.bptt``.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..arguments import TOKENS, require_kind
from ..cells import CELLS
from ..labels import Wanted
from ..losses import LOSSES
from ..net import Net
from ..params import Params
from ..remedies import of_inputs
from ..values import SEQUENCES
from ..words import kind_of, what
from .host import Given


def require_net(value: object) -> None:
    """Raise unless a value is what ``Params.net`` gives."""
    if isinstance(value, Params):
        raise TypeError("net must be params.net, got the Params themselves: write rnn(params.net, params.flat, ...)")
    if not isinstance(value, Net):
        raise TypeError(f"net must be params.net of a rnncore.Params, got {what(value)}")


def as_array(name: str, value: Any) -> Any:
    """Return an array of JAX, of real numbers or booleans."""
    if isinstance(value, SEQUENCES):
        raise TypeError(f"{name} must be an array, got a {type(value).__name__}: pad sequences, and give lengths=")
    if isinstance(value, Params):
        raise TypeError(f"{name} must be an array, got a Params: write params.flat")
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
        raise TypeError(f"{name} must have real numbers, got {kind_of(value)}")
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as why:
        raise TypeError(f"{name} must be an array, got {what(value)}") from why
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and (value.astype(array.dtype) != value).any():
        raise ValueError(f"{name} must fit {array.dtype.name}, to which JAX converts {kind_of(value)}")
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must have real numbers, got {kind_of(array)}")
    return array


def is_real(array: Any) -> bool:
    """Return whether an array is floating-point."""
    return bool(jnp.issubdtype(array.dtype, jnp.floating))


def as_flat(net: Net, value: Any) -> Any:
    """Return the parameters, which have the size and the dtype of the net."""
    flat = as_array("flat", value)
    if flat.shape != (net.size,):
        raise ValueError(f"flat must have shape ({net.size},), as params.flat of this net, got {kind_of(flat)}")
    if flat.dtype != net.dtype:
        wide = ": set jax_enable_x64, or take net and flat of params.astype('float32')" * (net.dtype == np.float64)
        raise TypeError(f"flat must be {net.dtype}, as net is, got {flat.dtype}{wide}")
    return flat


def sequences(net: Any, flat: Any, inputs: Any, state: Any, lengths: Any, masks: Any) -> tuple[Given, bool]:
    """Return the arrays of a call as batches, and whether they are about one sequence without the axis B."""
    require_net(net)
    own, x = as_flat(net, flat), as_array("inputs", inputs)
    tokens = reads_tokens(net, x)
    one = x.ndim == (1 if tokens else 2)
    if one:
        x = x[:, None]
    if x.shape[1] == 0:
        raise ValueError(f"inputs must have at least one sequence, B >= 1, got {kind_of(x)}")
    B = x.shape[1]
    return Given(
        own,
        x if tokens else x.astype(net.dtype),
        as_states(net, state, B, one),
        as_lengths(lengths, B, one),
        as_masks(net, masks, x.shape[:2], one),
    ), one


def reads_tokens(net: Net, x: Any) -> bool:
    """Return whether inputs are tokens, or vectors."""
    if not 1 <= x.ndim <= 3 or x.dtype == bool:
        raise ValueError(f"inputs must be numbers of 1 to 3 axes, got {kind_of(x)}{of_inputs(x, net.inputs)}")
    if is_real(x) and (net.tokens is True or x.ndim == 1):
        raise TypeError(f"inputs must be integers to be tokens, got {kind_of(x)}{of_inputs(x, net.inputs)}")
    if not is_real(x):
        require_kind(net, "inputs", x)
        if x.ndim == 2 and net.tokens is None:
            raise ValueError(
                f"inputs may be tokens (T, B), or vectors (T, X) that are integers, got {kind_of(x)}: {TOKENS}"
            )
        if x.ndim == 1 or (x.ndim == 2 and net.tokens is True):
            return True
    if x.shape[-1] != net.inputs:
        raise ValueError(f"inputs must have X = {net.inputs} numbers a step, got {kind_of(x)}")
    return False


def as_states(net: Net, value: Any, B: int, one: bool) -> tuple[Any, ...]:
    """Return the initial states as arrays of a batch; () for None."""
    if value is None:
        return ()
    names, lead = CELLS[net.cell].states, (net.parts,) if net.parts > 1 else ()
    shape = (*lead, *(() if one else (B,)), net.hidden)
    if len(names) > 1 and not (isinstance(value, SEQUENCES) and len(value) == len(names)):
        wanted = f"a tuple ({', '.join(names)}) of arrays {shape}"
        raise TypeError(f"state of cell {net.cell!r} must be {wanted}, got {what(value)}")
    arrays = []
    for letter, given in zip(names, value if len(names) > 1 else [value], strict=True):
        name = f"{letter} of state" if len(names) > 1 else "state"
        array = as_array(name, given)
        if array.shape != shape or not is_real(array):
            raise ValueError(f"{name} must be floating and have shape {shape}, got {kind_of(array)}")
        arrays.append((array[..., None, :] if one else array).astype(net.dtype))
    return tuple(arrays)


def as_lengths(value: Any, B: int, one: bool) -> Any:
    """Return the lengths of a batch, (B,); None stays None."""
    if value is None:
        return None
    lengths = as_array("lengths", np.asarray(value) if isinstance(value, SEQUENCES) else value)
    shape = () if one else (B,)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be integers, got {kind_of(lengths)}")
    if lengths.shape != shape:
        raise ValueError(f"lengths must have shape {shape}, one for each sequence, got {kind_of(lengths)}")
    return lengths.reshape(B)


def as_masks(net: Net, value: Any, lead: tuple[int, ...], one: bool) -> tuple[Any, ...]:
    """Return the masks (T, B, D*H), from those of each step or of each sequence; () for None."""
    masks = [] if value is None else value
    if not isinstance(masks, SEQUENCES):
        raise TypeError(f"dropout_masks must be a list of arrays, got {what(masks)}")
    if value is not None and len(masks) != net.layers - 1:
        wanted = f"{net.layers - 1} arrays, one for each layer but the first"
        raise ValueError(f"dropout_masks must be a list of {wanted}, got {len(masks)}")
    return tuple(as_mask(f"dropout_masks[{n}]", mask, net, lead, one) for n, mask in enumerate(masks))


def as_mask(name: str, value: Any, net: Net, lead: tuple[int, ...], one: bool) -> Any:
    """Return the mask of a layer."""
    mask, (T, B), W = as_array(name, value), lead, net.width
    steps = (T,) if one else (T, B)
    if mask.shape not in ((*steps, W), (*steps[1:], W)):
        raise ValueError(f"{name} must have shape {(*steps, W)}, or {(*steps[1:], W)}, got {kind_of(mask)}")
    if one:
        mask = mask[..., None, :]
    return jnp.broadcast_to(mask.astype(net.dtype), (T, B, W))


def with_labels(net: Net, given: Given, one: bool, labels: Any, weights: Any, loss: str) -> tuple[Given, bool]:
    """Return the arrays with labels and weights, and whether there is one label a sequence."""
    if net.outputs == 0:
        raise ValueError("bptt_loss needs outputs, and net has outputs = 0: use rnn")
    label, lead = as_array("labels", labels), given.inputs.shape[: 1 if one else 2]
    wanted = Wanted(loss, net.outputs, net.dtype)
    if not is_real(label) and not (LOSSES[loss].classes and label.dtype != bool) and not LOSSES[loss].integers:
        remedy = f"write labels.astype({net.dtype.name!r})"
        raise TypeError(f"labels must be floating for the loss {loss!r}, got {kind_of(label)}: {remedy}")
    classes = LOSSES[loss].classes and not is_real(label)
    last = shaped_like(label, lead, classes, wanted)
    lead = lead[1:] if last else lead
    if not classes:
        label = (label[..., None] if label.shape == lead else label).astype(net.dtype)
    at = 0 if last else 1
    label = jnp.expand_dims(label, at) if one else label
    return given._replace(labels=label, weights=as_weights(net, weights, lead, last, one)), last


def shaped_like(label: Any, lead: tuple[int, ...], classes: bool, wanted: Wanted) -> bool:
    """Return whether there is one label a sequence, and not one a step; raise if the labels fit neither."""
    ends: list[tuple[int, ...]] = [()] if classes else [(wanted.outputs,)]
    if wanted.last_may_be_missing:
        ends = [(), *ends]
    for end in ends:
        for last in (False, True):
            if label.shape == (*lead[last:], *end):
                return last
    fitting = " or ".join(str((*lead[last:], *ends[-1])) for last in (False, True))
    raise ValueError(
        f"labels must have shape {fitting}, one for each step or for each sequence, got {kind_of(label)}; "
        f"they are {wanted.letters}"
    )


def as_weights(net: Net, value: Any, lead: tuple[int, ...], last: bool, one: bool) -> Any:
    """Return one weight for each label, from one for each or, of labels of steps, one for each sequence."""
    if value is None:
        return None
    weights = as_array("weights", value)
    if not is_real(weights):
        raise TypeError(f"weights must be floating, got {kind_of(weights)}: write weights.astype({net.dtype.name!r})")
    if weights.shape != lead and (last or weights.shape != lead[1:]):
        raise ValueError(f"weights must have the shape of the labels' steps, {lead}, got {kind_of(weights)}")
    weights = jnp.broadcast_to(weights.astype(net.dtype), lead)
    return jnp.expand_dims(weights, 0 if last else 1) if one else weights

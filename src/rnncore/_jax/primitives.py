"""How JAX transforms a call: two primitives.

``host`` hands NumPy arrays to a task of ``host.py``, from a compiled program or, outside of one, at once. Mapped by
vmap, it runs the task for each element.

``bridge`` is what users call, in terms of ``host``. Its derivative is a custom_vjp. Mapped by vmap, it becomes one call
with more sequences: by itself, that is without a gradient inside of what is mapped. So ``grad(vmap)`` is one larger
batch, forward and back, while ``vmap(grad)``, which has a gradient for each element, runs each by itself.

The tape goes through JAX as arrays. A compiled program may run its way back never, once or several times, and after
others have begun, so that nobody but JAX knows how long a tape is needed. To compute it again would cost a way
forward, and ``jax.checkpoint`` does that for those who want it. A loss that is not mapped needs no tape: its way
forward computes the gradient in one pass.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from ..types import AnyArray
from .host import Backward, Call, Forward, Given, Gradient, Losses

host_p = Primitive("rnncore_host")
host_p.multiple_results = True
bridge_p = Primitive("rnncore")
bridge_p.multiple_results = True


def host(task: Any, *arguments: Any) -> list[Any]:
    """Return what a task makes of its arguments."""
    leaves, tree = jax.tree_util.tree_flatten(arguments)
    found: list[Any] = host_p.bind(*leaves, task=task, tree=tree, lead=())
    return found


def run(*arrays: Any, task: Any, tree: Any, lead: tuple[int, ...]) -> tuple[AnyArray, ...]:
    """Run a task on arrays; for each element of the axes ``lead`` that come first, of size 1 where they are equal."""
    own: list[AnyArray] = [np.asarray(array) for array in arrays]
    if not lead:
        return tuple(task.run(*tree.unflatten(own)))
    avals = abstract(*own, task=task, tree=tree, lead=lead)
    results = [np.empty(aval.shape, aval.dtype) for aval in avals]
    for index in np.ndindex(*lead):
        one = [array[tuple(min(i, n - 1) for i, n in zip(index, array.shape, strict=False))] for array in own]
        for result, found in zip(results, task.run(*tree.unflatten(one)), strict=True):
            result[index] = found
    return tuple(results)


def run_now(*arrays: Any, **about: Any) -> list[Any]:
    """Run a task outside of a compiled program."""
    return [jnp.asarray(found) for found in run(*arrays, **about)]


def abstract(*avals: Any, task: Any, tree: Any, lead: tuple[int, ...]) -> list[Any]:
    """Return the shapes and dtypes of the results."""
    own = [jax.ShapeDtypeStruct(aval.shape[len(lead) :], aval.dtype) for aval in avals]
    shapes = task.shapes(*tree.unflatten(own))
    return [jax.core.ShapedArray((*lead, *shape), task.call.net.dtype) for shape in shapes]


def lower(context: Any, *operands: Any, **about: Any) -> Any:
    """Call ``run`` from a compiled program, with NumPy arrays."""
    callback = partial(run, **about)
    avals = context.avals_in, context.avals_out
    results, _, _ = mlir.emit_python_callback(context, callback, None, list(operands), *avals, has_side_effect=False)
    return results


def map_host(arrays: Any, axes: Any, *, lead: tuple[int, ...], **about: Any) -> Any:
    """Map a task: its arrays get one more axis in front."""
    size = size_of(arrays, axes)
    own = [x[None] if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True)]
    found = host_p.bind(*own, lead=(size, *lead), **about)
    return found, [0] * len(found)


def refuse(primals: Any, tangents: Any, **about: Any) -> Any:
    """Raise: there is no derivative of a derivative."""
    raise NotImplementedError("rnncore.jax has first derivatives, in reverse mode, and no others")


def size_of(arrays: Any, axes: Any) -> int:
    """Return the size of the axis that is mapped."""
    return int(next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None))


host_p.def_impl(run_now)
host_p.def_abstract_eval(abstract)
mlir.register_lowering(host_p, lower)
batching.primitive_batchers[host_p] = map_host
ad.primitive_jvps[host_p] = refuse


def bridge(call: Call, given: Given) -> list[Any]:
    """Return h and the last states; or, of a loss, J of each group."""
    leaves, tree = jax.tree_util.tree_flatten(given)
    found: list[Any] = bridge_p.bind(*leaves, call=call, tree=tree)
    return found


def results_of(call: Call) -> Any:
    """Return the task that computes the results and keeps nothing."""
    return Forward(call, keep=False) if call.loss is None else Losses(call, keep=False)


def plain(call: Call, given: Given) -> list[Any]:
    """Return the results without a gradient."""
    return host(results_of(call), given)


def evaluate(*leaves: Any, call: Call, tree: Any) -> list[Any]:
    """Return the results without a gradient, of arrays one after the other."""
    return plain(call, tree.unflatten(leaves))


def abstract_bridge(*avals: Any, call: Call, tree: Any) -> list[Any]:
    """Return the shapes and dtypes of the results."""
    shapes = results_of(call).shapes(tree.unflatten(avals))
    return [jax.core.ShapedArray(shape, call.net.dtype) for shape in shapes]


class Residual(NamedTuple):
    """What the way back needs. need_dinputs: () for yes, as JAX takes arrays and structure only; None for no.

    The gradients themselves, of which the way back has only to take a multiple; or dy, of losses, and h with the tape.
    """

    need_dinputs: Any
    given: Given | None = None
    grads: Any = None
    dy: Any = None
    kept: Any = None


def forth(call: Call, marked: Given) -> tuple[list[Any], Residual]:
    """Return the results, and what the way back needs of it."""
    given = jax.tree_util.tree_map(lambda leaf: leaf.value, marked)
    need_dinputs = bool(marked.inputs.perturbed)
    need = () if need_dinputs else None
    if call.loss is None:
        h, *rest = host(Forward(call, keep=True), given)
        return [h, *rest[:-2]], Residual(need, given, kept=(h, *rest[-2:]))
    if call.groups == 1:
        J, *grads = host(Gradient(call, need_dinputs), given)
        return [J], Residual(need, grads=grads)
    J, dy, *kept = host(Losses(call, keep=True), given)
    return [J], Residual(need, given, dy=dy, kept=tuple(kept))


def back(call: Call, residual: Residual, cotangents: list[Any]) -> tuple[Given]:
    """Return the gradients, from those with respect to the results."""
    need, given, grads, dy, kept = residual
    first, *others = cotangents
    if grads is not None:
        grads = [first[0] * gradient for gradient in grads]
    else:
        dh, dlast = None, ()
        if dy is None:
            dh, dlast = instantiated(first, others)
        else:
            dy = dy * jnp.repeat(first, dy.shape[-2] // call.groups)[:, None]
        grads = host(Backward(call, need is not None), given, kept, dy, dh, dlast)
    dflat, *dstates = grads
    dinputs = None if need is None else dstates.pop()
    return (Given(dflat, dinputs, tuple(dstates), None, None),)


def instantiated(dh: Any, dlast: list[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the gradients with respect to h and to the last states; None and () for those that are all zero."""
    zero = [type(one) is SymbolicZero for one in dlast]
    states = [jnp.zeros(one.shape, one.dtype) if none else one for none, one in zip(zero, dlast, strict=True)]
    if type(dh) is SymbolicZero:
        return None, tuple(states)
    return dh, () if all(zero) else tuple(states)


differentiable = jax.custom_vjp(plain, nondiff_argnums=(0,))
differentiable.defvjp(forth, back, symbolic_zeros=True)


def differentiate(primals: Any, tangents: Any, *, call: Call, tree: Any) -> Any:
    """Return the results and their tangents, of which JAX makes the gradient."""
    moved = [type(tangent) is not ad.Zero for tangent in tangents]
    marks = tree.unflatten(moved)
    for name, mark in (("dropout_masks", marks.masks), ("labels", marks.labels), ("weights", marks.weights)):
        if any(jax.tree_util.tree_leaves(mark)):
            raise TypeError(f"{name} of rnncore.jax have no gradient: write jax.lax.stop_gradient({name})")

    def of_moved(*own: Any) -> list[Any]:
        rest = iter(own)
        leaves = [next(rest) if moves else primal for moves, primal in zip(moved, primals, strict=True)]
        found: list[Any] = differentiable(call, tree.unflatten(leaves))
        return found

    pairs = [(p, t) for p, t, moves in zip(primals, tangents, moved, strict=True) if moves]
    return jax.jvp(of_moved, *map(tuple, zip(*pairs, strict=True)))


def map_bridge(arrays: Any, axes: Any, *, call: Call, tree: Any) -> Any:
    """Map a call: it becomes one with more sequences; with a flat for each element, one call after the other."""
    size = size_of(arrays, axes)
    if axes[0] is not None:
        return map_parameters(arrays, axes, call=call, tree=tree)
    own = axes_of_sequences(call, tree.unflatten(arrays))
    joined = [join(x, axis, at, size) for x, axis, at in zip(arrays[1:], axes[1:], own, strict=True)]
    found = bridge_p.bind(arrays[0], *joined, call=call._replace(groups=call.groups * size), tree=tree)
    ends = [0] if call.loss is not None else [1, *(x.ndim - 2 for x in found[1:])]
    return [split(x, at, size) for x, at in zip(found, ends, strict=True)], ends


def map_parameters(arrays: Any, axes: Any, **about: Any) -> Any:
    """Map a call over flat as well: one call after the other."""
    mapped = [jnp.moveaxis(x, axis, 0) for x, axis in zip(arrays, axes, strict=True) if axis is not None]

    def one(own: Any) -> list[Any]:
        rest = iter(own)
        found: list[Any] = bridge_p.bind(
            *(x if axis is None else next(rest) for x, axis in zip(arrays, axes, strict=True)), **about
        )
        return found

    found = jax.lax.map(one, mapped)
    return found, [0] * len(found)


def axes_of_sequences(call: Call, given: Given) -> list[int]:
    """Return which axis counts sequences, of each array but flat."""
    _, _, states, lengths, masks, labels, weights = given
    of_labels = 0 if call.last else 1
    own = Given(
        None,
        1,
        ((0 if call.net.parts == 1 else 1),) * len(states),
        None if lengths is None else 0,
        (1,) * len(masks),
        None if labels is None else of_labels,
        None if weights is None else of_labels,
    )
    axes: list[int] = jax.tree_util.tree_leaves(own)
    return axes


def join(array: Any, axis: int | None, at: int, size: int) -> Any:
    """Return an array with one more axis, or the same for each element, with that axis and ``at`` in one."""
    if axis is None:
        shape = (*array.shape[:at], size, *array.shape[at:])
        array = jnp.broadcast_to(jnp.expand_dims(array, at), shape)
    else:
        array = jnp.moveaxis(array, axis, at)
    return array.reshape(*array.shape[:at], size * array.shape[at + 1], *array.shape[at + 2 :])


def split(array: Any, at: int, size: int) -> Any:
    """Return the opposite of ``join``."""
    return array.reshape(*array.shape[:at], size, array.shape[at] // size, *array.shape[at + 1 :])


bridge_p.def_impl(evaluate)
bridge_p.def_abstract_eval(abstract_bridge)
mlir.register_lowering(bridge_p, mlir.lower_fun(evaluate, multiple_results=True))
batching.primitive_batchers[bridge_p] = map_bridge
ad.primitive_jvps[bridge_p] = differentiate

"""Nets in JAX: the kernels of rnncore under ``jit``, ``grad`` and ``vmap``.

``import rnncore.jax`` needs JAX: ``pip install 'rnncore[jax]'``. The arrays are JAX's, in float32 or, with
``jax_enable_x64``, in float64. They are computed on the CPU, by a callback from the compiled program, with the bits of
:func:`rnncore.forward`, :func:`rnncore.backward` and :func:`rnncore.bptt`.

Gradients are with respect to ``flat``, ``inputs`` and ``state``, in reverse mode, and first ones. Under ``vmap`` a call
becomes one with more sequences; of mapped parameters, and of gradients inside of what is mapped, one call after the
other. ``vmap`` of a batch and one batch have the same h and states to the bit; sums over sequences may be added in
another order.
"""

from __future__ import annotations

from typing import Any

try:
    from ._jax import arguments
    from ._jax.host import Call
    from ._jax.primitives import bridge
except ModuleNotFoundError as why:
    if why.name is None or why.name.partition(".")[0] not in ("jax", "jaxlib"):
        raise
    raise ImportError("rnncore.jax needs JAX: pip install 'rnncore[jax]'") from why
from .arguments import options
from .engines import current
from .net import Net

__all__ = ["bptt_loss", "rnn"]


def rnn(
    net: Net,
    flat: Any,
    inputs: Any,
    state: Any = None,
    lengths: Any = None,
    *,
    dropout_masks: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> tuple[Any, Any]:
    """Return the hidden states of all steps and the last states.

    ``h_t = tanh(b_h + W_xh x_t + W_hh h_{t-1})`` of the cell "rnn"; :class:`rnncore.Params` has the others.

    net: ``params.net``, the cell and the sizes. flat: the parameters (P,), in the order and the dtype of
    ``params.flat``. inputs: tokens, integers (T,) or (T, B), or vectors (T, X) or (T, B, X), converted to that dtype;
    integers of two axes are what ``net.tokens`` says. state: the initial state, (B, H), or (H,) for one sequence, a
    pair of them for "lstm", with a first axis L*D where there are several layers or directions; None is zeros. lengths:
    integers (B,), or one for one sequence, of padded arrays. dropout_masks: as for :func:`rnncore.bptt`, without a
    gradient. backend, threads: as for :func:`rnncore.bptt`; they are fixed when JAX traces the call.

    Returns h, (T, B, D*H) or (T, D*H), of the last layer, and the last state, shaped as the initial one. Outputs are
    ``W_hy, b_y = net.head(flat)`` and ``h @ W_hy.T + b_y``.

    Raises ValueError or TypeError for arguments of another kind or shape; for values out of range too, but from a
    compiled program that error comes as one of JAX, which quotes it.

    >>> import jax, numpy as np, rnncore
    >>> params = rnncore.init_params("lstm", inputs=3, hidden=4, outputs=0, dtype="float32")
    >>> h, (last, c) = jax.jit(rnn, static_argnums=0)(params.net, params.flat, np.ones((5, 2, 3)))
    >>> h.shape, last.shape
    ((5, 2, 4), (2, 4))
    >>> bool((h == rnncore.forward(params, np.ones((5, 2, 3))).h).all())
    True
    """
    given, one = arguments.sequences(net, flat, inputs, state, lengths, dropout_masks)
    asked = options(False, threads)
    h, *last = bridge(Call(net, current(backend).name, asked.threads), given)
    if one:
        h, last = h[:, 0], [array[..., 0, :] for array in last]
    return h, tuple(last) if len(last) > 1 else last[0]


def bptt_loss(
    net: Net,
    flat: Any,
    inputs: Any,
    labels: Any,
    *,
    state: Any = None,
    lengths: Any = None,
    loss: str = "cross_entropy",
    weights: Any = None,
    dropout_masks: Any = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Any:
    """Return J, the sum of the losses of all steps of all sequences, in the dtype of ``flat``.

    Its gradient is that of :func:`rnncore.bptt`, computed in one pass. The losses are those of :func:`rnncore.bptt` as
    well, and so are labels, one a step or one a sequence, and weights, which have no gradient. The other arguments are
    those of :func:`rnn`.

    >>> import jax, numpy as np, rnncore
    >>> params = rnncore.init_params("gru", inputs=8, hidden=4, outputs=8, tokens=True, dtype="float32")
    >>> text = np.arange(9) % 8
    >>> gradient = jax.jit(jax.value_and_grad(bptt_loss, argnums=1), static_argnums=0)
    >>> J, dflat = gradient(params.net, params.flat, text[:-1], text[1:])
    >>> bool((dflat == rnncore.bptt(params, text[:-1], text[1:]).grads.flat).all())
    True
    """
    given, one = arguments.sequences(net, flat, inputs, state, lengths, dropout_masks)
    asked = options(False, threads, loss)
    given, last = arguments.with_labels(net, given, one, labels, weights, asked.loss)
    return bridge(Call(net, current(backend).name, asked.threads, asked.loss, last), given)[0][0]

"""Random parameters to begin with."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .cells import CELLS, parts
from .params import Params
from .sizes import Reset, cell_name, sized_net
from .types import Array
from .values import as_choice, as_integer, as_number, as_real_dtype
from .words import what


def init_params(
    cell: str,
    inputs: int,
    hidden: int,
    outputs: int,
    *,
    reset: Reset | None = None,
    weights: Literal["uniform", "orthogonal"] = "uniform",
    forget_bias: float | None = None,
    layers: int = 1,
    bidirectional: bool = False,
    tokens: bool | None = None,
    seed: int = 0,
    dtype: npt.DTypeLike = "float32",
) -> Params:
    """Return parameters with random weights; biases are zero, but of the forget gate of "lstm", which is 1.

    weights: "uniform", each matrix uniform in ±1/sqrt(n), n the number of its columns. A unit then starts with inputs
    of the same size however many it has (LeCun et al. 1998, "Efficient BackProp", section 4.6; this form, with the
    number of columns, is the one of WildML's tutorial, part 2). "orthogonal", the same but of W_hh: there the H rows
    of each gate are an orthogonal matrix, drawn evenly from all there are, so that what goes through it, forward or
    back, keeps its length (Saxe, McClelland, Ganguli 2014, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks"). It is not scaled for any cell, "rnn_relu" included; that paper's gain, or the
    identity of Le, Jaitly, Hinton 2015, is a line of your own: ``params.W_hh *= gain``, ``params.W_hh = np.eye(H)``.

    forget_bias: of "lstm", b_h of the gate f; None is 1, and 0 is like the other gates. A cell then starts by
    remembering (Gers, Schmidhuber, Cummins 2000, "Learning to forget"; Jozefowicz, Zaremba, Sutskever 2015, "An
    empirical exploration of recurrent network architectures"). reset: of "gru", see :class:`Params`.

    layers, bidirectional: how many layers there are, and whether each has two directions; see :class:`Params`. tokens:
    what the net reads, True for tokens, False for vectors; with None, what a call is given decides. Where it is True,
    W_xh of the first layer is uniform in ±1: a token selects one of its columns, and is as one input.

    The same seed gives the same numbers in every dtype, up to rounding: PCG64 of NumPy, drawn in float64 in the order
    of ``flat``, without BLAS or LAPACK, whose last bits depend on the processor (for which "orthogonal" takes seconds
    from H = 1000 on).

    outputs=0 makes a net without an output layer. Raises ValueError or TypeError for sizes and layers below 1 (outputs:
    below 0), for a seed that is not an integer of at least 0, for a dtype other than float32 and float64, for an
    unknown cell, reset or weights, for a forget_bias that is not finite or not of "lstm".

    >>> params = init_params("rnn", inputs=65, hidden=100, outputs=65, seed=0, dtype="float32")
    >>> params
    Params('rnn', inputs=65, hidden=100, outputs=65, dtype=float32)
    >>> bool(abs(params.W_hh).max() <= 0.1)
    True
    >>> init_params("lstm", inputs=1, hidden=2, outputs=0).b_h
    array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """
    name = cell_name(cell, reset)
    real = as_real_dtype("dtype", dtype)
    net = sized_net(name, inputs, hidden, outputs, real, layers, bidirectional, tokens)
    drawn = {"uniform": _uniform, "orthogonal": _orthogonal}
    recurrent = drawn[as_choice("weights", weights, tuple(drawn))]
    forget = _forget_bias(name, forget_bias, net.dtype)
    rng = np.random.Generator(np.random.PCG64(as_integer("seed", seed, 0)))
    params = Params._of(net, np.zeros(net.size, net.dtype))
    reads_tokens = [f"{prefix}W_xh" for prefix in parts(net.layers, net.bidirectional)[: net.directions] if net.tokens]
    for array_name in params:
        array, kind = params[array_name], array_name.rpartition(".")[2]
        if array_name in reads_tokens:
            array[...] = 2 * rng.random(array.shape) - 1
        elif array.ndim == 2:
            array[...] = (recurrent if kind == "W_hh" else _uniform)(rng, *array.shape)
        elif kind == "b_h" and name == "lstm":
            array.reshape(-1, net.hidden)[CELLS[name].gates.index("f")] = forget
    return params


def _forget_bias(cell: str, value: object, dtype: np.dtype[Any]) -> float:
    """Return the initial bias of the forget gate, which only "lstm" has."""
    if value is None:
        return 1.0
    if cell != "lstm":
        raise ValueError(f"forget_bias must be None but for cell 'lstm', got {what(value)} for cell {cell!r}")
    given = as_number("forget_bias", value)
    with np.errstate(all="ignore"):
        if not np.isfinite(dtype.type(given)):
            raise ValueError(f"forget_bias must be finite in {dtype}, got {given}")
    return given


def _uniform(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return (2 * rng.random((rows, columns)) - 1) / math.sqrt(columns)


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Return square blocks, each drawn evenly from all orthogonal matrices.

    A matrix of n rows is that of n - 1, bordered by 1, and then turned so that its first column, (1, 0, ...), becomes
    x / |x| with x Gaussian: by the reflection v v^T - 1, |v|^2 = 2, or by its negative (Stewart 1980, "The efficient
    generation of random orthogonal matrices with an application to condition estimators").
    """
    blocks = np.zeros((rows // columns, columns, columns))
    for block in blocks:
        np.fill_diagonal(block, 1)
        for n in reversed(range(columns)):
            v = rng.standard_normal(columns - n)[:, None]
            length, sign = math.sqrt(math.fsum((v * v).flat)), math.copysign(1, v[0, 0])
            v[0] += sign * length
            v /= math.sqrt(length * abs(v[0, 0]))
            part = block[n:, n:]
            part[...] = sign * (v * (v * part).sum(axis=0) - part)
    return blocks.reshape(rows, columns)

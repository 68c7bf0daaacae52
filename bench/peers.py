"""The same gradient by others: what a competent user of each library writes, with all it takes to be fast there.

Each gives J, and the gradients of all parameters and of the initial state.
"""

import ctypes
import importlib
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import textbook
from native import BuildError, OneDnn, pointer
from problems import Problem
from timing import Contender, Results, repeat

from rnncore.cells import parts

ONEDNN_CELLS = ("rnn", "rnn_relu", "lstm", "gru", "gru_reset_before")  # by their numbers in native/onednn.cpp
ONEDNN_SWAPPED = ("gru", "gru_reset_before")
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


class UnavailableError(Exception):
    """A peer is not here, or cannot do this problem: the message says why."""


def need(module: str) -> None:
    """Refuses a peer whose library is not installed."""
    if importlib.util.find_spec(module) is None:
        raise UnavailableError(f"{module} is not installed")


def by_numpy(task: Problem, threads: int) -> Contender:
    """Products over all steps at once wherever time allows, and step by step in BLAS where it does not."""
    if threads != 1:
        raise UnavailableError("its BLAS is held to one thread")
    if task.shape.cell not in textbook.CELLS:
        raise UnavailableError(f"nobody has written {task.shape.cell} with it")
    found: dict[str, Results] = {}

    def call() -> None:
        found["last"] = textbook.gradient(task)

    return Contender("numpy", 1, repeat(call), lambda: found["last"])


def by_torch(task: Problem, threads: int) -> Contender:
    """nn.RNN, nn.LSTM or nn.GRU, Linear, cross_entropy with reduction="sum", eager; tokens become one-hot vectors."""
    need("torch")
    import torch

    recurrent, linear, states = torch_net(task)
    state = torch_state(states)
    inputs, labels = torch.from_numpy(task.inputs), torch.from_numpy(task.labels.reshape(-1))
    leaves = [*recurrent.parameters(), *linear.parameters(), *states]
    found: dict[str, Any] = {}
    X, dtype = task.shape.X, states[0].dtype
    one_hot: Any = torch.nn.functional.one_hot

    def call() -> None:
        x = one_hot(inputs, X).to(dtype) if task.shape.tokens else inputs
        h, _ = recurrent(x, state)
        y = linear(h.flatten(0, 1))
        loss = torch.nn.functional.cross_entropy(y, labels, reduction="sum")
        found["last"] = (loss, torch.autograd.grad(loss, leaves))

    def results() -> Results:
        return torch_results(*found["last"])

    return Contender("torch", threads, repeat(call), results, lambda: torch.set_num_threads(threads), threads > 1)


def torch_contender(name: str, call: Callable[[], None], last: Callable[[], Any]) -> Contender:
    """A call of PyTorch's on one thread that leaves its loss and gradients for ``last``."""
    import torch

    return Contender(name, 1, repeat(call), lambda: torch_results(*last()), lambda: torch.set_num_threads(1))


def torch_results(loss: Any, gradients: Any) -> Results:
    """The loss and the gradients of :func:`torch_net`'s parameters and states, by rnncore's names."""
    import torch

    dW_xh, dW_hh, db_x, db_h, dW_hy, db_y, *dstates = gradients
    names = {"loss": loss.detach(), "dstate": torch.cat(dstates), "W_xh": dW_xh, "W_hh": dW_hh, "W_hy": dW_hy}
    names |= {"b_x": db_x, "b_h": db_h, "b_y": db_y}
    return {name: value.numpy() for name, value in names.items()}


def torch_net(task: Problem) -> tuple[Any, Any, list[Any]]:
    """The recurrent module and Linear with the problem's weights (a second bias is 0), and the initial states."""
    import torch

    if task.shape.cell == "gru_reset_before":
        raise UnavailableError("it has no GRU with the reset before the product")
    recurrent, linear = task.params.to_torch()
    return recurrent, linear, [torch.from_numpy(state[None].copy()).requires_grad_() for state in task.states]


def torch_state(states: list[Any]) -> Any:
    """As its modules take it: h, or the pair of h and c."""
    return states[0] if len(states) == 1 else tuple(states)


def by_jax(task: Problem, threads: int) -> Contender:
    """One jit of the gradient: lax.scan over the steps, the products that need not wait outside of it."""
    need("jax")
    if threads != 1:
        raise UnavailableError("XLA is held to one thread")
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    weights = {name: jax.device_put(getattr(task.params, name)) for name in task.params.names()}
    inputs, labels = jax.device_put(task.inputs), jax.device_put(task.labels)
    states = tuple(map(jax.device_put, task.states))
    step = jax_gradient(task.shape.cell, task.shape.tokens)
    found: dict[str, Any] = {}

    def call() -> None:
        found["last"] = jax.block_until_ready(step(weights, states, inputs, labels))

    def results() -> Results:
        loss, (gradients, dstates) = found["last"]
        arrays = {"loss": loss, "dstate": dstates, **gradients}
        return {name: np.asarray(array) for name, array in arrays.items()}

    return Contender("jax", 1, repeat(call), results)


@lru_cache
def jax_gradient(cell: str, tokens: bool) -> Callable[..., Any]:
    """The jitted function; it compiles once per shape and dtype."""
    import jax
    import jax.numpy as jnp

    def loss(weights: Any, states: Any, inputs: Any, labels: Any) -> Any:
        part = weights["W_xh"].T[inputs] if tokens else inputs @ weights["W_xh"].T
        bias = weights.get("b_x", weights["b_h"])
        step = jax_step(cell, weights)
        _, h = jax.lax.scan(lambda states, a: (found := step(states, a), found[0]), states, part + bias)
        y = h @ weights["W_hy"].T + weights["b_y"]
        return -jnp.take_along_axis(jax.nn.log_softmax(y), labels[..., None], axis=-1).sum()

    gradient: Callable[..., Any] = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return gradient


def jax_step(cell: str, weights: Any) -> Callable[[Any, Any], Any]:
    """The states after a step, from those before it and the input part a."""
    import jax
    import jax.numpy as jnp

    W_hh, H, sigmoid = weights["W_hh"].T, weights["W_hh"].shape[1], jax.nn.sigmoid

    def rnn(states: Any, a: Any) -> Any:
        act = jnp.tanh if cell == "rnn" else jax.nn.relu
        return (act(a + states[0] @ W_hh),)

    def lstm(states: Any, a: Any) -> Any:
        h, c = states
        i, f, g, o = jnp.split(a + h @ W_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(states: Any, a: Any) -> Any:
        (h,) = states
        (a_r, a_z, a_n), (u_r, u_z, u_n) = (jnp.split(part, 3, axis=-1) for part in (a, h @ W_hh + weights["b_h"]))
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        return ((1 - z) * jnp.tanh(a_n + r * u_n) + z * h,)

    def gru_reset_before(states: Any, a: Any) -> Any:
        (h,), b = states, weights["b_h"]
        r, z = jnp.split(sigmoid(a[..., : 2 * H] + h @ W_hh[:, : 2 * H] + b[: 2 * H]), 2, axis=-1)
        n = jnp.tanh(a[..., 2 * H :] + (r * h) @ W_hh[:, 2 * H :] + b[2 * H :])
        return ((1 - z) * n + z * h,)

    steps: dict[str, Callable[[Any, Any], Any]] = {"lstm": lstm, "gru": gru, "gru_reset_before": gru_reset_before}
    return steps.get(cell, rnn)


@lru_cache
def onednn_library() -> OneDnn | str:
    """The library, or why there is none."""
    try:
        return OneDnn()
    except BuildError as why:
        return str(why)


def by_onednn(task: Problem, threads: int) -> Contender:
    """vanilla_rnn, vanilla_lstm, lbr_gru or vanilla_gru, called from C++ without a Python call for each run."""
    found = onednn_library()
    if isinstance(found, str):
        raise UnavailableError(found)
    if task.dtype != "float32" or task.shape.tokens:
        raise UnavailableError("its RNN has float32 vectors only")
    library, shape, cell = found.library, task.shape, task.shape.cell
    library.onednn_threads(threads)
    sizes = [shape.T, shape.B, shape.X, shape.H, shape.V, ONEDNN_CELLS.index(cell)]
    return onednn_contender(found, task.params, sizes, (task.inputs, task.states, task.labels), threads)


def onednn_contender(
    onednn: OneDnn, params: Any, sizes: list[int], given: tuple[Any, Any, Any], threads: int
) -> Contender:
    """A net of any layers and directions. sizes: T, B, X, H, V and the cell; given: inputs, states and labels."""
    library, (inputs, states, labels), weights = onednn.library, given, onednn_weights(params)
    counts = np.array([*sizes, len(params.layers), 1 + params.bidirectional], np.int64)
    W_xh, W_hh, b = map(np.concatenate, weights)
    arrays = (counts, inputs, states, labels, W_xh, W_hh, params.W_hy, b, params.b_y)
    handle = Handle(library, ctypes.c_void_p(library.onednn_create(*map(pointer, arrays))))

    def results() -> Results:
        dW_xh, dW_hh, dW_hy, db, db_y, dstates = map(np.empty_like, (W_xh, W_hh, params.W_hy, b, params.b_y, states))
        loss = np.empty(1)
        library.onednn_results(handle.value, *map(pointer, (dW_xh, dW_hh, dW_hy, db, db_y, dstates, loss)))
        found = {"loss": loss[0], "dstate": dstates, "W_hy": dW_hy, "b_y": db_y}
        return found | onednn_gradients(params, weights, (dW_xh, dW_hh, db))

    return Contender(
        "onednn", threads, lambda k: library.onednn_run(handle.value, k), results,
        lambda: library.onednn_threads(threads), threads > 1,
    )  # fmt: skip


def onednn_parts(params: Any) -> list[tuple[str, Any]]:
    """What the names of a layer's arrays begin with, and the layer, of each layer in each direction."""
    ways = [way for layer in params.layers for way in (layer if params.bidirectional else (layer,))]
    return list(zip(parts(len(params.layers), params.bidirectional), ways, strict=True))


def onednn_weights(params: Any) -> list[list[Any]]:
    """W_xh, W_hh and the bias of each part as vectors, with the gates in oneDNN's order: of a GRU z, r, n.

    Its GRU has one bias, and lbr_gru another for the last gate's recurrent part.
    """
    found: list[list[Any]] = [[], [], []]
    for _, own in onednn_parts(params):
        bias = own.b_h
        if params.cell in ONEDNN_SWAPPED:
            b_r, b_z, b_n = np.split(own.b_x + own.b_h, 3)
            apart = np.split(own.b_x, 3)[2], np.split(own.b_h, 3)[2]
            bias = np.concatenate([b_z, b_r, *(apart if params.cell == "gru" else (b_n,))])
        arrays = (onednn_order(params.cell, own.W_xh), onednn_order(params.cell, own.W_hh), bias)
        for kind, array in zip(found, arrays, strict=True):
            kind.append(array.reshape(-1))
    return found


def onednn_gradients(params: Any, weights: list[list[Any]], gradients: tuple[Any, Any, Any]) -> Results:
    """Gradients by rnncore's names, of what :func:`onednn_weights` gives, part after part."""
    cell, found = params.cell, {}
    cut = [
        np.split(whole, np.cumsum([len(part) for part in kind])[:-1])
        for whole, kind in zip(gradients, weights, strict=True)
    ]
    for (prefix, own), dW_xh, dW_hh, db in zip(onednn_parts(params), *cut, strict=True):
        found[f"{prefix}W_xh"] = onednn_order(cell, dW_xh.reshape(own.W_xh.shape))
        found[f"{prefix}W_hh"] = onednn_order(cell, dW_hh.reshape(own.W_hh.shape))
        if cell not in ONEDNN_SWAPPED:
            found[f"{prefix}b_h"] = db
            continue
        db_z, db_r, *db_n = np.split(db, 4 if cell == "gru" else 3)
        found[f"{prefix}b_x"] = np.concatenate([db_r, db_z, db_n[0]])
        found[f"{prefix}b_h"] = np.concatenate([db_r, db_z, db_n[-1]])
    return found


def onednn_order(cell: str, rows: Any) -> Any:
    """Rows with the first two gates of a GRU exchanged, there or back."""
    if cell not in ONEDNN_SWAPPED:
        return rows
    first, second, last = np.split(rows, 3)
    return np.concatenate([second, first, last])


class Handle:
    """A problem that oneDNN has built, until nobody needs it any more."""

    def __init__(self, library: ctypes.CDLL, value: ctypes.c_void_p) -> None:
        if not value:
            raise UnavailableError("oneDNN refuses these sizes")
        self.library, self.value = library, value

    def __del__(self) -> None:
        if hasattr(self, "value"):
            self.library.onednn_destroy(self.value)


PEERS: dict[str, Callable[[Problem, int], Contender]] = {
    "numpy": by_numpy,
    "torch": by_torch,
    "jax": by_jax,
    "onednn": by_onednn,
}
THREADED = ("torch", "onednn")


def chosen(names: str) -> list[str]:
    """The peers of a comma-separated list; "all" and "none" are lists, too."""
    wanted = {"all": list(PEERS), "none": []}.get(names, [name.strip() for name in names.split(",")])
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise ValueError(f"peers are {', '.join(PEERS)}, all, none, got {', '.join(unknown)}")
    return wanted


def versions() -> dict[str, str]:
    """Of what cannot be asked by a package's name."""
    found = onednn_library()
    return {} if isinstance(found, str) else {"oneDNN": found.version}


def require_same(own: Contender, peer: Contender, what: str, dtype: str = "float32") -> None:
    """Raise unless a peer finds the same loss and the same gradients, of all arrays that it names."""
    own.run(1)
    peer.before()
    peer.run(1)
    found, expected = peer.results(), own.results()
    wrong = error({name: expected[name] for name in found if name in expected}, found)
    if wrong > TOLERANCE[dtype]:
        raise RuntimeError(f"{what}: the gradient of {peer.name} differs by {wrong:.2g}")


def error(expected: Results, found: Results) -> float:
    """The largest difference, each array measured by its own largest element."""
    worst = 0.0
    for name, array in expected.items():
        size = max(float(np.abs(array).max(initial=0.0)), 1e-30)
        difference = float(np.abs(np.asarray(found[name], np.float64) - array).max(initial=0.0)) / size
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst

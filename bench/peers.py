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
from engines import NAMES
from native import BuildError, OneDnn, pointer
from problems import Problem
from timing import Contender, Results, repeat

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
    found: dict[str, Results] = {}

    def call() -> None:
        found["last"] = numpy_gradient(task)

    return Contender("numpy", 1, repeat(call), lambda: found["last"])


def numpy_gradient(task: Problem) -> Results:
    """Backpropagation through time as in the textbook; with B = 1 the recurrent products are matrix times vector."""
    params, shape = task.params, task.shape
    W_xh, W_hh, W_hy = params.W_xh, params.W_hh, params.W_hy
    T, B, H = shape.T, shape.B, shape.H
    x = one_hot(task) if shape.tokens else task.inputs.reshape(T * B, -1)
    h = np.empty((T + 1, B, H), task.dtype)
    h[0] = task.state
    z = (x @ W_xh.T + params.b_h).reshape(T, B, H)
    recur(h, z, W_hh)
    rows = h[1:].reshape(T * B, H)
    loss, dy = cross_entropy(rows @ W_hy.T + params.b_y, task.labels.reshape(-1))
    dz, dstate = recur_back(h, (dy @ W_hy).reshape(T, B, H), W_hh)
    return {
        "loss": np.array(loss),
        "dstate": dstate,
        "W_xh": dz.T @ x,
        "W_hh": dz.T @ h[:-1].reshape(T * B, H),
        "W_hy": dy.T @ rows,
        "b_h": dz.sum(axis=0),
        "b_y": dy.sum(axis=0),
    }


def one_hot(task: Problem) -> Any:
    """Rows of zeros with one 1; a product with them is faster than np.add.at for the gradient."""
    x = np.zeros((task.inputs.size, task.shape.X), task.dtype)
    x[np.arange(task.inputs.size), task.inputs.reshape(-1)] = 1
    return x


def recur(h: Any, z: Any, W_hh: Any) -> None:
    """``h_t = tanh(z_t + W_hh h_{t-1})``, where z has the inputs' part; h (T + 1, B, H) begins with the first state."""
    if h.shape[1] == 1:
        h, z = h[:, 0], z[:, 0]
        for t in range(len(z)):
            np.tanh(z[t] + W_hh @ h[t], out=h[t + 1])
    else:
        for t in range(len(z)):
            np.tanh(z[t] + h[t] @ W_hh.T, out=h[t + 1])


def recur_back(h: Any, dh: Any, W_hh: Any) -> tuple[Any, Any]:
    """``dz_t = (dh_t + W_hh^T dz_{t+1}) (1 - h_t²)``, as (T B, H), and dJ/d(initial state)."""
    T, B, H = dh.shape
    slope = 1 - h[1:] ** 2
    dz = np.empty_like(dh)
    carried = np.zeros((B, H), dh.dtype)
    for t in reversed(range(T)):
        np.multiply(dh[t] + carried, slope[t], out=dz[t])
        carried = (dz[t, 0] @ W_hh)[None] if B == 1 else dz[t] @ W_hh
    return dz.reshape(T * B, H), carried


def cross_entropy(y: Any, labels: Any) -> tuple[float, Any]:
    """J and ``dy = softmax(y) - label``."""
    rows = np.arange(len(y))
    y -= y.max(axis=1, keepdims=True)
    p = np.exp(y)
    sums = p.sum(axis=1, keepdims=True)
    loss = float(np.log(sums).sum() - y[rows, labels].sum())
    p /= sums
    p[rows, labels] -= 1
    return loss, p


def by_torch(task: Problem, threads: int) -> Contender:
    """nn.RNN, Linear and cross_entropy with reduction="sum", eager; tokens become one-hot vectors in the call."""
    need("torch")
    import torch

    rnn, linear, state = torch_net(task)
    inputs, labels = torch.from_numpy(task.inputs), torch.from_numpy(task.labels.reshape(-1))
    leaves = [*rnn.parameters(), *linear.parameters(), state]
    found: dict[str, Any] = {}
    X, dtype = task.shape.X, state.dtype
    one_hot: Any = torch.nn.functional.one_hot

    def call() -> None:
        x = one_hot(inputs, X).to(dtype) if task.shape.tokens else inputs
        h, _ = rnn(x, state)
        y = linear(h.flatten(0, 1))
        loss = torch.nn.functional.cross_entropy(y, labels, reduction="sum")
        found["last"] = (loss, torch.autograd.grad(loss, leaves))

    def results() -> Results:
        loss, (dW_xh, dW_hh, db_h, _, dW_hy, db_y, dstate) = found["last"]
        values = (loss.detach(), dstate[0], dW_xh, dW_hh, dW_hy, db_h, db_y)
        return dict(zip(("loss", "dstate", *NAMES), (value.numpy() for value in values), strict=True))

    return Contender("torch", threads, repeat(call), results, lambda: torch.set_num_threads(threads), threads > 1)


def torch_net(task: Problem) -> tuple[Any, Any, Any]:
    """nn.RNN and Linear with the problem's weights (PyTorch's second bias is 0), and the initial state."""
    import torch

    params, dtype = task.params, getattr(torch, task.dtype)
    rnn = torch.nn.RNN(task.shape.X, task.shape.H, dtype=dtype)
    linear = torch.nn.Linear(task.shape.H, task.shape.V, dtype=dtype)
    values: dict[Any, Any] = {
        rnn.weight_ih_l0: params.W_xh, rnn.weight_hh_l0: params.W_hh, rnn.bias_ih_l0: params.b_h,
        rnn.bias_hh_l0: np.zeros_like(params.b_h), linear.weight: params.W_hy, linear.bias: params.b_y,
    }  # fmt: skip
    with torch.no_grad():
        for tensor, array in values.items():
            tensor.copy_(torch.from_numpy(array))
    return rnn, linear, torch.from_numpy(task.state[None].copy()).requires_grad_()


def by_jax(task: Problem, threads: int) -> Contender:
    """One jit of the gradient: lax.scan over the steps, the products that need not wait outside of it."""
    need("jax")
    if threads != 1:
        raise UnavailableError("XLA is held to one thread")
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    weights = {name: jax.device_put(getattr(task.params, name)) for name in NAMES}
    inputs, labels, state = (jax.device_put(array) for array in (task.inputs, task.labels, task.state))
    step = jax_gradient(task.shape.tokens)
    found: dict[str, Any] = {}

    def call() -> None:
        found["last"] = jax.block_until_ready(step(weights, state, inputs, labels))

    def results() -> Results:
        loss, (gradients, dstate) = found["last"]
        arrays = {"loss": loss, "dstate": dstate, **gradients}
        return {name: np.asarray(array) for name, array in arrays.items()}

    return Contender("jax", 1, repeat(call), results)


@lru_cache
def jax_gradient(tokens: bool) -> Callable[..., Any]:
    """The jitted function; it compiles once per shape and dtype."""
    import jax
    import jax.numpy as jnp

    def loss(weights: Any, state: Any, inputs: Any, labels: Any) -> Any:
        part = weights["W_xh"].T[inputs] if tokens else inputs @ weights["W_xh"].T

        def step(h: Any, a: Any) -> tuple[Any, Any]:
            h = jnp.tanh(a + h @ weights["W_hh"].T)
            return h, h

        _, h = jax.lax.scan(step, state, part + weights["b_h"])
        y = h @ weights["W_hy"].T + weights["b_y"]
        return -jnp.take_along_axis(jax.nn.log_softmax(y), labels[..., None], axis=-1).sum()

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


@lru_cache
def onednn_library() -> OneDnn | str:
    """The library, or why there is none."""
    try:
        return OneDnn()
    except BuildError as why:
        return str(why)


def by_onednn(task: Problem, threads: int) -> Contender:
    """The vanilla_rnn primitive, called from C++ without a Python call for each run."""
    found = onednn_library()
    if isinstance(found, str):
        raise UnavailableError(found)
    if task.dtype != "float32" or task.shape.tokens:
        raise UnavailableError("its RNN has float32 vectors only")
    library, shape, params = found.library, task.shape, task.params
    library.onednn_threads(threads)
    sizes = np.array([shape.T, shape.B, shape.X, shape.H, shape.V], np.int64)
    arrays = (sizes, task.inputs, task.state, task.labels, *(getattr(params, name) for name in NAMES))
    handle = Handle(library, ctypes.c_void_p(library.onednn_create(*map(pointer, arrays))))

    def results() -> Results:
        gradients = {name: np.empty_like(getattr(params, name)) for name in NAMES}
        dstate, loss = np.empty_like(task.state), np.empty(1)
        library.onednn_results(handle.value, *map(pointer, (*gradients.values(), dstate, loss)))
        return {"loss": loss[0], "dstate": dstate, **gradients}

    return Contender(
        "onednn", threads, lambda k: library.onednn_run(handle.value, k), results,
        lambda: library.onednn_threads(threads), threads > 1,
    )  # fmt: skip


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


def error(expected: Results, found: Results) -> float:
    """The largest difference, each array measured by its own largest element."""
    worst = 0.0
    for name, array in expected.items():
        size = max(float(np.abs(array).max(initial=0.0)), 1e-30)
        difference = float(np.abs(np.asarray(found[name], np.float64) - array).max(initial=0.0)) / size
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst

"""Independent witnesses: what PyTorch and JAX differentiate automatically is what rnncore computes."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from nets import Array, Net, Results, as_states, fold, make_net, named_states, run_bptt, run_parts, state_arrays
from rounding import Grid, bounds, grid

import rnncore
from rnncore.cells import CELLS

if TYPE_CHECKING:
    import torch

SIZES = {"T": 9, "B": 4, "X": 5, "H": 7, "V": 6}
NETS = {
    "vectors": SIZES,
    "tokens": {**SIZES, "tokens": True},
    "distributions": {**SIZES, "labels": "distributions"},
    "some labels": {**SIZES, "labels": "some"},
    "the last label": {**SIZES, "labels": "last"},
    "long": {**SIZES, "T": 60, "B": 2},
    "wide": {"T": 5, "B": 8, "X": 33, "H": 64, "V": 40},
    "saturated": {**SIZES, "scale": 6.0},
    "no initial state": {**SIZES, "state": False},
    "own loss": {**SIZES, "own_loss": True},
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("cell", CELLS)
def test_pytorch(cell: str, name: str, engine: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    net = net_of(cell, name)
    compare(net, witness(by_pytorch, cell, name), results_of(net, engine))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("cell", CELLS)
def test_jax(cell: str, name: str, engine: str) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    net = net_of(cell, name)
    compare(net, witness(by_jax, cell, name), results_of(net, engine))


def net_of(cell: str, name: str) -> Net:
    return make_net(dtype="float64", cell=cell, **NETS[name])


@lru_cache(maxsize=2)
def witness(by: Callable[[Net], Results], cell: str, name: str) -> Results:
    return by(net_of(cell, name))


def results_of(net: Net, engine: str) -> Results:
    """J, outputs, states and gradients, by bptt, or by backward for a net with a loss of the user's own as well."""
    if net.own_loss:
        calls = {"forward", "backward"}
        results = run_parts(net, engine)
        results["forward loss"] = fold(results["cross_entropy losses"])
    else:
        calls = {"forward", "bptt"}
        out = rnncore.forward(net.params, net.inputs, state=net.state, backend=engine)
        results = {"forward y": out.y, "forward h": out.h} | run_bptt(net, engine)
    pairs = {name: name.split(" ", 1) for name in results if name != "bptt losses"}
    return {name: results[long] for long, (call, name) in pairs.items() if call in calls}


def compare(net: Net, expected: Results, found: Results) -> None:
    """Within 10^-12 of the largest element; and, where both have the cell's equations in one form, each side off by
    no more than ``rounding`` allows, with 1 % for the terms in u^2."""
    assert expected.keys() >= found.keys()
    for array in found:
        error = np.abs(found[array] - expected[array])
        assert error.max() <= 1e-12 * np.abs(expected[array]).max(), array
    if net.params.cell in ("rnn", "rnn_relu", "lstm"):
        for array, allowed in bounds(net, 2.0**-53).items():
            if array in found:
                assert (np.abs(found[array] - expected[array]) <= 2.02 * allowed).all(), array


def leaves(net: Net, g: Grid, by: Callable[[Array], Any]) -> dict[str, Any]:
    """What J is differentiated by, as the other library has it, by the names of the gradients."""
    arrays = {f"grads.{name}": by(array) for name, array in g.w.items()}
    states = as_states(by(array) for array in g.states)
    return arrays | named_states("dstate", net.params.cell, states) | {"dinputs": by(g.x)}


def first_states(cell: str, at: dict[str, Any]) -> tuple[Any, ...]:
    letters = CELLS[cell].states
    return tuple(at[f"dstate {letter}" if len(letters) > 1 else "dstate"] for letter in letters)


def by_pytorch(net: Net) -> Results:
    """PyTorch's own layers, or the cell that it does not have written out; a linear layer and cross_entropy."""
    import torch

    g, cell = grid(net), net.params.cell
    at = leaves(net, g, lambda array: torch.tensor(array, requires_grad=True))
    w = {name: at[f"grads.{name}"] for name in g.w}
    states = first_states(cell, at)
    h, last = torch_steps(cell, w, at["dinputs"], states) if cell in BY_HAND else torch_layer(cell, w, at, states)
    y = h @ w["W_hy"].T + w["b_y"]
    labels = torch.tensor(np.asarray(net.labels))
    if labels.ndim == 3:
        loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), labels.flatten(0, 1), reduction="sum")
    else:
        loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="sum")
    own = (h * torch.tensor(g.dh)).sum()
    for state, dstate in zip(last, g.dstates, strict=True):
        own = own + (state * torch.tensor(dstate)).sum()
    (loss + own).backward()
    seen = {"y": y, "h": h, "loss": loss} | named_states("state", cell, as_states(last))
    results = {array: leaf.grad.numpy() for array, leaf in at.items()}
    return results | {name: tensor.detach().numpy() for name, tensor in seen.items()}


BY_HAND = ("gru_reset_before",)


def torch_layer(
    cell: str, w: dict[str, "torch.Tensor"], at: dict[str, "torch.Tensor"], states: tuple["torch.Tensor", ...]
) -> tuple["torch.Tensor", tuple["torch.Tensor", ...]]:
    """nn.RNN, nn.LSTM, nn.GRU, which order the gates as rnncore does; the second bias is zero for a cell with one."""
    import torch

    x, H = at["dinputs"], w["W_hh"].shape[1]
    layers = {
        "rnn": torch.nn.RNN(x.shape[2], H, dtype=torch.float64),
        "rnn_relu": torch.nn.RNN(x.shape[2], H, nonlinearity="relu", dtype=torch.float64),
        "lstm": torch.nn.LSTM(x.shape[2], H, dtype=torch.float64),
        "gru": torch.nn.GRU(x.shape[2], H, dtype=torch.float64),
    }
    b_x, b_h = (w["b_x"], w["b_h"]) if "b_x" in w else (w["b_h"], torch.zeros_like(w["b_h"]))
    weights = {"weight_ih_l0": w["W_xh"], "weight_hh_l0": w["W_hh"], "bias_ih_l0": b_x, "bias_hh_l0": b_h}
    first = as_states(state[None] for state in states)
    h, last = torch.func.functional_call(layers[cell], weights, (x, first))
    return h, tuple(state[0] for state in state_arrays(last))


def torch_steps(
    cell: str, w: dict[str, "torch.Tensor"], x: "torch.Tensor", states: tuple["torch.Tensor", ...]
) -> tuple["torch.Tensor", tuple["torch.Tensor", ...]]:
    """gru_reset_before, step by step."""
    import torch

    assert cell == "gru_reset_before"
    (h,), all_h = states, []
    W_r, W_z, W_n = w["W_hh"].chunk(3)
    b_r, b_z, b_n = w["b_h"].chunk(3)
    for x_t in x:
        a_r, a_z, a_n = (w["b_x"] + x_t @ w["W_xh"].T).chunk(3, dim=1)
        r, z = torch.sigmoid(a_r + b_r + h @ W_r.T), torch.sigmoid(a_z + b_z + h @ W_z.T)
        n = torch.tanh(a_n + b_n + (r * h) @ W_n.T)
        h = (1 - z) * n + z * h
        all_h.append(h)
    return torch.stack(all_h), (h,)


def jax_step(cell: str, w: dict[str, Any], x: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
    """One step of a cell, written down with jax.numpy: the states after."""
    import jax
    import jax.numpy as jnp

    S, h = jax.nn.sigmoid, states[0]
    if cell in ("rnn", "rnn_relu"):
        z = w["b_h"] + x @ w["W_xh"].T + h @ w["W_hh"].T
        return (jnp.tanh(z) if cell == "rnn" else jax.nn.relu(z),)
    if cell == "lstm":
        i, f, g, o = jnp.split(w["b_h"] + x @ w["W_xh"].T + h @ w["W_hh"].T, 4, axis=1)
        c = S(f) * states[1] + S(i) * jnp.tanh(g)
        return S(o) * jnp.tanh(c), c
    a_r, a_z, a_n = jnp.split(w["b_x"] + x @ w["W_xh"].T, 3, axis=1)
    u_r, u_z, u_n = jnp.split(w["b_h"] + h @ w["W_hh"].T, 3, axis=1)
    r, z = S(a_r + u_r), S(a_z + u_z)
    if cell == "gru":
        n = jnp.tanh(a_n + r * u_n)
    else:
        H = h.shape[1]
        n = jnp.tanh(a_n + w["b_h"][2 * H :] + (r * h) @ w["W_hh"][2 * H :].T)
    return ((1 - z) * n + z * h,)


def by_jax(net: Net) -> Results:
    """The network written down with jax.numpy and jax.lax.scan."""
    import jax
    import jax.numpy as jnp

    g, cell = grid(net), net.params.cell
    jax.config.update("jax_enable_x64", True)

    def J(at: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        w = {name: at[f"grads.{name}"] for name in g.w}

        def step(states: tuple[Any, ...], x_t: Any) -> tuple[tuple[Any, ...], Any]:
            states = jax_step(cell, w, x_t, states)
            return states, states[0]

        last, h = jax.lax.scan(step, first_states(cell, at), at["dinputs"])
        y = h @ w["W_hy"].T + w["b_y"]
        loss = -(g.l * jax.nn.log_softmax(y)).sum()
        own = (h * g.dh).sum() + sum((a * b).sum() for a, b in zip(last, g.dstates, strict=True))
        return loss + own, {"loss": loss, "y": y, "h": h, **named_states("state", cell, as_states(last))}

    (_, seen), grads = jax.value_and_grad(J, has_aux=True)(leaves(net, g, jnp.asarray))
    return {name: np.asarray(array) for name, array in (grads | seen).items()}

"""Independent witnesses: what PyTorch and JAX differentiate automatically is what rnncore computes."""

import numpy as np
import pytest
from nets import Array, Net, Results, make_net, run_bptt
from rounding import bounds, grid

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
}
NAMES = ("W_xh", "W_hh", "W_hy", "b_h", "b_y")


@pytest.mark.parametrize("name", NETS)
def test_pytorch(name: str, engine: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    net = make_net(dtype="float64", **NETS[name])
    compare(net, by_pytorch(net), run_bptt(net, engine))


@pytest.mark.parametrize("name", NETS)
def test_jax(name: str, engine: str) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    net = make_net(dtype="float64", **NETS[name])
    compare(net, by_jax(net), run_bptt(net, engine))


def compare(net: Net, expected: Results, found: Results) -> None:
    """Each side may be off by what ``rounding`` allows; 1 % for the terms in u^2."""
    for array, allowed in bounds(net, 2.0**-53).items():
        if f"bptt {array}" in found:
            error = np.abs(found[f"bptt {array}"] - expected[array])
            assert (error <= 2.02 * allowed).all(), array


def by_pytorch(net: Net) -> Results:
    """nn.RNN, a linear layer and cross_entropy; PyTorch's second bias is zero."""
    import torch

    def tensor(array: Array) -> torch.Tensor:
        return torch.tensor(np.asarray(array, np.float64), requires_grad=True)

    g = grid(net)
    W_xh, W_hh, W_hy, b_h, b_y = (tensor(getattr(g, name)) for name in NAMES)
    x, h_0 = tensor(g.x), tensor(g.h_0)
    rnn = torch.nn.RNN(x.shape[2], len(b_h), dtype=torch.float64)
    weights = {"weight_ih_l0": W_xh, "weight_hh_l0": W_hh, "bias_ih_l0": b_h, "bias_hh_l0": torch.zeros_like(b_h)}
    h, _ = torch.func.functional_call(rnn, weights, (x, h_0[None]))
    y = h @ W_hy.T + b_y
    labels = torch.tensor(np.asarray(net.labels))
    if labels.ndim == 3:
        loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), labels.flatten(0, 1), reduction="sum")
    else:
        loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="sum")
    loss.backward()
    leaves = {"dstate": h_0, "dinputs": x, "grads.W_xh": W_xh, "grads.W_hh": W_hh, "grads.W_hy": W_hy}
    leaves |= {"grads.b_h": b_h, "grads.b_y": b_y}
    return {array: leaf.grad.numpy() for array, leaf in leaves.items()} | {"loss": loss.detach().numpy()}


def by_jax(net: Net) -> Results:
    """The network written down with jax.numpy and jax.lax.scan."""
    import jax
    import jax.numpy as jnp

    def J(weights: dict, x: Array, h_0: Array) -> jax.Array:
        def step(h: jax.Array, x_t: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(weights["b_h"] + x_t @ weights["W_xh"].T + h @ weights["W_hh"].T)
            return h, h @ weights["W_hy"].T + weights["b_y"]

        _, y = jax.lax.scan(step, h_0, x)
        return -(g.l * jax.nn.log_softmax(y)).sum()

    g = grid(net)
    jax.config.update("jax_enable_x64", True)
    weights = {name: getattr(g, name) for name in NAMES}
    loss, (grads, dx, dh_0) = jax.value_and_grad(J, argnums=(0, 1, 2))(weights, g.x, g.h_0)
    results = {f"grads.{name}": grads[name] for name in NAMES} | {"loss": loss, "dinputs": dx, "dstate": dh_0}
    return {name: np.asarray(array) for name, array in results.items()}

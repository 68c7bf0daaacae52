"""What another library computes with its arrays is what rnncore computes with them: outputs, states, gradients.

Keras and ONNX stand here twice: as equations, written from their documentation one number of H at a time and in their
own order, and as themselves where they are installed.
"""

import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import Params, convert
from rnncore.cells import CELLS
from rnncore.convert.torch import MODES

Array = np.ndarray
TORCH_CELLS = tuple(MODES.values())
T, B, X, H, V, E = 7, 3, 4, 5, 6, 3
PLAIN = (1, False)
DEEP = [(2, False), (3, False), (1, True), (2, True), (3, True)]
"""Numbers of layers, and whether there are two directions."""


def make(
    cell: str,
    outputs: int = V,
    dtype: str = "float64",
    seed: int = 0,
    depth: tuple[int, bool] = PLAIN,
    tokens: bool | None = None,
) -> Params:
    """Parameters of which none is zero."""
    layers, both = depth
    params = rnncore.init_params(cell, X, H, outputs, layers=layers, bidirectional=both, tokens=tokens, dtype=dtype)
    params.flat = np.random.default_rng(seed).normal(scale=0.6, size=params.flat.size)
    return params


def data(seed: int = 1, depth: tuple[int, bool] = PLAIN) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    state = (B, H) if depth == PLAIN else (depth[0] * (1 + depth[1]), B, H)
    return {"x": rng.normal(size=(T, B, X)), "h": rng.normal(size=state), "c": rng.normal(size=state)}


def states(cell: str, d: dict[str, Array]) -> Any:
    return (d["h"], d["c"]) if cell == "lstm" else d["h"]


def close(a: Any, b: Any, tolerance: float = 1e-12) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a.shape == b.shape and bool(np.abs(a - b).max() <= tolerance * np.abs(b).max())


# The equations of Keras and of ONNX, for real numbers and for complex ones, whose imaginary part is a derivative.


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def relu(z: Array) -> Array:
    return np.where(z.real > 0, z, 0)


def keras_steps(cell: str, weights: list[Array], dense: list[Array], d: dict[str, Array]) -> tuple[Array, ...]:
    """y (T, B, V) and the last states, as the call methods of SimpleRNNCell, LSTMCell, GRUCell and Dense have them."""
    kernel, recurrent_kernel, bias = weights
    h, c, y = d["h"], d["c"], []
    for x in d["x"]:
        if cell in ("rnn", "rnn_relu"):
            h = (np.tanh if cell == "rnn" else relu)(x @ kernel + bias + h @ recurrent_kernel)
        elif cell == "lstm":
            z = x @ kernel + h @ recurrent_kernel + bias
            z_0, z_1, z_2, z_3 = (z[:, n * H : (n + 1) * H] for n in range(4))
            c = sigmoid(z_1) * c + sigmoid(z_0) * np.tanh(z_2)
            h = sigmoid(z_3) * np.tanh(c)
        else:
            input_bias, recurrent_bias = bias if cell == "gru" else (bias, np.zeros(3 * H))
            x_z, x_r, x_h = np.split(x @ kernel + input_bias, 3, axis=1)
            if cell == "gru":
                recurrent_z, recurrent_r, recurrent_h = np.split(h @ recurrent_kernel + recurrent_bias, 3, axis=1)
            else:
                recurrent_z, recurrent_r = np.split(h @ recurrent_kernel[:, : 2 * H], 2, axis=1)
            z, r = sigmoid(x_z + recurrent_z), sigmoid(x_r + recurrent_r)
            recurrent_h = r * recurrent_h if cell == "gru" else (r * h) @ recurrent_kernel[:, 2 * H :]
            h = z * h + (1 - z) * np.tanh(x_h + recurrent_h)
        y.append(h @ dense[0] + dense[1])
    return (np.array(y), h, c) if cell == "lstm" else (np.array(y), h)


def onnx_steps(op: str, arrays: dict[str, Array], attributes: dict[str, Any], d: dict[str, Array]) -> tuple[Array, ...]:
    """y (T, B, V) and the last states, as the operators' documentation has them."""
    W, R, bias = arrays["W"][0], arrays["R"][0], arrays["B"][0]
    H_t, C_t, y = d["h"], d["c"], []
    gates = {"RNN": "i", "LSTM": "iofc", "GRU": "zrh"}[op]
    Wg, Rg = (dict(zip(gates, np.split(M, len(gates)), strict=True)) for M in (W, R))
    Wb, Rb = (dict(zip(gates, np.split(b, len(gates)), strict=True)) for b in np.split(bias, 2))
    for X_t in d["x"]:
        a = {g: X_t @ Wg[g].T + H_t @ Rg[g].T + Wb[g] + Rb[g] for g in gates}
        if op == "RNN":
            H_t = (relu if attributes["activations"] == ["Relu"] else np.tanh)(a["i"])
        elif op == "LSTM":
            i, o, f, c = sigmoid(a["i"]), sigmoid(a["o"]), sigmoid(a["f"]), np.tanh(a["c"])
            C_t = f * C_t + i * c
            H_t = o * np.tanh(C_t)
        else:
            z, r = sigmoid(a["z"]), sigmoid(a["r"])
            if attributes["linear_before_reset"]:
                h = np.tanh(X_t @ Wg["h"].T + (r * (H_t @ Rg["h"].T + Rb["h"])) + Wb["h"])
            else:
                h = np.tanh(X_t @ Wg["h"].T + (r * H_t) @ Rg["h"].T + Rb["h"] + Wb["h"])
            H_t = (1 - z) * h + z * H_t
        y.append(H_t @ arrays["W_hy"].T + arrays["b_y"])
    return (np.array(y), H_t, C_t) if op == "LSTM" else (np.array(y), H_t)


def keras_arrays(cell: str, seed: int) -> tuple[list[Array], list[Array]]:
    rng = np.random.default_rng(seed)
    rows = len(rnncore.cells.CELLS[cell].gates) * H
    shapes = [(X, rows), (H, rows), (2, rows) if cell == "gru" else (rows,)]
    return [rng.normal(scale=0.6, size=s) for s in shapes], [rng.normal(scale=0.6, size=s) for s in ((H, V), (V,))]


def onnx_arrays(cell: str, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    rows = len(rnncore.cells.CELLS[cell].gates) * H
    shapes = {"W": (1, rows, X), "R": (1, rows, H), "B": (1, 2 * rows), "W_hy": (V, H), "b_y": (V,)}
    return {name: rng.normal(scale=0.6, size=shape) for name, shape in shapes.items()}


ONNX_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn": ("RNN", {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", {"linear_before_reset": 0}),
}


def stacked(
    parts: list[Any], both: bool, step: Callable[[Any, dict[str, Array]], tuple[Array, ...]], d: dict[str, Array]
) -> tuple[Array, ...]:
    """h (T, B, D*H) of the last layer and all last states, from what gives those of one layer in one direction."""
    x, last = d["x"], []
    for first in range(0, len(parts), 1 + both):
        outputs = []
        for way in range(1 + both):
            turn = -1 if way else 1
            h, *state = step(parts[first + way], {"x": x[::turn], "h": d["h"][first + way], "c": d["c"][first + way]})
            outputs.append(h[::turn])
            last.append(state)
        x = np.concatenate(outputs, axis=-1)
    return x, *map(np.array, zip(*last, strict=True))


def compare(
    params: Params,
    found: tuple[Array, ...],
    along: Callable[[int, float], tuple[Params, tuple[Array, ...]]],
    depth: tuple[int, bool] = PLAIN,
) -> None:
    """Outputs and last states, and the derivative of J = sum(dy * y) + sum(dstate * state) in some directions.

    along(seed, step) gives a direction, converted, and what its library finds at the parameters plus i step times it.
    """
    d, rng = data(depth=depth), np.random.default_rng(5)
    out = rnncore.forward(params, d["x"], state=states(params.cell, d), backend="numpy")
    last = out.state if params.cell == "lstm" else (out.state,)
    assert len(found) == 1 + len(last)
    assert all(close(ours, theirs) for ours, theirs in zip((out.y, *last), found, strict=True))
    dy, *dlast = (rng.normal(size=array.shape) for array in found)
    dstate = tuple(dlast) if params.cell == "lstm" else dlast[0]
    grads = rnncore.backward(params, out, dy=dy, dstate=dstate, backend="numpy").grads
    for seed in range(10, 15):
        direction, turned = along(seed, 1e-30)
        derivative = sum((w * z.imag).sum() for w, z in zip((dy, *dlast), turned, strict=True)) / 1e-30
        assert close(grads.flat @ direction.flat, derivative)


@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_of_keras(cell: str) -> None:
    weights, dense = keras_arrays(cell, 2)
    params = convert.from_keras(cell, weights, dense)
    assert params.cell == cell

    def along(seed: int, step: float) -> tuple[Params, tuple[Array, ...]]:
        to, to_dense = keras_arrays(cell, seed)
        turned = (
            [a + 1j * step * b for a, b in zip(*pair, strict=True)] for pair in ((weights, to), (dense, to_dense))
        )
        return convert.from_keras(cell, to, to_dense), keras_steps(cell, *turned, data())

    compare(params, keras_steps(cell, weights, dense, data()), along)


@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_of_onnx(cell: str) -> None:
    (op, attributes), arrays = ONNX_NODES[cell], onnx_arrays(cell, 2)
    params = convert.from_onnx(op, **arrays, **attributes)
    assert params.cell == cell

    def along(seed: int, step: float) -> tuple[Params, tuple[Array, ...]]:
        to = onnx_arrays(cell, seed)
        turned = {name: arrays[name] + 1j * step * to[name] for name in arrays}
        return convert.from_onnx(op, **to, **attributes), onnx_steps(op, turned, attributes, data())

    compare(params, onnx_steps(op, arrays, attributes, data()), along)


def keras_stack(cell: str, depth: tuple[int, bool], seed: int) -> tuple[list[Any], list[list[Array]], list[Array]]:
    """What get_weights() gives for each layer, its halves by direction, and what it gives for a Dense."""
    (layers, both), rng = depth, np.random.default_rng(seed)
    rows, width = len(CELLS[cell].gates) * H, (1 + both) * H
    parts = []
    for layer in range(layers):
        shapes = [(width if layer else X, rows), (H, rows), (2, rows) if cell == "gru" else (rows,)]
        parts += [[rng.normal(scale=0.6, size=shape) for shape in shapes] for _ in range(1 + both)]
    whole = [[*parts[n], *parts[n + 1]] for n in range(0, len(parts), 2)] if both else parts
    return whole, parts, [rng.normal(scale=0.6, size=shape) for shape in ((width, V), (V,))]


def keras_stack_steps(
    cell: str, parts: list[list[Array]], dense: list[Array], depth: tuple[int, bool]
) -> tuple[Array, ...]:
    identity = [np.eye(H), np.zeros(H)]
    h, *last = stacked(parts, depth[1], lambda part, d: keras_steps(cell, part, identity, d), data(depth=depth))
    return h @ dense[0] + dense[1], *last


@pytest.mark.parametrize("depth", DEEP)
@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_of_stacks_and_directions_of_keras(cell: str, depth: tuple[int, bool]) -> None:
    layers, parts, dense = keras_stack(cell, depth, 2)

    def convert_it(layers: list[Any], dense: list[Array]) -> Params:
        return convert.from_keras(cell, layers if len(layers) > 1 else layers[0], dense, bidirectional=depth[1])

    def along(seed: int, step: float) -> tuple[Params, tuple[Array, ...]]:
        to_layers, to, to_dense = keras_stack(cell, depth, seed)
        turned = [[a + 1j * step * b for a, b in zip(*pair, strict=True)] for pair in zip(parts, to, strict=True)]
        turned_dense = [a + 1j * step * b for a, b in zip(dense, to_dense, strict=True)]
        return convert_it(to_layers, to_dense), keras_stack_steps(cell, turned, turned_dense, depth)

    params = convert_it(layers, dense)
    assert (len(params.layers), params.bidirectional, params.cell) == (*depth, cell)
    compare(params, keras_stack_steps(cell, parts, dense, depth), along, depth)


def onnx_stack(cell: str, depth: tuple[int, bool], seed: int) -> tuple[list[Any], dict[str, Array]]:
    (layers, both), rng = depth, np.random.default_rng(seed)
    D, rows, (op, attributes) = 1 + both, len(CELLS[cell].gates) * H, ONNX_NODES[cell]
    attributes = {**attributes, "direction": "bidirectional" if both else "forward"}
    if op == "RNN":
        attributes["activations"] = attributes["activations"] * D
    nodes = []
    for layer in range(layers):
        shapes = {"W": (D, rows, D * H if layer else X), "R": (D, rows, H), "B": (D, 2 * rows)}
        arrays = {name: rng.normal(scale=0.6, size=shape) for name, shape in shapes.items()}
        nodes.append((op, arrays, attributes))
    return nodes, {name: rng.normal(size=shape) for name, shape in (("W_hy", (V, D * H)), ("b_y", (V,)))}


def onnx_stack_steps(
    cell: str, nodes: list[Any], output: dict[str, Array], depth: tuple[int, bool]
) -> tuple[Array, ...]:
    op, attributes = ONNX_NODES[cell]
    identity = {"W_hy": np.eye(H), "b_y": np.zeros(H)}
    ways = [{name: a[way : way + 1] for name, a in node[1].items()} for node in nodes for way in range(1 + depth[1])]
    h, *last = stacked(
        ways, depth[1], lambda part, d: onnx_steps(op, {**part, **identity}, attributes, d), data(depth=depth)
    )
    return h @ output["W_hy"].T + output["b_y"], *last


@pytest.mark.parametrize("depth", DEEP)
@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_of_stacks_and_directions_of_onnx(cell: str, depth: tuple[int, bool]) -> None:
    nodes, output = onnx_stack(cell, depth, 2)

    def along(seed: int, step: float) -> tuple[Params, tuple[Array, ...]]:
        to, to_output = onnx_stack(cell, depth, seed)
        turned = [
            (op, {name: a + 1j * step * b[1][name] for name, a in arrays.items()}, attributes)
            for (op, arrays, attributes), b in zip(nodes, to, strict=True)
        ]
        turned_output = {name: output[name] + 1j * step * to_output[name] for name in output}
        params = convert.from_onnx_nodes(to, **to_output)
        return params, onnx_stack_steps(cell, turned, turned_output, depth)

    params = convert.from_onnx_nodes(nodes, **output)
    assert (len(params.layers), params.bidirectional, params.cell) == (*depth, cell)
    compare(params, onnx_stack_steps(cell, nodes, output, depth), along, depth)
    if depth[0] == 1:
        op, arrays, attributes = nodes[0]
        assert convert.from_onnx(op, **arrays, **attributes, **output) == params


@pytest.mark.parametrize("depth", [PLAIN, *DEEP])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_the_names_of_pytorch(cell: str, depth: tuple[int, bool]) -> None:
    """weight_ih_l[k]_reverse and so on are the arrays that its documentation says they are."""
    params = make(cell, depth=depth)
    named, linear = convert.to_torch(params)
    assert len(named) == 4 * depth[0] * (1 + depth[1])
    assert linear is not None
    assert (linear["weight"] == params.W_hy).all()
    assert (linear["bias"] == params.b_y).all()
    for layer, ours in enumerate(params.layers):
        for way, suffix in zip(ours if depth[1] else [ours], ("", "_reverse"), strict=False):
            end = f"_l{layer}{suffix}"
            assert (named[f"weight_ih{end}"] == way.W_xh).all()
            assert (named[f"weight_hh{end}"] == way.W_hh).all()
            assert (named[f"bias_ih{end}"] == (way.b_x if cell == "gru" else way.b_h)).all()
            assert (named[f"bias_hh{end}"] == (way.b_h if cell == "gru" else 0)).all()
    shuffled = dict(reversed(named.items()))
    assert convert.from_torch(shuffled, linear, cell=cell) == params


def from_and_to_keras(params: Params) -> Params:
    return convert.from_keras(params.cell, *convert.to_keras(params), bidirectional=params.bidirectional)


def from_and_to_onnx(params: Params) -> Params:
    if len(params.layers) > 1:
        nodes, output = convert.to_onnx_nodes(params)
        return convert.from_onnx_nodes(nodes, **output)
    op, arrays, attributes = convert.to_onnx(params)
    return convert.from_onnx(op, **arrays, **attributes)


def from_and_to_torch(params: Params) -> Params:
    return convert.from_torch(*convert.to_torch(params), cell=params.cell)


@pytest.mark.parametrize("depth", [PLAIN, *DEEP])
@pytest.mark.parametrize("how", [from_and_to_keras, from_and_to_onnx, from_and_to_torch])
@pytest.mark.parametrize("outputs", [0, V])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_out_and_back_is_exact(
    cell: str, dtype: str, outputs: int, how: Callable[[Params], Params], depth: tuple[int, bool]
) -> None:
    params = make(cell, outputs, dtype, depth=depth)
    if cell == "gru_reset_before":
        if how is from_and_to_torch:
            with pytest.raises(ValueError, match=r"in PyTorch, whose nn\.GRU resets after the product"):
                how(params)
            return
        if how is from_and_to_keras:  # has one bias; two are exact if one is zeros
            for name in params.names():
                if name.endswith("b_h"):
                    params[name] = np.zeros(3 * H)
    before = params.copy()
    back = how(params)
    assert back == params
    assert back.flat.tobytes() == params.flat.tobytes()
    back.flat[:] = 0
    assert params == before


@pytest.mark.parametrize("depth", [PLAIN, (2, True)])
@pytest.mark.parametrize("cell", CELLS)
def test_what_goes_out_is_a_copy(cell: str, depth: tuple[int, bool]) -> None:
    params = make(cell, depth=depth)
    weights, dense = convert.to_keras(params)
    nodes, output = convert.to_onnx_nodes(params)
    given = [*(weights if depth == PLAIN else itertools.chain(*weights)), *(dense or ()), *output.values()]
    given += [array for _, arrays, _ in nodes for array in arrays.values()]
    assert nodes[0][2] is not nodes[-1][2] or depth == PLAIN
    if cell in TORCH_CELLS:
        named, linear = convert.to_torch(params)
        given += [*named.values(), *(linear or {}).values()]
    for array in given:
        assert not np.shares_memory(array, params.flat)
        assert array.flags.c_contiguous


@pytest.mark.parametrize("cell", CELLS)
def test_in_and_out_is_exact_with_one_bias(cell: str) -> None:
    weights, dense = keras_arrays(cell, 3)
    back, back_dense = convert.to_keras(convert.from_keras(cell, weights, dense))
    assert all((a == b).all() and b.flags.c_contiguous for a, b in zip(weights + dense, back + back_dense, strict=True))
    (op, attributes), arrays = ONNX_NODES[cell], onnx_arrays(cell, 3)
    if not cell.startswith("gru"):
        arrays["B"][:, arrays["B"].size // 2 :] = 0
    found_op, found, found_attributes = convert.to_onnx(convert.from_onnx(op, **arrays, **attributes))
    assert (found_op, found_attributes) == (op, {"hidden_size": H, **attributes})
    assert all((arrays[name] == found[name]).all() for name in arrays)


@pytest.mark.parametrize("cell", CELLS)
def test_a_bias_that_is_not_there_is_zeros(cell: str) -> None:
    weights, dense = keras_arrays(cell, 4)
    params = convert.from_keras(cell, weights[:2], dense[:1])
    assert all(not getattr(params, name).any() for name in params.names() if name.startswith("b"))
    assert (params.W_hy == dense[0].T).all()
    assert params.W_hh.any()
    arrays = onnx_arrays(cell, 4)
    op, attributes = ONNX_NODES[cell]
    params = convert.from_onnx(op, arrays["W"], arrays["R"], **attributes)
    assert params.outputs == 0
    assert not params.b_h.any()
    if cell in TORCH_CELLS:
        named, _ = convert.to_torch(params)
        del named["bias_ih_l0"], named["bias_hh_l0"]
        assert convert.from_torch(named, cell=cell) == params
        assert Params.from_torch(named, {"weight": arrays["W_hy"]}, cell=cell).outputs == V


def test_two_biases_are_added_once_in_the_dtype_of_the_result() -> None:
    named, _ = convert.to_torch(make("lstm", dtype="float32"))
    named["bias_hh_l0"] = np.random.default_rng(0).normal(size=4 * H).astype("f4")
    assert (convert.from_torch(named).b_h == named["bias_ih_l0"] + named["bias_hh_l0"]).all()
    wide = convert.from_torch(named, dtype="float64")
    assert (wide.b_h == named["bias_ih_l0"].astype("f8") + named["bias_hh_l0"].astype("f8")).all()
    params = make("gru_reset_before", dtype="float32")
    assert (np.sort(convert.to_keras(params)[0][2]) == np.sort(params.b_x + params.b_h)).all()


def test_the_dtype_is_that_of_the_arrays_or_said() -> None:
    (op, attributes), arrays = ONNX_NODES["gru"], onnx_arrays("gru", 0)
    narrow = {name: array.astype("f4") for name, array in arrays.items()}
    assert convert.from_onnx(op, **narrow, **attributes).dtype == np.float32
    assert convert.from_onnx(op, **{**narrow, "b_y": arrays["b_y"]}, **attributes).dtype == np.float64
    half = {name: array.astype("f2") for name, array in arrays.items()}
    assert convert.from_onnx(op, **half, **attributes, dtype="float32").dtype == np.float32
    weights, dense = keras_arrays("rnn", 0)
    assert convert.from_keras("rnn", [w.tolist() for w in weights], dense, dtype="float32").dtype == np.float32


def test_reset_names_the_gru() -> None:
    weights, dense = keras_arrays("gru_reset_before", 0)
    assert convert.from_keras("gru", weights, dense, reset="before") == convert.from_keras(
        "gru_reset_before", weights, dense
    )
    both, dense = keras_arrays("gru", 0)
    assert convert.from_keras("gru", both, dense, reset="after").cell == "gru"


def test_attributes_of_onnx_that_change_nothing() -> None:
    arrays = onnx_arrays("lstm", 0)
    params = convert.from_onnx("LSTM", **arrays)
    assert params == convert.from_onnx(
        "LSTM",
        **arrays,
        P=np.zeros((1, 3 * H)),
        activations=[b"Sigmoid", b"tanh", "Tanh"],
        activation_alpha=[1.0],
        activation_beta=None,
        clip=None,
        direction=b"forward",
        hidden_size=H,
        input_forget=0,
        layout=1,
    )
    assert convert.from_onnx("RNN", **onnx_arrays("rnn", 0)).cell == "rnn"
    assert convert.from_onnx("GRU", **onnx_arrays("gru", 0)).cell == "gru_reset_before"


# PyTorch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def torch_net(
    torch: Any, cell: str, linear: bool, dtype: str = "float64", depth: tuple[int, bool] = PLAIN, **more: Any
) -> tuple[Any, Any]:
    torch.manual_seed(3)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    (layers, both), reads = depth, more.pop("reads", X)
    more = {"dtype": getattr(torch, dtype), "num_layers": layers, "bidirectional": both, **more}
    if cell == "rnn_relu":
        more["nonlinearity"] = "relu"
    return kind(reads, H, **more), torch.nn.Linear((1 + both) * H, V, dtype=more["dtype"]) if linear else None


@pytest.mark.parametrize("depth", [PLAIN, *DEEP])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorch_computes_the_same(torch: Any, cell: str, linear: bool, depth: tuple[int, bool]) -> None:
    module, output = torch_net(torch, cell, linear, depth=depth)
    params = Params.from_torch(module, output)
    assert (params.cell, len(params.layers), params.bidirectional, params.tokens) == (cell, *depth, None)
    compare_with_torch(torch, params, module, output)


@pytest.mark.parametrize("depth", [PLAIN, (3, False), (2, True)])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_what_goes_to_pytorch_computes_the_same(torch: Any, cell: str, linear: bool, depth: tuple[int, bool]) -> None:
    params = make(cell, V if linear else 0, depth=depth)
    module, output = params.to_torch()
    assert (output is None) != linear
    compare_with_torch(torch, params, module, output)


def torch_states(torch: Any, cell: str, d: dict[str, Any]) -> Any:
    """States as PyTorch has them: (L*D, B, H), of one layer in one direction too."""
    h, c = (d[name] if d[name].ndim == 3 else d[name][None] for name in "hc")
    return (h, c) if cell == "lstm" else h


def compare_with_torch(torch: Any, params: Params, module: Any, linear: Any) -> None:
    """Outputs, last states, and all gradients of a loss on every output and state that there is."""
    d, rng = data(depth=(len(params.layers), params.bidirectional)), np.random.default_rng(5)
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in d.items()}
    h, last = module(leaves["x"], torch_states(torch, params.cell, leaves))
    last = last if params.cell == "lstm" else (last,)
    y = () if linear is None else (linear(h),)
    found = (*y, h, *(state.reshape(d["h"].shape) for state in last))
    weights = [rng.normal(size=tuple(array.shape)) for array in found]
    sum((torch.tensor(w) * array).sum() for w, array in zip(weights, found, strict=True)).backward()

    out = rnncore.forward(params, d["x"], state=states(params.cell, d), backend="numpy")
    ours = (*(() if linear is None else (out.y,)), out.h, *(out.state if params.cell == "lstm" else (out.state,)))
    assert all(close(a, b.detach()) for a, b in zip(ours, found, strict=True))
    dy = None if linear is None else weights.pop(0)
    dh, *dlast = weights
    dstate = tuple(dlast) if params.cell == "lstm" else dlast[0]
    back = rnncore.backward(params, out, dy=dy, dh=dh, dstate=dstate, need_dinputs=True, backend="numpy")
    for way, suffix in ways_of(back.grads):
        assert close(way.W_xh, getattr(module, f"weight_ih{suffix}").grad)
        assert close(way.W_hh, getattr(module, f"weight_hh{suffix}").grad)
        assert close(way.b_h, getattr(module, f"bias_hh{suffix}").grad)
        assert close(way.b_x if params.cell == "gru" else way.b_h, getattr(module, f"bias_ih{suffix}").grad)
    if linear is not None:
        assert close(back.grads.W_hy, linear.weight.grad)
        assert close(back.grads.b_y, linear.bias.grad)
    assert close(back.dinputs, leaves["x"].grad)
    firsts = back.dstate if params.cell == "lstm" else (back.dstate,)
    assert all(close(a, leaves[name].grad) for a, name in zip(firsts, "hc", strict=False))


def ways_of(params: Params) -> Iterator[tuple[Any, str]]:
    """Each layer in each direction, and what PyTorch's names of its arrays end with."""
    for number, layer in enumerate(params.layers):
        for way, suffix in zip(layer if params.bidirectional else [layer], ("", "_reverse"), strict=False):
            yield way, f"_l{number}{suffix}"


@pytest.mark.parametrize("depth", [PLAIN, (2, True)])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_an_embedding_of_pytorch_in_front(torch: Any, cell: str, depth: tuple[int, bool]) -> None:
    """Outputs and states of tokens are the same, and gradients obey the chain rule of the product W_ih E^T."""
    module, linear = torch_net(torch, cell, linear=True, depth=depth, reads=E)
    embedding = torch.nn.Embedding(X, E, padding_idx=1, dtype=torch.float64)
    params = Params.from_torch(module, linear, embedding=embedding)
    assert (params.inputs, params.tokens) == (X, True)
    for given in (embedding.weight, embedding.state_dict(), embedding.weight.detach().numpy()):
        assert Params.from_torch(module, linear, embedding=given) == params
    tokens = np.random.default_rng(0).integers(0, X, (T, B))
    d = data(depth=depth)
    h, last = module(embedding(torch.tensor(tokens)), torch_states(torch, cell, {n: torch.tensor(d[n]) for n in "hc"}))
    y, last = linear(h), last if cell == "lstm" else (last,)
    out = rnncore.forward(params, tokens, state=states(cell, d), backend="numpy")
    ours = out.y, out.h, *(out.state if cell == "lstm" else (out.state,))
    theirs = y, h, *(state.reshape(d["h"].shape) for state in last)
    assert all(close(a, b.detach()) for a, b in zip(ours, theirs, strict=True))
    dy = np.random.default_rng(1).normal(size=(T, B, V))
    (torch.tensor(dy) * y).sum().backward()
    grads = rnncore.backward(params, out, dy=dy, backend="numpy").grads
    table = embedding.weight.detach().numpy()
    first = [pair for pair in ways_of(grads) if "_l0" in pair[1]]
    assert all(close(way.W_xh @ table, getattr(module, f"weight_ih{end}").grad) for way, end in first)
    moved = sum(way.W_xh.T @ getattr(module, f"weight_ih{end}").detach().numpy() for way, end in first)
    moved[1] = 0  # padding_idx: that row is not trained
    assert close(moved, embedding.weight.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_an_embedding_comes_back_as_a_frozen_identity(torch: Any, cell: str, dtype: str) -> None:
    params = make(cell, dtype=dtype, depth=(2, True), tokens=True)
    with pytest.warns(UserWarning, match="the embedding is an identity, to stay frozen: .* moves that product") as seen:
        embedding, module, linear = params.to_torch(embedding=True)
    assert [warning.filename for warning in seen] == [__file__]
    assert not embedding.weight.requires_grad
    assert all(p.requires_grad for p in (*module.parameters(), *linear.parameters()))
    back = Params.from_torch(module, linear, embedding=embedding)
    assert (back, back.tokens) == (params, True)
    tokens = np.random.default_rng(0).integers(0, X, (T, B))
    h, _ = module(embedding(torch.tensor(tokens)))
    out = rnncore.forward(params, tokens, backend="numpy")
    assert close(out.y, linear(h).detach(), 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_of_pytorch(torch: Any, kind: str) -> None:
    """A loop over steps, as those modules are used."""
    torch.manual_seed(0)
    more = [{"nonlinearity": "relu"}, {"nonlinearity": "tanh"}] if kind == "RNNCell" else [{}]
    for options in more:
        module = getattr(torch.nn, kind)(X, H, dtype=torch.float64, **options)
        params = Params.from_torch(module)
        assert params.cell == {"relu": "rnn_relu", "tanh": "rnn"}.get(options.get("nonlinearity", ""), params.cell)
        assert Params.from_torch(module.state_dict(), cell=params.cell) == params
        d = data()
        now: Any = states(params.cell, {name: torch.tensor(array) for name, array in d.items()})
        for x in d["x"]:
            now = module(torch.tensor(x), now)
        out = rnncore.forward(params, d["x"], state=states(params.cell, d), backend="numpy")
        pairs = zip(out.state, now, strict=True) if kind == "LSTMCell" else [(out.state, now)]
        assert all(close(a, b.detach()) for a, b in pairs)


@pytest.mark.filterwarnings("ignore:.*torch.*:DeprecationWarning")  # PyTorch's own
def test_wrapped_modules(torch: Any) -> None:
    module, linear = torch_net(torch, "lstm", linear=True, depth=(2, True))
    params = Params.from_torch(module, linear)
    compiled, parallel = torch.compile(module), torch.nn.DataParallel(module)
    for wrapped in (compiled, parallel, torch.nn.DataParallel(compiled)):
        assert Params.from_torch(wrapped, torch.nn.DataParallel(linear)) == params
        assert Params.from_torch(wrapped.state_dict(), torch.compile(linear).state_dict()) == params
        assert convert.from_torch(wrapped.state_dict(), linear.state_dict()) == params


@pytest.mark.filterwarnings("ignore:.*torch.*:DeprecationWarning")  # PyTorch's own
def test_a_whole_model_of_pytorch(torch: Any) -> None:
    lstm, fc = torch_net(torch, "lstm", linear=True, depth=(2, False), reads=E)
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(X, E, dtype=torch.float64), "lstm": lstm, "fc": fc})
    params = Params.from_torch(lstm, fc, embedding=model["embed"])
    for wrapped in (model, torch.nn.DataParallel(model), torch.compile(model)):
        state = wrapped.state_dict()
        assert Params.from_torch(state, "fc", embedding="embed") == params
        assert Params.from_torch(state, "fc", embedding="embed").tokens is True
        with pytest.raises(ValueError, match=r"say linear='.*fc' if that .*, embedding='.*embed' if"):
            Params.from_torch(state)


def test_batch_first_is_a_warning(torch: Any) -> None:
    module, linear = torch_net(torch, "gru", linear=True, batch_first=True)
    with pytest.warns(
        UserWarning, match=r"recurrent has batch_first=True.* \(T, B, \.\.\.\): x\.swapaxes\(0, 1\)"
    ) as seen:
        params = Params.from_torch(module, linear)
    assert [warning.filename for warning in seen] == [__file__]
    x = data()["x"]
    y = linear(module(torch.tensor(x.swapaxes(0, 1)))[0]).detach()
    assert close(rnncore.forward(params, x, backend="numpy").y, y.swapaxes(0, 1))


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_bptt_is_cross_entropy_and_backward_of_pytorch(torch: Any, cell: str) -> None:
    module, linear = torch_net(torch, cell, linear=True)
    params = Params.from_torch(module, linear)
    tokens, labels = np.random.default_rng(0).integers(0, [[[X]], [[V]]], (2, T, B))
    y = linear(module(torch.nn.functional.one_hot(torch.tensor(tokens), X).double())[0])
    loss = torch.nn.functional.cross_entropy(y.flatten(0, 1), torch.tensor(labels).flatten(), reduction="sum")
    loss.backward()
    result = rnncore.bptt(params, tokens, labels, backend="numpy")
    assert close(result.loss, loss.item())
    leaves = {"W_xh": module.weight_ih_l0, "W_hh": module.weight_hh_l0, "b_h": module.bias_hh_l0}
    leaves |= {"W_hy": linear.weight, "b_y": linear.bias}
    leaves |= {"b_x": module.bias_ih_l0} if cell == "gru" else {}
    assert set(leaves) == set(params.names())
    assert all(close(getattr(result.grads, name), leaf.grad) for name, leaf in leaves.items())


@pytest.mark.parametrize("depth", [PLAIN, (2, True), (3, False)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_modules_there_and_back(torch: Any, cell: str, dtype: str, depth: tuple[int, bool]) -> None:
    params = make(cell, dtype=dtype, depth=depth)
    before = torch.random.get_rng_state()
    module, linear = params.to_torch()
    assert (torch.random.get_rng_state() == before).all()
    assert module.weight_hh_l0.dtype == getattr(torch, dtype)
    assert all(p.requires_grad and p.device.type == "cpu" for p in (*module.parameters(), *linear.parameters()))
    assert Params.from_torch(module, linear) == params
    assert Params.from_torch(module.state_dict(), linear.state_dict(), cell=cell) == params
    with torch.no_grad():
        module.weight_hh_l0 += 1
        linear.bias += 1
    assert params == make(cell, dtype=dtype, depth=depth)
    again = Params.from_torch(module, linear)
    first = next(name for name in params.names() if name.endswith("W_hh"))
    assert (again[first] != params[first]).all()
    again.flat[:] = 0
    assert module.weight_ih_l0.any()


def test_pytorch_in_float32_there_and_back(torch: Any) -> None:
    module, linear = torch_net(torch, "gru", linear=True, dtype="float32")
    other, other_linear = Params.from_torch(module, linear).to_torch()
    for a, b in ((module, other), (linear, other_linear)):
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_modules_without_biases_and_of_other_dtypes(torch: Any) -> None:
    module, _ = torch_net(torch, "lstm", linear=False, bias=False)
    linear = torch.nn.Linear(H, V, bias=False, dtype=torch.float64)
    params = Params.from_torch(module, linear)
    assert not params.b_h.any()
    assert not params.b_y.any()
    h, _ = module(torch.zeros(T, X, dtype=torch.float64))
    assert close(rnncore.forward(params, np.zeros((T, X)), backend="numpy").h, h.detach())
    for half in (torch.bfloat16, torch.float16):
        with pytest.raises(TypeError, match=r"weight_ih_l0 must be float32 or float64, got .*float16.*; dtype="):
            Params.from_torch(module.to(half))
        narrow = Params.from_torch(module, dtype="float32")
        assert narrow.dtype == np.float32
        assert (narrow.W_hh == module.weight_hh_l0.detach().float().numpy()).all()


def test_pytorch_is_imported_by_to_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    params = make("lstm")
    assert Params.from_torch(*convert.to_torch(params)) == params
    with pytest.raises(ImportError, match="torch"):
        params.to_torch()


# ONNX and Keras themselves


def onnx_model(onnx: Any, params: Params) -> tuple[Any, list[str]]:
    """A graph of recurrent nodes, with what brings Y of one to X of the next, and the names of its outputs."""
    nodes, output = convert.to_onnx_nodes(params)
    D, graph, arrays, read = 1 + params.bidirectional, [], {"shape": np.array([0, 0, -1])}, "X"
    lstm = params.cell == "lstm"
    lasts = []
    for n, (op, weights, attributes) in enumerate(nodes):
        arrays |= {f"{name}{n}": array for name, array in weights.items()}
        last = [f"Y_h{n}", *([f"Y_c{n}"] if lstm else [])]
        first = [f"h{n}", *([f"c{n}"] if lstm else [])]
        names = [read, f"W{n}", f"R{n}", f"B{n}", "", *first]
        graph += [onnx.helper.make_node(op, names, [f"Y{n}", *last], **attributes)]
        graph += [onnx.helper.make_node("Transpose", [f"Y{n}"], [f"turned{n}"], perm=[0, 2, 1, 3])]
        graph += [onnx.helper.make_node("Reshape", [f"turned{n}", "shape"], [f"out{n}"])]
        read, lasts = f"out{n}", [*lasts, *last]
    arrays |= output
    graph += [onnx.helper.make_node("Transpose", ["W_hy"], ["W_yh"])]
    graph += [onnx.helper.make_node("MatMul", [read, "W_yh"], ["product"])]
    graph += [onnx.helper.make_node("Add", ["product", "b_y"], ["y"])]
    double, letters = (
        onnx.TensorProto.DOUBLE if params.dtype == np.float64 else onnx.TensorProto.FLOAT,
        "hc"[: 1 + lstm],
    )
    inputs = {"X": (T, B, X), **{f"{letter}{n}": (D, B, H) for n in range(len(nodes)) for letter in letters}}
    outputs = ["y", *lasts]
    made = onnx.helper.make_graph(
        graph,
        "stack",
        [onnx.helper.make_tensor_value_info(name, double, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, double, ["?"] * 3) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model)
    return model, outputs


def read_onnx(onnx: Any, model: Any) -> list[tuple[str, dict[str, Array], dict[str, Any]]]:
    """The recurrent nodes of a model as from_onnx_nodes takes them, as a user would read them."""
    there = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return [
        (
            node.op_type,
            {
                letter: there[name]
                for letter, name in zip("XWRBP", node.input, strict=False)
                if name and letter in "WRB"
            },
            {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
        for node in model.graph.node
        if node.op_type in ("RNN", "LSTM", "GRU")
    ]


def check_onnx(
    onnx: Any, params: Params, run: Callable[[Any, dict[str, Array]], list[Array]], tolerance: float
) -> None:
    model, _ = onnx_model(onnx, params)
    d = {name: array.astype(params.dtype) for name, array in data(depth=depth_of(params)).items()}
    feed = {"X": d["x"]}
    D = 1 + params.bidirectional
    for n in range(len(params.layers)):
        for letter in "hc"[: 1 + (params.cell == "lstm")]:
            feed[f"{letter}{n}"] = d[letter].reshape(-1, B, H)[n * D : (n + 1) * D]
    y, *last = run(model, feed)
    out = rnncore.forward(params, d["x"], state=states(params.cell, d), backend="numpy")
    assert close(out.y, y, tolerance)
    for number, state in enumerate(out.state if params.cell == "lstm" else (out.state,)):
        theirs = np.concatenate(last[number :: 1 + (params.cell == "lstm")])
        assert close(state.reshape(theirs.shape), theirs, tolerance)
    output = {"W_hy": params.W_hy, "b_y": params.b_y}
    assert convert.from_onnx_nodes(read_onnx(onnx, model), **output) == params


def depth_of(params: Params) -> tuple[int, bool]:
    return len(params.layers), params.bidirectional


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_onnx_computes_the_same(cell: str, layers: int) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    reference = pytest.importorskip("onnx.reference", reason="this ONNX has no reference evaluator")
    if cell == "rnn_relu":
        pytest.skip("ONNX's reference evaluator knows no Relu in an RNN")
    params = make(cell, depth=(layers, False))
    check_onnx(onnx, params, lambda model, feed: reference.ReferenceEvaluator(model).run(None, feed), 1e-12)


@pytest.mark.parametrize("depth", [PLAIN, *DEEP])
@pytest.mark.parametrize("cell", CELLS)
def test_onnxruntime_computes_the_same(cell: str, depth: tuple[int, bool]) -> None:
    """In float32, which is all that it has for every one of these operators."""
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

    def run(model: Any, feed: dict[str, Array]) -> list[Array]:
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return list(session.run(None, feed))

    check_onnx(onnx, make(cell, dtype="float32", depth=depth), run, 1e-5)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of many sorts
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])  # of an nn.RNN it makes other nodes
def test_onnx_exported_by_pytorch(torch: Any, cell: str, both: bool) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    module, linear = torch_net(torch, cell, linear=True, dtype="float32", depth=(2, both))
    x = data()["x"].astype("float32")
    exported = torch.onnx.export(module.eval(), (torch.tensor(x),), dynamo=True, verbose=False).model_proto
    params = convert.from_onnx_nodes(
        read_onnx(onnx, exported), W_hy=linear.weight.detach().numpy(), b_y=linear.bias.detach().numpy()
    )
    assert params == Params.from_torch(module, linear)
    assert close(rnncore.forward(params, x, backend="numpy").y, linear(module(torch.tensor(x))[0]).detach(), 1e-5)


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras, which computes in float32 whatever it is told."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "numpy"))
    return pytest.importorskip("keras", reason="Keras, or what its backend needs, is not installed")


def keras_layer(keras: Any, cell: str) -> Any:
    kind = {"lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN, "rnn_relu": keras.layers.SimpleRNN}
    more: dict[str, Any] = {"activation": "relu"} if cell == "rnn_relu" else {}
    if cell.startswith("gru"):
        more["reset_after"] = cell == "gru"
    return kind.get(cell, keras.layers.GRU)(H, return_sequences=True, return_state=True, **more)


def without_a_second_bias(params: Params) -> Params:
    """The same net as Keras has it: of reset_after=False, with the sum of both biases."""
    merged = params.copy()
    if params.cell == "gru_reset_before":
        for way in (way for layer in merged.layers for way in (layer if merged.bidirectional else [layer])):
            way.b_x, way.b_h = way.b_x + way.b_h, np.zeros(3 * H)
    return merged


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("depth", [PLAIN, (2, False), (1, True), (2, True)])
@pytest.mark.parametrize("cell", CELLS)
def test_keras_computes_the_same(keras: Any, cell: str, depth: tuple[int, bool]) -> None:
    params = make(cell, dtype="float32", depth=depth)
    d = {name: array.astype("float32") for name, array in data(depth=depth).items()}
    weights, output = convert.to_keras(params)
    layers, last = [], []
    D, x = 1 + depth[1], d["x"].swapaxes(0, 1)
    for number, own in enumerate(weights if depth[0] > 1 else [weights]):
        layer = keras_layer(keras, cell)
        layer = keras.layers.Bidirectional(layer) if depth[1] else layer
        names = "hc" if cell == "lstm" else "h"
        first = [d[name].reshape(-1, B, H)[number * D + way] for way in range(D) for name in names]
        layer(x, initial_state=first)
        layer.set_weights(own)
        x, *state = layer(x, initial_state=first)
        layers.append(layer)
        last += state
    dense = keras.layers.Dense(V)
    dense(x)
    dense.set_weights(output)
    out = rnncore.forward(params, d["x"], state=states(cell, d), backend="numpy")
    assert close(out.y, keras.ops.convert_to_numpy(dense(x)).swapaxes(0, 1), 1e-5)
    ours = out.state if cell == "lstm" else (out.state,)
    for number, state in enumerate(ours):
        theirs = np.array([keras.ops.convert_to_numpy(one) for one in last[number :: len(ours)]])
        assert close(state.reshape(theirs.shape), theirs, 1e-5)
    got = [layer.get_weights() for layer in layers]
    back = convert.from_keras(cell, got, dense.get_weights(), bidirectional=depth[1])
    assert back == without_a_second_bias(params)
    if depth[0] == 1:
        assert convert.from_keras(cell, got[0], dense.get_weights(), bidirectional=depth[1]) == back


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
def test_a_model_of_keras_from_words_to_classes(keras: Any) -> None:
    """An Embedding, a Bidirectional LSTM of two layers, a Dense: here, and back with a frozen identity."""
    kinds = keras.layers
    model = keras.Sequential(
        [
            kinds.Embedding(X, E),
            *(kinds.Bidirectional(kinds.LSTM(H, return_sequences=True)) for _ in range(2)),
            kinds.Dense(V),
        ]
    )
    tokens = np.random.default_rng(0).integers(0, X, (T, B))
    y = keras.ops.convert_to_numpy(model(tokens.T)).swapaxes(0, 1)
    embed, *stack, dense = (layer.get_weights() for layer in model.layers)
    params = convert.from_keras("lstm", stack, dense, bidirectional=True, embedding=embed)
    assert (params.tokens, params.inputs) == (True, X)
    assert close(rnncore.forward(params, tokens, backend="numpy").y, y, 1e-5)
    with pytest.warns(UserWarning, match="training moves that product"):
        identity, *out = convert.to_keras(params, embedding=True)
    again = keras.Sequential(
        [
            kinds.Embedding(X, X, trainable=False),
            *(kinds.Bidirectional(kinds.LSTM(H, return_sequences=True)) for _ in range(2)),
            kinds.Dense(V),
        ]
    )
    again(tokens.T)
    for layer, arrays in zip(again.layers, [identity, *out[0], out[1]], strict=True):
        layer.set_weights(arrays)
    assert close(keras.ops.convert_to_numpy(again(tokens.T)).swapaxes(0, 1), y, 1e-5)
    assert convert.from_keras("lstm", *out, bidirectional=True, embedding=identity) == params


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize(("merge_mode", "factor"), [("sum", 1.0), ("ave", 0.5)])
def test_what_is_said_of_directions_that_are_summed(keras: Any, merge_mode: str, factor: float) -> None:
    kinds = keras.layers
    layer, dense = kinds.Bidirectional(kinds.GRU(H, return_sequences=True), merge_mode=merge_mode), kinds.Dense(V)
    x = data()["x"].astype("float32")
    y = keras.ops.convert_to_numpy(dense(layer(x.swapaxes(0, 1)))).swapaxes(0, 1)
    kernel, bias = dense.get_weights()
    twice = factor * np.concatenate([kernel, kernel])
    params = convert.from_keras("gru", layer.get_weights(), [twice.astype("float32"), bias], bidirectional=True)
    assert close(rnncore.forward(params, x, backend="numpy").y, y, 1e-5)


# State dicts with prefixes, embeddings, numbers that NumPy does not have


@pytest.mark.parametrize("prefix", ["lstm.", "module.", "_orig_mod.", "module._orig_mod.", "model.encoder.lstm."])
def test_one_prefix_is_found(prefix: str) -> None:
    params = make("lstm", depth=(2, True))
    named, linear = convert.to_torch(params)
    assert linear is not None
    prefixed = {prefix + name: array for name, array in named.items()}
    behind = {f"{prefix}fc.{name}": array for name, array in linear.items()}
    assert convert.from_torch(prefixed, linear) == params
    assert convert.from_torch(prefixed, behind) == params
    for said in (f"{prefix}fc", f"{prefix}fc.", f"{prefix}fc".replace("module.", "").replace("_orig_mod.", "")):
        assert convert.from_torch({**prefixed, **behind}, said) == params
    assert Params.from_torch({**behind, **prefixed}, linear=f"{prefix}fc") == params


def test_a_whole_state_dict_with_an_embedding() -> None:
    named, linear = convert.to_torch(make("gru"))
    assert linear is not None
    table = np.random.default_rng(0).normal(size=(9, X))
    whole = {"embed.weight": table, **{f"rnn.{n}": a for n, a in named.items()}}
    whole |= {f"fc.{name}": array for name, array in linear.items()}
    params = convert.from_torch(whole, "fc", embedding="embed")
    assert params == convert.from_torch(named, linear, embedding=table)
    assert params == convert.from_torch(named, linear, embedding={"tok.weight": table})
    two = {**whole, **{f"decoder.{n}": a for n, a in named.items()}}
    alone = {name: array for name, array in two.items() if name.startswith("rnn.")}  # as the message says
    assert convert.from_torch(alone, linear) == make("gru")


def test_an_array_of_a_cell_has_no_layer_in_its_name() -> None:
    named, _ = convert.to_torch(make("gru", outputs=0))
    short = {f"decoder.cell.{name.removesuffix('_l0')}": array for name, array in named.items()}
    assert convert.from_torch(short) == make("gru", outputs=0)


EMBEDDED: list[tuple[str, Callable[..., Params]]] = [
    ("torch", lambda p, **more: convert.from_torch(*convert.to_torch(p), **more)),
    (
        "keras",
        lambda p, **more: convert.from_keras("lstm", *convert.to_keras(p), bidirectional=p.bidirectional, **more),
    ),
    ("onnx", lambda p, **more: on_nodes(*convert.to_onnx_nodes(p), **more)),
]


def on_nodes(nodes: list[Any], output: dict[str, Array], **more: Any) -> Params:
    return convert.from_onnx_nodes(nodes, **output, **more)


@pytest.mark.parametrize("depth", [PLAIN, (2, True)])
@pytest.mark.parametrize(("library", "how"), EMBEDDED)
def test_an_embedding_is_folded_in_float64_and_rounded_once(
    library: str, how: Callable[..., Params], depth: tuple[int, bool]
) -> None:
    table = np.random.default_rng(0).normal(size=(9, X)).astype("float32")
    params = make("lstm", dtype="float32", depth=depth)
    found = how(params, embedding=table)
    assert (found.inputs, found.tokens, found.dtype) == (9, True, np.float32)
    assert how(params, embedding=table, tokens=True) == found
    for (ours, _), (before, _) in zip(ways_of(found), ways_of(params), strict=True):
        expected = before.W_xh
        if ours.W_xh.shape[1] == 9:
            expected = (before.W_xh.astype("f8") @ table.T.astype("f8")).astype("f4")
        assert (ours.W_xh == expected).all()
        assert (ours.W_hh == before.W_hh).all()
        assert (ours.b_h == before.b_h).all()
    assert len([True for ours, _ in ways_of(found) if ours.W_xh.shape[1] == 9]) == 1 + depth[1]
    wide = how(params, embedding=table.astype("f8"))
    assert wide.dtype == np.float64
    assert how(params, embedding=table.astype("f2"), dtype="float32").dtype == np.float32
    tokens = np.random.default_rng(0).integers(0, 9, (T, B))
    x = table.astype("f8")[tokens]
    y = rnncore.forward(params.astype("f8"), x, backend="numpy").y
    assert close(rnncore.forward(wide, tokens, backend="numpy").y, y)
    with pytest.raises(
        ValueError, match="tokens must be None or True with an embedding, which reads tokens, got False"
    ):
        how(params, embedding=table, tokens=False)


@pytest.mark.parametrize(("library", "how"), EMBEDDED)
def test_tokens_are_said(library: str, how: Callable[..., Params]) -> None:
    params = make("lstm")
    assert [how(params, tokens=tokens).tokens for tokens in (None, True, False)] == [None, True, False]
    with pytest.raises(TypeError, match="tokens must be True or False, got int 1"):
        how(params, tokens=1)


def test_identities_of_arrays() -> None:
    params = make("lstm", tokens=True)
    for to, back in ((convert.to_torch, convert.from_torch), (convert.to_keras, None)):
        with pytest.warns(UserWarning, match="the embedding is an identity, to stay frozen") as seen:
            table, weights, head = to(params, embedding=True)  # type: ignore[operator]
        assert [warning.filename for warning in seen] == [__file__]
        if back is not None:
            assert (table["weight"] == np.eye(X)).all()
            assert back(weights, head, embedding=table) == params
        else:
            assert (table[0] == np.eye(X)).all()
            assert convert.from_keras("lstm", weights, head, embedding=table) == params
        with pytest.raises(ValueError, match="embedding must be False for a net that reads vectors, tokens=False"):
            to(make("lstm", tokens=False), embedding=True)  # type: ignore[operator]


def test_a_node_in_reverse_as_the_message_says() -> None:
    """A forward net of the same arrays on sequences turned round is the second half of a bidirectional node."""
    nodes, _ = onnx_stack("gru", (1, True), 0)
    op, arrays, attributes = nodes[0]
    both = convert.from_onnx(op, **arrays, **attributes)
    half = {name: array[1:] for name, array in arrays.items()}
    one = convert.from_onnx(op, **half, **{**attributes, "direction": "forward"})
    x = data()["x"]
    turned = rnncore.forward(one, x[::-1].copy(), backend="numpy").h[::-1]
    assert (rnncore.forward(both, x, backend="numpy").h[..., H:] == turned).all()


def test_bfloat16_is_converted() -> None:
    dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes, which has bfloat16, is not installed")
    params = make("gru", dtype="float32", depth=(2, False))
    named, linear = convert.to_torch(params)
    assert linear is not None
    half = {name: array.astype(dtypes.bfloat16) for name, array in named.items()}
    wide = {name: array.astype(np.float32) for name, array in half.items()}
    found = convert.from_torch(half, linear, dtype="float32")
    assert found == convert.from_torch(wide, linear)
    assert convert.from_torch(half, linear, dtype="float64") == found.astype("float64")
    with pytest.raises(TypeError, match=r"weight_ih_l0 must be float32 or float64, got bfloat16 \(15, 4\); dtype='fl"):
        convert.from_torch(half, linear)
    x = data()["x"].astype(dtypes.bfloat16)
    for given in (x, list(x.swapaxes(0, 1))):
        h = rnncore.forward(found, given, backend="numpy").h
        same = x.astype("f4") if given is x else list(x.astype("f4").swapaxes(0, 1))
        assert np.array_equal(np.concatenate(list(h)), np.concatenate(list(rnncore.forward(found, same).h)))
    with pytest.raises(TypeError, match=r"inputs must be an array of integers or floating-point numbers, got .*int4"):
        rnncore.forward(found, np.ones((T, X), dtypes.int4))
    with pytest.raises(TypeError, match=r"inputs must be an array of integers or floating-point numbers, got .*void"):
        rnncore.forward(found, np.zeros((T, X), "V2"))


def test_bfloat16_of_pytorch_as_inputs(torch: Any) -> None:
    params, x = make("gru"), torch.tensor(data()["x"]).bfloat16()
    h = rnncore.forward(params, x, backend="numpy").h
    assert (h == rnncore.forward(params, x.double().numpy(), backend="numpy").h).all()


# Every error by its text


class Tensor:
    """A tensor of numbers that NumPy does not have."""

    dtype = "torch.bfloat16"

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def numpy(self) -> Any:
        raise TypeError("Got unsupported ScalarType BFloat16")


def module(**more: Any) -> Any:
    plain = {"mode": "LSTM", "num_layers": 1, "bidirectional": False, "proj_size": 0}
    weights = {"weight_ih_l0": np.ones((4 * H, X)), "weight_hh_l0": np.ones((4 * H, H))}
    return SimpleNamespace(**{**plain, "state_dict": lambda: weights, **more})


def torch_dict(rows: int = 4 * H, **more: Any) -> dict[str, Any]:
    return {"weight_ih_l0": np.ones((rows, X)), "weight_hh_l0": np.ones((rows, H)), **more}


def from_torch(*args: Any, **more: Any) -> Any:
    return Params.from_torch(*args, **more)


def from_keras(cell: str, weights: Any, dense: Any = None, **more: Any) -> Any:
    return convert.from_keras(cell, weights, dense, **more)


W, R = np.ones((1, 4 * H, X)), np.ones((1, 4 * H, H))


def from_onnx(op: Any = "LSTM", W: Any = W, R: Any = R, **more: Any) -> Any:
    return convert.from_onnx(op, W, R, **more)


def two_nodes(second: Any = None, op: str = "LSTM", **attributes: Any) -> Any:
    arrays = {"W": W, "R": R}
    return convert.from_onnx_nodes([("LSTM", arrays, {}), (op, second or arrays, attributes)])


LSTM, GRU = [np.ones((X, 4 * H)), np.ones((H, 4 * H))], [np.ones((X, 3 * H)), np.ones((H, 3 * H))]
VE, TE = ValueError, TypeError
MESSAGES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    # PyTorch
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or its state dict, got None", lambda: from_torch(None)),
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or", lambda: from_torch(module(mode="RNN"))),
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or", lambda: from_torch(module(mode=[1]))),
    (
        VE,
        "recurrent must have proj_size=0, for no cell here has projections, got proj_size=3",
        lambda: from_torch(module(proj_size=3)),
    ),
    (VE, "cell must be None or 'lstm', as recurrent is, got str 'gru'", lambda: from_torch(module(), cell="gru")),
    (TE, "linear must be an nn.Linear, its state dict, or None, got int 3", lambda: from_torch(module(), 3)),
    (TE, "linear must be an nn.Linear, its state dict, or None", lambda: from_torch(module(), module())),
    (
        VE,
        "weights must be of a module with proj_size=0, for no cell here has projections, got 'a.weight_hr_l0'",
        lambda: from_torch({"a.weight_ih_l0": 0, "a.weight_hr_l0": 0}),
    ),
    (TE, "weight_hh_l0_reverse must be an array, got None", lambda: from_torch(torch_dict(weight_ih_l0_reverse=0))),
    (TE, "weight_hh_l1 must be an array, got None", lambda: from_torch(torch_dict(weight_ih_l1=0))),
    (
        TE,
        "weight_ih_l1 must be an array, got None beside weight_ih_l123456789",
        lambda: from_torch(torch_dict(weight_ih_l123456789=0)),
    ),
    (
        VE,
        "weight_ih_l1 must have shape (4H, H) = (20, 5), got float64 (20, 10)",
        lambda: from_torch({**torch_dict(), "weight_ih_l1": np.ones((20, 10)), "weight_hh_l1": np.ones((20, 5))}),
    ),
    (
        VE,
        "weight_hh_l1 must have the shape of weight_hh_l0, (20, 5), for all layers of a Params have one H, "
        "got float64 (12, 3)",
        lambda: from_torch({**torch_dict(), "weight_ih_l1": np.ones((12, 5)), "weight_hh_l1": np.ones((12, 3))}),
    ),
    (
        VE,
        "weights must be of one recurrent module, the arrays weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 and "
        "those of further layers, _l1, and directions, _reverse, got str 'weight_ih'",
        lambda: from_torch(torch_dict(weight_ih=0)),
    ),
    (VE, "_reverse, got int 1", lambda: from_torch({**torch_dict(), 1: 0})),
    (
        VE,
        "weights must be of one recurrent module, got arrays of those with the prefixes 'encoder.', 'decoder.': take "
        "the names of one, {name: array for name, array in weights.items() if name.startswith('encoder.')}",
        lambda: from_torch({"encoder.weight_ih_l0": 0, "decoder.weight_ih_l0": 0}),
    ),
    (
        VE,
        "weights has the prefix 'lstm.' before the names of the recurrent arrays, and beside them 'emb.weight', "
        "'fc.weight', 'fc.bias': say linear='fc' if that is the output layer, embedding='emb' if that embeds tokens, "
        "or pass the recurrent arrays alone, {name: array for name, array in weights.items() "
        "if name.startswith('lstm.')}",
        lambda: from_torch({"emb.weight": 0, "lstm.weight_ih_l0": 0, "fc.weight": 0, "fc.bias": 0}),
    ),
    (
        VE,
        "and beside them 'a.0.weight', 'a.1.weight', 'a.2.weight', 'a.3.weight' and 1 more: say linear='a.4' if",
        lambda: from_torch({"lstm.weight_ih_l0": 0, **{f"a.{n}.weight": 0 for n in range(5)}}),
    ),
    (
        VE,
        "and beside them 'bn.weight': say linear='bn' if",
        lambda: from_torch({"lstm.weight_ih_l0": 0, "bn.weight": 0, "fc.weight": 0}, "fc"),
    ),
    (
        VE,
        "weights must be the state dict of a recurrent module, the arrays weight_ih_l0, weight_hh_l0, bias_ih_l0, "
        "bias_hh_l0, perhaps with a prefix before their names, got 'epoch', 'state_dict'; the state dict may be "
        "weights['state_dict']",
        lambda: from_torch({"epoch": 3, "state_dict": torch_dict()}),
    ),
    (
        VE,
        "linear must be the prefix of entries of weights beside the recurrent ones, such as 'fc', 'emb', got 'head'",
        lambda: from_torch({"lstm.weight_ih_l0": 0, "fc.weight": 0, "emb.weight": 0}, "head"),
    ),
    (VE, "the recurrent ones, of which there are none, got 'fc'", lambda: from_torch(torch_dict(), "fc")),
    (VE, "the recurrent ones, of which there are none, got 'fc'", lambda: from_torch(module(), "fc")),
    (
        TE,
        "weights must be a dict of arrays, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, got list []",
        lambda: convert.from_torch([]),  # type: ignore[arg-type]
    ),
    (
        VE,
        "linear must be of one nn.Linear, the arrays weight, bias, got str 'fc.scale'",
        lambda: from_torch(torch_dict(), {"fc.weight": 0, "fc.scale": 0}),
    ),
    (
        VE,
        "linear must be of one nn.Linear, the arrays weight, bias, their names with one prefix at most, got "
        "'fc.weight', 'out.weight'",
        lambda: from_torch(torch_dict(), {"fc.weight": 0, "out.weight": 0}),
    ),
    (
        TE,
        "linear must be a dict of arrays, weight, bias, or the prefix of their names in weights, got int 3",
        lambda: convert.from_torch(torch_dict(), 3),  # type: ignore[arg-type]
    ),
    (
        TE,
        "embedding must be an nn.Embedding, its state dict, its weight, or None, got SimpleNamespace ",
        lambda: from_torch(module(), embedding=module()),
    ),
    (
        VE,
        "embedding must have max_norm=None, for it changes the rows that it reads at each call, got max_norm=1.0; pass "
        "its weight to take the rows as they are",
        lambda: from_torch(module(), embedding=module(num_embeddings=3, max_norm=1.0)),
    ),
    (
        VE,
        "embedding must have shape (X, E) = (9, 4), got float64 (9, 3)",
        lambda: from_torch(module(), embedding=np.ones((9, 3))),
    ),
    (VE, "embedding must have shape (X, E), got float64 (4,)", lambda: from_torch(module(), embedding=np.ones(4))),
    (
        VE,
        "embedding must be of one nn.Embedding, the arrays weight, got str 'bias'",
        lambda: from_torch(module(), embedding={"weight": 0, "bias": 0}),
    ),
    (TE, "embedding must be an array, got None", lambda: from_torch(module(), embedding={})),
    (
        VE,
        "tokens must be None or True with an embedding, which reads tokens, got False",
        lambda: from_torch(module(), embedding=np.ones((9, 4)), tokens=False),
    ),
    (TE, "embedding must be True or False, got int 1", lambda: make("lstm").to_torch(embedding=1)),  # type: ignore[arg-type]
    (
        VE,
        "embedding must be False for a net that reads vectors, tokens=False, got True",
        lambda: make("lstm", tokens=False).to_torch(embedding=True),
    ),
    (TE, "linear.weight must be an array, got None", lambda: from_torch(torch_dict(), {"bias": np.ones(V)})),
    (TE, "weight_hh_l0 must be an array, got None", lambda: from_torch({})),
    (TE, "weight_ih_l0 must be an array, got None", lambda: from_torch({"weight_hh_l0": np.ones((8, 2))})),
    (
        VE,
        "cell must be 'rnn' or 'rnn_relu': weight_hh_l0 float64 (5, 5) can be of both, got None",
        lambda: from_torch(torch_dict(H)),
    ),
    (
        VE,
        "weight_hh_l0 must have shape (H, H), (3H, H) or (4H, H), got float64 (10, 5)",
        lambda: from_torch(torch_dict(2 * H)),
    ),
    (
        VE,
        "weight_hh_l0 must have shape (H, H), (3H, H) or (4H, H), got float64 (20,)",
        lambda: from_torch(torch_dict(weight_hh_l0=np.ones(4 * H))),
    ),
    (
        VE,
        "weight_ih_l0 must have shape (3H, X) = (15, 4), got float64 (20, 4)",
        lambda: from_torch(torch_dict(), cell="gru"),
    ),
    (
        VE,
        "bias_hh_l0 must have shape (4H,) = (20,), got float64 (5,)",
        lambda: from_torch(torch_dict(bias_hh_l0=np.ones(H))),
    ),
    (
        VE,
        "linear.weight must have shape (V, H) = (5, 5), got float64 (5, 6)",
        lambda: from_torch(torch_dict(), {"weight": np.ones((H, V))}),
    ),
    (
        VE,
        "cell must be one of 'rnn', 'rnn_relu', 'lstm', 'gru' in PyTorch, whose nn.GRU resets after the product, "
        "got 'gru_reset_before'",
        lambda: from_torch(torch_dict(3 * H), cell="gru_reset_before"),
    ),
    (VE, "got 'gru_reset_before'", lambda: make("gru_reset_before").to_torch()),
    (VE, "cell must be one of 'rnn',", lambda: from_torch(torch_dict(), cell="elman")),
    (
        TE,
        "weight_ih_l0 must be float32 or float64, got torch.bfloat16; dtype='float32' or 'float64' converts",
        lambda: from_torch(torch_dict(weight_ih_l0=Tensor())),
    ),
    (
        TE,
        "bias_ih_l0 must be float32 or float64, got int64 (20,); dtype='float32' or 'float64' converts",
        lambda: from_torch(torch_dict(bias_ih_l0=np.ones(4 * H, int))),
    ),
    (TE, "params must be a rnncore.Params, got None", lambda: convert.to_torch(None)),  # type: ignore[arg-type]
    # Keras
    (VE, "cell must be one of 'rnn',", lambda: from_keras("SimpleRNN", LSTM)),
    (
        TE,
        "weights must be the list that get_weights() gives, kernel, recurrent_kernel, bias, got ndarray float64 (2,)",
        lambda: from_keras("lstm", np.ones(2)),
    ),
    (
        VE,
        "weights must be the list that get_weights() gives for one layer in one direction, kernel, recurrent_kernel, "
        "bias if there is one, got 6 arrays",
        lambda: from_keras("lstm", LSTM * 3),
    ),
    (
        VE,
        "dense must be the list that get_weights() gives for one layer in one direction, dense kernel, dense bias if "
        "there is one, got 0 arrays",
        lambda: from_keras("lstm", LSTM, []),
    ),
    (
        VE,
        "bias must have shape (2, 3H) with reset='after', which Keras calls reset_after=True, and (3H,) with "
        "reset='before', reset_after=False, got float64 (15,) for cell 'gru'",
        lambda: from_keras("gru", [*GRU, np.ones(3 * H)]),
    ),
    (
        VE,
        "got float64 (2, 15) for cell 'gru_reset_before'",
        lambda: from_keras("gru", [*GRU, np.ones((2, 3 * H))], reset="before"),
    ),
    (VE, "reset must be None but for cell 'gru', got 'before' for", lambda: from_keras("lstm", LSTM, reset="before")),
    (VE, "kernel must have shape (X, 3H) = (4, 15), got float64 (4, 20)", lambda: from_keras("gru", LSTM)),
    (VE, "kernel must have shape (X, 4H), got float64 (5,)", lambda: from_keras("lstm", [np.ones(5), np.ones(5)])),
    (TE, "recurrent_kernel must be an array, got None", lambda: from_keras("lstm", [LSTM[0], None])),
    (
        VE,
        "dense kernel must have shape (H, V) = (5, 5), got float64 (6, 5)",
        lambda: from_keras("lstm", LSTM, [np.ones((V, H))]),
    ),
    (
        TE,
        "kernel must be an array of integers or floating-point numbers, got str 'W'",
        lambda: from_keras("lstm", ["W", LSTM[1]]),
    ),
    (TE, "kernel must be float32 or float64, got int64", lambda: from_keras("rnn", [[[1]], [[1]]])),
    (TE, "dtype must be float32 or float64, got float16", lambda: from_keras("lstm", LSTM, dtype="float16")),
    (TE, "params must be a rnncore.Params, got None", lambda: convert.to_keras(None)),  # type: ignore[arg-type]
    (
        VE,
        "bias if there is one, got 6 arrays; bidirectional=True takes those of a Bidirectional, and a list of such "
        "lists is a stack",
        lambda: from_keras("lstm", LSTM * 3),
    ),
    (
        VE,
        "weights must be the list that get_weights() gives for a Bidirectional, kernel, recurrent_kernel, bias if "
        "there is one, forward and then backward, got 2 arrays",
        lambda: from_keras("lstm", LSTM, bidirectional=True),
    ),
    (TE, "forward and then backward, got None", lambda: from_keras("lstm", None, bidirectional=True)),
    (TE, "bidirectional must be True or False, got int 1", lambda: from_keras("lstm", LSTM, bidirectional=1)),
    (
        VE,
        "weights[1] must be the list that get_weights() gives for one layer in one direction, kernel, "
        "recurrent_kernel, bias if there is one, got 4 arrays",
        lambda: from_keras("lstm", [LSTM, LSTM * 2]),
    ),
    *(
        (
            VE,
            f"merge_mode must be 'concat', for two directions lie side by side here, got {got}; 'sum' is 'concat' if "
            "the next kernel (H, n) is np.concatenate([kernel, kernel]), and 'ave' with half of that",
            lambda mode=mode: from_keras("lstm", LSTM * 2, bidirectional=True, merge_mode=mode),
        )
        for mode, got in (("sum", "str 'sum'"), ("mul", "str 'mul'"), ("ave", "str 'ave'"), (None, "None"))
    ),
    (
        VE,
        "kernel of layer 1 must have shape (H, 4H) = (5, 20), got float64 (4, 20)",
        lambda: from_keras("lstm", [LSTM, LSTM]),
    ),
    (
        VE,
        "recurrent_kernel of layer 1 must have the shape of recurrent_kernel of layer 0, (5, 20), for all layers of a "
        "Params have one H, got float64 (3, 12)",
        lambda: from_keras("lstm", [LSTM, [np.ones((5, 12)), np.ones((3, 12))]]),
    ),
    (
        VE,
        "kernel of layer 0, reverse must have shape (X, 4H) = (4, 20), got float64 (3, 20)",
        lambda: from_keras("lstm", [*LSTM, np.ones((3, 20)), LSTM[1]], bidirectional=True),
    ),
    (
        VE,
        "bias of layer 1 must have shape (2, 3H) with reset='after'",
        lambda: from_keras("gru", [GRU, [np.ones((H, 3 * H)), GRU[1], np.ones(3 * H)]]),
    ),
    (
        VE,
        "embedding must have shape (X, E) = (9, 4), got float64 (9, 3)",
        lambda: from_keras("lstm", LSTM, embedding=[np.ones((9, 3))]),
    ),
    # ONNX
    (VE, "op must be one of 'RNN', 'LSTM', 'GRU', got 'lstm'", lambda: from_onnx("lstm")),
    (TE, "op must be a string, one of 'RNN', 'LSTM', 'GRU', got None", lambda: from_onnx(None)),
    (
        TE,
        "attributes of GRU are activation_alpha, activation_beta, activations, clip, direction, hidden_size, layout, "
        "linear_before_reset, got 'reset'",
        lambda: from_onnx("GRU", reset="before"),
    ),
    (TE, "attributes of RNN are", lambda: from_onnx("RNN", linear_before_reset=1)),
    (
        VE,
        "direction must be 'forward' or 'bidirectional', got str 'reverse'; of a node in 'reverse', say "
        "direction='forward' and turn the sequences round, x[::-1], and the outputs back",
        lambda: from_onnx(direction=b"reverse"),
    ),
    (
        VE,
        "W must have shape (2, 4H, X) = (2, 20, 4), got float64 (1, 20, 4)",
        lambda: from_onnx(direction="bidirectional"),
    ),
    (
        VE,
        "activations of RNN must be ['Tanh', 'Tanh'] or ['Relu', 'Relu'], got list ['Tanh', 'Relu']",
        lambda: from_onnx("RNN", direction="bidirectional", activations=["Tanh", "Relu"]),
    ),
    (
        VE,
        "embedding must have shape (X, E) = (9, 4), got float64 (9, 3)",
        lambda: from_onnx(embedding=np.ones((9, 3))),
    ),
    (
        TE,
        "nodes must be a list of (op_type, arrays, attributes), one for each layer, got list []",
        lambda: convert.from_onnx_nodes([]),
    ),
    (
        TE,
        "nodes[0] must be (op_type, arrays, attributes), got str 'LSTM'",
        lambda: convert.from_onnx_nodes(["LSTM"]),  # type: ignore[list-item]
    ),
    (
        TE,
        "the attributes of nodes[0] must be a dict, got list []",
        lambda: convert.from_onnx_nodes([("LSTM", {}, [])]),  # type: ignore[list-item]
    ),
    (
        TE,
        "the arrays of nodes[0] are W, R, B, P, got str 'X'",
        lambda: convert.from_onnx_nodes([("LSTM", {"X": 0}, {})]),
    ),
    (VE, "op of nodes[1] must be one of 'RNN', 'LSTM', 'GRU', got 'Gemm'", lambda: two_nodes(op="Gemm")),
    (TE, "attributes of GRU are", lambda: two_nodes(op="GRU", reset=1)),
    (VE, "clip of nodes[1] must be None, for no cell here clips, got float 3.0", lambda: two_nodes(clip=3.0)),
    (
        VE,
        "hidden_size of nodes[1] must be H = 5, the columns of R, got 4",
        lambda: two_nodes({"W": np.ones((1, 4 * H, H)), "R": R}, hidden_size=4),
    ),
    (
        VE,
        "nodes must be of one cell in the same directions, got 'lstm' in 1 direction of nodes[0] and 'lstm' in 2 "
        "directions of nodes[1]",
        lambda: two_nodes(direction="bidirectional"),
    ),
    (
        VE,
        "W of nodes[1] must have shape (1, 4H, H) = (1, 20, 5), got float64 (1, 20, 4)",
        lambda: two_nodes(),
    ),
    (
        VE,
        "R of nodes[1] must have the shape of R of nodes[0], (1, 20, 5), for all layers of a Params have one H, got "
        "float64 (1, 12, 3)",
        lambda: two_nodes({"W": np.ones((1, 12, 5)), "R": np.ones((1, 12, 3))}),
    ),
    (
        VE,
        "params must have one layer, got 2; to_onnx_nodes makes a node for each",
        lambda: convert.to_onnx(make("lstm", depth=(2, False))),
    ),
    (TE, "params must be a rnncore.Params, got None", lambda: convert.to_onnx_nodes(None)),  # type: ignore[arg-type]
    (VE, "clip must be None, for no cell here clips, got float 3.0", lambda: from_onnx(clip=3.0)),
    (VE, "input_forget must be 0, for no cell here couples its gates, got int 1", lambda: from_onnx(input_forget=1)),
    (
        VE,
        "activations of LSTM must be ['Sigmoid', 'Tanh', 'Tanh'], got list ['HardSigmoid', 'Tanh', 'Tanh']",
        lambda: from_onnx(activations=[b"HardSigmoid", b"Tanh", b"Tanh"]),
    ),
    (
        VE,
        "activations of RNN must be ['Tanh'] or ['Relu'], got str 'Tanh'",
        lambda: from_onnx("RNN", activations="Tanh"),
    ),
    (VE, "linear_before_reset must be 0 or 1, got int 2", lambda: from_onnx("GRU", linear_before_reset=2)),
    (VE, "hidden_size must be H = 5, the columns of R, got 4", lambda: from_onnx(hidden_size=4)),
    (
        VE,
        "P must be None or zeros, for no cell here has peepholes, got float64 (1, 15)",
        lambda: from_onnx(P=np.ones((1, 3 * H))),
    ),
    (
        VE,
        "W must have shape (1, 4H, X) = (1, 20, 4), got float64 (2, 20, 4)",
        lambda: from_onnx(W=np.ones((2, 4 * H, X)), R=np.ones((2, 4 * H, H))),
    ),
    (VE, "R must have shape (1, 4H, H), got float64 (20, 5)", lambda: from_onnx(R=np.ones((4 * H, H)))),
    (VE, "B must have shape (1, 8H) = (1, 40), got float64 (1, 20)", lambda: from_onnx(B=np.ones((1, 4 * H)))),
    (VE, "W_hy must have shape (V, H) = (3, 5), got float64 (3, 4)", lambda: from_onnx(W_hy=np.ones((3, 4)))),
    (TE, "R must be an array, got None", lambda: from_onnx(R=None)),
    (VE, "hidden must be at least 1, got 0", lambda: from_onnx(W=np.ones((1, 0, X)), R=np.ones((1, 0, 0)))),
    (TE, "params must be a rnncore.Params, got None", lambda: convert.to_onnx(None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "text", "call"), MESSAGES, ids=[text[:60] for _, text, _ in MESSAGES])
def test_message(kind: type[Exception], text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()

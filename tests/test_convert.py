"""What another library computes with its arrays is what rnncore computes with them: outputs, states, gradients.

Keras and ONNX stand here twice: as equations, written from their documentation one number of H at a time and in their
own order, and as themselves where they are installed.
"""

import os
import re
import sys
from collections.abc import Callable
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
T, B, X, H, V = 7, 3, 4, 5, 6


def make(cell: str, outputs: int = V, dtype: str = "float64", seed: int = 0) -> Params:
    """Parameters of which none is zero."""
    params = rnncore.init_params(cell, X, H, outputs, dtype=dtype)
    params.flat = np.random.default_rng(seed).normal(scale=0.6, size=params.flat.size)
    return params


def data(seed: int = 1) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(T, B, X)), "h": rng.normal(size=(B, H)), "c": rng.normal(size=(B, H))}


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


def compare(
    params: Params, found: tuple[Array, ...], along: Callable[[int, float], tuple[Params, tuple[Array, ...]]]
) -> None:
    """Outputs and last states, and the derivative of J = sum(dy * y) + sum(dstate * state) in some directions.

    along(seed, step) gives a direction, converted, and what its library finds at the parameters plus i step times it.
    """
    d, rng = data(), np.random.default_rng(5)
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


def from_and_to_keras(params: Params) -> Params:
    return convert.from_keras(params.cell, *convert.to_keras(params))


def from_and_to_onnx(params: Params) -> Params:
    op, arrays, attributes = convert.to_onnx(params)
    return convert.from_onnx(op, **arrays, **attributes)


def from_and_to_torch(params: Params) -> Params:
    return convert.from_torch(*convert.to_torch(params), cell=params.cell)


@pytest.mark.parametrize("how", [from_and_to_keras, from_and_to_onnx, from_and_to_torch])
@pytest.mark.parametrize("outputs", [0, V])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_out_and_back_is_exact(cell: str, dtype: str, outputs: int, how: Callable[[Params], Params]) -> None:
    params = make(cell, outputs, dtype)
    if cell == "gru_reset_before":
        if how is from_and_to_torch:
            with pytest.raises(ValueError, match=r"in PyTorch, whose nn\.GRU resets after the product"):
                how(params)
            return
        if how is from_and_to_keras:  # has one bias; two are exact if one is zeros
            params.b_h = np.zeros(3 * H)
    before = params.copy()
    back = how(params)
    assert back == params
    assert back.flat.tobytes() == params.flat.tobytes()
    back.flat[:] = 0
    assert params == before


@pytest.mark.parametrize("cell", CELLS)
def test_what_goes_out_is_a_copy(cell: str) -> None:
    params = make(cell)
    weights, dense = convert.to_keras(params)
    given = [*weights, *(dense or ()), *convert.to_onnx(params)[1].values()]
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


def torch_net(torch: Any, cell: str, linear: bool, dtype: str = "float64", **more: Any) -> tuple[Any, Any]:
    torch.manual_seed(3)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    more = {"dtype": getattr(torch, dtype), **more}
    if cell == "rnn_relu":
        more["nonlinearity"] = "relu"
    return kind(X, H, **more), torch.nn.Linear(H, V, dtype=more["dtype"]) if linear else None


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_pytorch_computes_the_same(torch: Any, cell: str, linear: bool) -> None:
    module, output = torch_net(torch, cell, linear)
    compare_with_torch(torch, Params.from_torch(module, output), module, output)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_what_goes_to_pytorch_computes_the_same(torch: Any, cell: str, linear: bool) -> None:
    params = make(cell, V if linear else 0)
    module, output = params.to_torch()
    assert (output is None) != linear
    compare_with_torch(torch, params, module, output)


def compare_with_torch(torch: Any, params: Params, module: Any, linear: Any) -> None:
    """Outputs, last states, and all gradients of a loss on every output and state that there is."""
    d, rng = data(), np.random.default_rng(5)
    leaves = {name: torch.tensor(array, requires_grad=True) for name, array in d.items()}
    first = (leaves["h"][None], leaves["c"][None]) if params.cell == "lstm" else leaves["h"][None]
    h, last = module(leaves["x"], first)
    last = last if params.cell == "lstm" else (last,)
    y = () if linear is None else (linear(h),)
    found = (*y, h, *(state[0] for state in last))
    weights = [rng.normal(size=tuple(array.shape)) for array in found]
    sum((torch.tensor(w) * array).sum() for w, array in zip(weights, found, strict=True)).backward()

    out = rnncore.forward(params, d["x"], state=states(params.cell, d), backend="numpy")
    ours = (*(() if linear is None else (out.y,)), out.h, *(out.state if params.cell == "lstm" else (out.state,)))
    assert all(close(a, b.detach()) for a, b in zip(ours, found, strict=True))
    dy = None if linear is None else weights.pop(0)
    dh, *dlast = weights
    dstate = tuple(dlast) if params.cell == "lstm" else dlast[0]
    back = rnncore.backward(params, out, dy=dy, dh=dh, dstate=dstate, need_dinputs=True, backend="numpy")
    assert close(back.grads.W_xh, module.weight_ih_l0.grad)
    assert close(back.grads.W_hh, module.weight_hh_l0.grad)
    assert close(back.grads.b_h, module.bias_hh_l0.grad)
    assert close(back.grads.b_x if params.cell == "gru" else back.grads.b_h, module.bias_ih_l0.grad)
    if linear is not None:
        assert close(back.grads.W_hy, linear.weight.grad)
        assert close(back.grads.b_y, linear.bias.grad)
    assert close(back.dinputs, leaves["x"].grad)
    firsts = back.dstate if params.cell == "lstm" else (back.dstate,)
    assert all(close(a, leaves[name].grad) for a, name in zip(firsts, "hc", strict=False))


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_modules_there_and_back(torch: Any, cell: str, dtype: str) -> None:
    params = make(cell, dtype=dtype)
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
    assert params == make(cell, dtype=dtype)
    again = Params.from_torch(module, linear)
    assert (again.W_hh != params.W_hh).all()
    again.flat[:] = 0
    assert module.weight_ih_l0.any()


def test_pytorch_in_float32_there_and_back(torch: Any) -> None:
    module, linear = torch_net(torch, "gru", linear=True, dtype="float32", batch_first=True)
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


@pytest.mark.parametrize("cell", CELLS)
def test_onnx_computes_the_same(cell: str) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    reference = pytest.importorskip("onnx.reference", reason="this ONNX has no reference evaluator")
    if cell == "rnn_relu":
        pytest.skip("ONNX's reference evaluator knows no Relu in an RNN")
    params = make(cell, 0)
    op, arrays, attributes = convert.to_onnx(params)
    d = data()
    feed = {"X": d["x"], "initial_h": d["h"][None], **({"initial_c": d["c"][None]} if op == "LSTM" else {})}
    outputs = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    names = ["X", "W", "R", "B", "", "initial_h", *(["initial_c"] if op == "LSTM" else [])]
    node = onnx.helper.make_node(op, names, outputs, **attributes)
    double = onnx.TensorProto.DOUBLE
    graph = onnx.helper.make_graph(
        [node],
        "one node",
        [onnx.helper.make_tensor_value_info(name, double, array.shape) for name, array in feed.items()],
        [onnx.helper.make_tensor_value_info(name, double, ["?"] * (4 if name == "Y" else 3)) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    onnx.checker.check_model(model)
    Y, *last = reference.ReferenceEvaluator(model).run(None, feed)
    out = rnncore.forward(params, d["x"], state=states(cell, d), backend="numpy")
    assert close(out.h, Y[:, 0])
    ours = out.state if op == "LSTM" else (out.state,)
    assert all(close(a, b[0]) for a, b in zip(ours, last, strict=True))

    (read,) = model.graph.node
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    said = {a.name: onnx.helper.get_attribute_value(a) for a in read.attribute}
    assert convert.from_onnx(read.op_type, **weights, **said) == params


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("cell", CELLS)
def test_keras_computes_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, in which Keras computes whatever it is told."""
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "numpy"))
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    params = make(cell, dtype="float32")
    kind = {"lstm": keras.layers.LSTM, "rnn": keras.layers.SimpleRNN, "rnn_relu": keras.layers.SimpleRNN}
    more: dict[str, Any] = {"activation": "relu"} if cell == "rnn_relu" else {}
    if cell.startswith("gru"):
        more["reset_after"] = cell == "gru"
    layer, dense = (
        kind.get(cell, keras.layers.GRU)(H, return_sequences=True, return_state=True, **more),
        keras.layers.Dense(V),
    )
    d = {name: array.astype("float32") for name, array in data().items()}
    x, first = d["x"].swapaxes(0, 1), [d["h"], *([d["c"]] if cell == "lstm" else [])]
    layer(x, initial_state=first)
    dense(np.zeros((B, T, H)))
    for of, weights in zip((layer, dense), convert.to_keras(params), strict=True):
        of.set_weights(weights)
    h, *last = layer(x, initial_state=first)
    out = rnncore.forward(params, d["x"], state=states(cell, d), backend="numpy")
    ours = (out.y, *(out.state if cell == "lstm" else (out.state,)))
    theirs = (np.asarray(dense(h)).swapaxes(0, 1), *last)
    assert all(close(a, b, 1e-5) for a, b in zip(ours, theirs, strict=True))
    back = convert.from_keras(cell, layer.get_weights(), dense.get_weights())
    if cell == "gru_reset_before":
        assert (back.b_x == params.b_x + params.b_h).all()
        back.b_x, back.b_h = params.b_x, params.b_h
    assert back == params


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


LSTM, GRU = [np.ones((X, 4 * H)), np.ones((H, 4 * H))], [np.ones((X, 3 * H)), np.ones((H, 3 * H))]
VE, TE = ValueError, TypeError
MESSAGES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    # PyTorch
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or its state dict, got None", lambda: from_torch(None)),
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or", lambda: from_torch(module(mode="RNN"))),
    (TE, "recurrent must be an nn.RNN, nn.LSTM or nn.GRU, or", lambda: from_torch(module(mode=[1]))),
    (
        VE,
        "recurrent must have num_layers=1, for a Params has no more, got num_layers=2",
        lambda: from_torch(module(num_layers=2)),
    ),
    (
        VE,
        "recurrent must have bidirectional=False, for a Params has no more, got bidirectional=True",
        lambda: from_torch(module(bidirectional=True)),
    ),
    (
        VE,
        "recurrent must have proj_size=0, for a Params has no more, got proj_size=3",
        lambda: from_torch(module(proj_size=3)),
    ),
    (VE, "cell must be None or 'lstm', as recurrent is, got str 'gru'", lambda: from_torch(module(), cell="gru")),
    (TE, "linear must be an nn.Linear, its state dict, or None, got int 3", lambda: from_torch(module(), 3)),
    (TE, "linear must be an nn.Linear, its state dict, or None", lambda: from_torch(module(), module())),
    (
        VE,
        "weights must be of one layer in one direction, the arrays weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, "
        "got str 'weight_ih_l0_reverse'",
        lambda: from_torch(torch_dict(weight_ih_l0_reverse=0)),
    ),
    (
        VE,
        "weights must be of one layer in one direction, the arrays weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, "
        "got str 'rnn.weight_ih_l0'",
        lambda: from_torch({"rnn.weight_ih_l0": 0}),
    ),
    (
        TE,
        "weights must be a dict of arrays, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, got list []",
        lambda: convert.from_torch([]),  # type: ignore[arg-type]
    ),
    (
        VE,
        "linear must be of one nn.Linear, the arrays weight, bias, got str 'fc.weight'",
        lambda: from_torch(torch_dict(), {"fc.weight": 0}),
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
        "direction must be 'forward', for a Params has no other, got str 'reverse'",
        lambda: from_onnx(direction=b"reverse"),
    ),
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

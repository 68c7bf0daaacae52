"""The parameters of several layers and directions: names over one vector, arrays and files, and how they are drawn."""

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS

STRUCTURES = [(2, False), (1, True), (3, True)]
each_structure = pytest.mark.parametrize(("layers", "bidirectional"), STRUCTURES)
each_cell = pytest.mark.parametrize("cell", CELLS)


def made(cell: str, layers: int, bidirectional: bool, **more: Any) -> rnncore.Params:
    given = {"inputs": 5, "hidden": 3, "outputs": 2, "layers": layers, "bidirectional": bidirectional}
    return rnncore.init_params(cell, **given, **more)


def test_the_order_of_flat() -> None:
    """All matrices in the order of use, then all biases."""
    assert made("gru", 2, True).names() == (
        *("layers.0.forward.W_xh", "layers.0.forward.W_hh", "layers.0.reverse.W_xh", "layers.0.reverse.W_hh"),
        *("layers.1.forward.W_xh", "layers.1.forward.W_hh", "layers.1.reverse.W_xh", "layers.1.reverse.W_hh"),
        "W_hy",
        *("layers.0.forward.b_x", "layers.0.forward.b_h", "layers.0.reverse.b_x", "layers.0.reverse.b_h"),
        *("layers.1.forward.b_x", "layers.1.forward.b_h", "layers.1.reverse.b_x", "layers.1.reverse.b_h"),
        "b_y",
    )
    params = made("lstm", 2, False)
    assert [params[name].shape for name in params] == [(12, 5), (12, 3), (12, 3), (12, 3), (2, 3), (12,), (12,), (2,)]
    assert made("rnn", 2, True)["layers.1.reverse.W_xh"].shape == (3, 6)
    params.flat[:] = np.arange(params.flat.size)
    assert np.concatenate([params[name].reshape(-1) for name in params]).tolist() == params.flat.tolist()


@each_cell
@each_structure
def test_every_way_to_name_an_array_is_a_view(cell: str, layers: int, bidirectional: bool) -> None:
    params = made(cell, layers, bidirectional)
    assert len(params.layers) == layers
    for number, layer in enumerate(params.layers):
        ways = {"forward.": layer.forward, "reverse.": layer.reverse} if bidirectional else {"": layer}  # type: ignore[union-attr]
        for way, own in ways.items():
            for name in own.names():
                view = params[f"layers.{number}.{way}{name}"]
                assert np.shares_memory(getattr(own, name), params.flat)
                assert np.shares_memory(getattr(own, name), view)
                setattr(own, name, np.full(view.shape, 7))
                assert (view == 7).all()
                assert name in dir(own)
    last = params.names()[0]
    params[last] = np.ones(params[last].shape)
    assert (params.flat[: params[last].size] == 1).all()
    assert params.W_hy.shape == (2, 6 if bidirectional else 3)


@each_cell
@each_structure
def test_from_arrays_flat_files_and_copies(cell: str, layers: int, bidirectional: bool, tmp_path: Path) -> None:
    params = made(cell, layers, bidirectional, seed=3, dtype="float64", tokens=True)
    own: Any = params.layers
    arrays = [
        {way: {n: getattr(getattr(layer, way), n) for n in layer.forward.names()} for way in ("forward", "reverse")}
        if bidirectional
        else {n: getattr(layer, n) for n in layer.names()}
        for layer in own
    ]
    assert rnncore.Params(cell, layers=arrays, W_hy=params.W_hy, b_y=params.b_y) == params
    assert rnncore.Params(cell, **params) == params
    assert dict(params).keys() == set(params)
    structure = {"layers": layers, "bidirectional": bidirectional}
    assert rnncore.Params.from_flat(cell, 5, 3, 2, params.flat, **structure) == params
    params.save(tmp_path / "net")
    copies: list[Callable[[], rnncore.Params]] = [
        lambda: rnncore.Params.load(tmp_path / "net"),
        lambda: pickle.loads(pickle.dumps(params)),
        lambda: copy.deepcopy(params),
        params.copy,
        lambda: params.astype("float64"),
    ]
    for copied in copies:
        assert copied() == params
        assert copied().tokens is True
        assert repr(copied()) == repr(params)
        assert not np.shares_memory(copied().flat, params.flat)


def test_tokens_is_no_part_of_equality_and_of_every_copy() -> None:
    plain = rnncore.init_params("rnn", 5, 3, 2)
    for tokens in (True, False):
        params = rnncore.Params("rnn", tokens=tokens, **plain)
        assert params == plain
        out = rnncore.forward(plain, [np.zeros((2, 5))])
        rnncore.backward(params, out, dh=[np.ones((2, 3))])
        for copied in (pickle.loads(pickle.dumps(params)), params.zeros_like(), params.astype("float32")):
            assert copied.tokens is tokens


@pytest.mark.parametrize("tokens", [None, False, True])
def test_what_a_net_of_tokens_reads_is_drawn_as_one_input(tokens: bool | None) -> None:
    params = rnncore.init_params("rnn", 400, 50, 2, layers=2, tokens=tokens)
    bound = 1 if tokens else 1 / 20
    assert 0.9 * bound < np.abs(params["layers.0.W_xh"]).max() <= bound
    assert 0.9 * 50**-0.5 < np.abs(params["layers.1.W_xh"]).max() <= 50**-0.5
    wide = rnncore.init_params("rnn", 400, 50, 2, layers=2, tokens=tokens, dtype="float64")
    assert wide.astype("float32") == params  # drawn in float64 and rounded once


@each_structure
def test_each_layer_has_its_forget_bias_and_its_own_numbers(layers: int, bidirectional: bool) -> None:
    params = made("lstm", layers, bidirectional, weights="orthogonal", forget_bias=2.0)
    for name in params:
        kind = name.rpartition(".")[2]
        if kind == "b_h":
            assert params[name].tolist() == [0] * 3 + [2] * 3 + [0] * 6
        elif kind == "W_hh":
            block = params[name][:3]
            assert np.abs(block @ block.T - np.eye(3)).max() < 1e-6
    matrices = [params[name].tobytes() for name in params if name.endswith("W_hh")]
    assert len(set(matrices)) == len(matrices)


def test_one_layer_has_the_names_it_always_had() -> None:
    params = rnncore.init_params("rnn", 5, 3, 2)
    assert params["W_hh"] is params.W_hh
    assert params["layers.0.W_hh"] is params.W_hh
    assert params.layers[0].W_hh is params.W_hh  # type: ignore[union-attr]
    params["layers.0.b_h"] = [1, 2, 3]
    assert params.b_h.tolist() == [1, 2, 3]
    assert rnncore.Params("rnn", layers=[{"W_xh": params.W_xh, "W_hh": params.W_hh}]).names() == params.names()


def test_errors_name_what_there_is() -> None:
    params = made("rnn", 2, False)
    with pytest.raises(AttributeError, match="layers has those of each layer"):
        _ = params.W_hh
    with pytest.raises(AttributeError, match="layers has those of each layer"):
        params.W_hh = np.ones((3, 3))
    with pytest.raises(AttributeError, match="a layer has the arrays W_xh, W_hh, b_h, not 'W_hy'"):
        _ = params.layers[0].W_hy  # type: ignore[union-attr]
    with pytest.raises(AttributeError, match="not 'W'"):
        params.layers[0].W = 1  # type: ignore[union-attr]
    with pytest.raises(KeyError, match=r"not 'layers\.2\.W_hh'"):
        _ = params["layers.2.W_hh"]
    with pytest.raises(KeyError, match=r"not 'layers\.0\.W_hy'"):
        _ = rnncore.init_params("rnn", 5, 3, 2)["layers.0.W_hy"]
    with pytest.raises(TypeError, match="must be a string, got int 0"):
        _ = params[0]  # type: ignore[index]
    with pytest.raises(ValueError, match=r"layers\.1\.W_xh must have shape \(H, H\) = \(3, 3\)"):
        params["layers.1.W_xh"] = np.ones((3, 5))
    for name in ("layers", "bidirectional", "tokens"):
        with pytest.raises(AttributeError, match=f"{name} of a Params cannot be changed"):
            setattr(params, name, 1)


@each_structure
def test_damaged_files_are_refused(layers: int, bidirectional: bool, tmp_path: Path) -> None:
    params = made("rnn", layers, bidirectional)
    params.save(tmp_path / "net")
    with np.load(tmp_path / "net") as file:
        entries = dict(file)
    for lost in params:
        kept = {name: array for name, array in entries.items() if name != lost}
        with open(tmp_path / "less", "wb") as less:
            np.savez(less, **kept)
        with pytest.raises(ValueError, match="is not a whole file"):
            rnncore.Params.load(tmp_path / "less")


@pytest.mark.parametrize("tokens", [None, True])
@each_structure
def test_copies_of_every_kind_have_vectors_of_their_own(layers: int, bidirectional: bool, tokens: bool | None) -> None:
    for params in (
        made("rnn", layers, bidirectional, tokens=tokens),
        rnncore.init_params("rnn", 2, 2, 2, tokens=tokens),
    ):
        for copied in (copy.copy(params), copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
            assert copied == params
            assert not np.shares_memory(copied.flat, params.flat)


def test_a_layer_is_copied_with_its_net() -> None:
    params = made("rnn", 2, True)
    for how in (copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))):
        own = how(params.layers[1].reverse)  # type: ignore[union-attr]
        assert np.array_equal(own.W_hh, params["layers.1.reverse.W_hh"])
        assert how(params.layers)[0].forward.names() == ("W_xh", "W_hh", "b_h")
    with pytest.raises(AttributeError, match="cannot be changed"):
        del params.layers[0].forward._params  # type: ignore[union-attr]


@each_structure
def test_layers_make_a_net_again(layers: int, bidirectional: bool) -> None:
    params = made("gru", layers, bidirectional)
    assert rnncore.Params("gru", layers=params.layers, W_hy=params.W_hy, b_y=params.b_y) == params
    if not bidirectional:
        assert rnncore.Params("gru", layers=list(map(dict, params.layers)), W_hy=params.W_hy, b_y=params.b_y) == params


A, H = np.ones((2, 3)), np.eye(2)
OWN = {"W_xh": A, "W_hh": H}


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("beside layers there are the arrays W_hy, b_y, got 'W_xh'", {"layers": [OWN], "W_xh": A}),
        ("beside layers there are the arrays W_hy, b_y, got 'layers.0.W_xh'", {"layers": [OWN], "layers.0.W_xh": A}),
        ("given twice", {**OWN, "layers.0.W_xh": A}),
        ("layers[0] must be a dict of the arrays of a layer by name, got 'W_hy'", {"layers": [{**OWN, "W_hy": A}]}),
        ("layers[0] must be a dict of the arrays of a layer by name, got 0", {"layers": [{0: A}]}),
        (
            "layers[0]['forward'] must be a dict of the arrays of a layer by name, got 1",
            {"layers": [{"forward": {1: A}, "reverse": {}}]},
        ),
        ("all layers have both directions, or none has", {"layers": [OWN, {"forward": OWN, "reverse": OWN}]}),
        ("all layers have both directions, or none has", {"layers": [{"forward": OWN}]}),
    ],
)
def test_arrays_are_given_once_and_by_name(message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        rnncore.Params("rnn", **arguments)


def test_names_that_are_none() -> None:
    for params in (rnncore.init_params("rnn", 2, 2, 2), made("rnn", 2, False)):
        with pytest.raises(TypeError, match="must be a string, got int 0"):
            params[0] = 1  # type: ignore[index]
    with pytest.raises(AttributeError, match="forward and reverse, not 'W_xh'"):
        _ = made("rnn", 1, True).layers[0].W_xh  # type: ignore[union-attr]


@pytest.mark.parametrize("tokens", ["False", 1, [True, False], np.array([True])])
def test_a_file_that_says_anything_else_of_tokens_is_refused(tokens: Any, tmp_path: Path) -> None:
    params = rnncore.init_params("rnn", 2, 2, 2, tokens=True)
    params.save(tmp_path / "net")
    with np.load(tmp_path / "net") as file, open(tmp_path / "other", "wb") as other:
        np.savez(other, **{**file, "tokens": tokens})
    with pytest.raises(ValueError, match="tokens must be True or False"):
        rnncore.Params.load(tmp_path / "other")

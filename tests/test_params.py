"""Params: one vector, named views of it, and a file that is whole or not there."""

import copy
import errno
import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore.files import write_whole
from rnncore.init import _orthogonal

SHAPES = {"W_xh": (3, 5), "W_hh": (3, 3), "W_hy": (2, 3), "b_h": (3,), "b_y": (2,)}
GRU_SHAPES = {"W_xh": (9, 5), "W_hh": (9, 3), "W_hy": (2, 3), "b_x": (9,), "b_h": (9,), "b_y": (2,)}
CELLS = {
    "rnn": SHAPES,
    "rnn_relu": SHAPES,
    "lstm": {**SHAPES, "W_xh": (12, 5), "W_hh": (12, 3), "b_h": (12,)},
    "gru": GRU_SHAPES,
    "gru_reset_before": GRU_SHAPES,
}


@pytest.fixture(params=["float32", "float64"])
def params(request: pytest.FixtureRequest) -> rnncore.Params:
    return rnncore.init_params("rnn", inputs=5, hidden=3, outputs=2, seed=7, dtype=request.param)


def test_names_are_views_of_flat_in_their_order(params: rnncore.Params) -> None:
    assert params.names() == tuple(SHAPES)
    assert {name: getattr(params, name).shape for name in SHAPES} == SHAPES
    params.flat[:] = np.arange(params.flat.size)
    assert np.concatenate([getattr(params, name).reshape(-1) for name in SHAPES]).tolist() == params.flat.tolist()
    params.W_hh[1, 2] = -1
    assert params.flat[15 + 5] == -1
    assert params.flat.flags.c_contiguous
    assert set(SHAPES) <= set(dir(params))


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_has_its_arrays(cell: str, tmp_path: Path) -> None:
    shapes, params = CELLS[cell], rnncore.init_params(cell, inputs=5, hidden=3, outputs=2)
    assert params.cell == cell
    assert {name: getattr(params, name).shape for name in params.names()} == shapes
    assert params.names() == tuple(shapes)
    params.flat[:] = np.arange(params.flat.size)
    assert np.concatenate([getattr(params, name).reshape(-1) for name in shapes]).tolist() == params.flat.tolist()
    assert rnncore.Params(cell, **{name: getattr(params, name) for name in shapes}) == params
    assert rnncore.Params.from_flat(cell, 5, 3, 2, params.flat) == params
    assert pickle.loads(pickle.dumps(params)) == params
    params.save(tmp_path / "net")
    assert rnncore.Params.load(tmp_path / "net") == params
    assert ("b_x" in dir(params)) == (cell.startswith("gru"))


def test_the_reset_names_the_gru() -> None:
    for reset, cell in (("after", "gru"), ("before", "gru_reset_before"), (None, "gru")):
        made = rnncore.init_params("gru", 5, 3, 2, reset=reset)
        assert made.cell == cell
        assert made == rnncore.init_params(cell, 5, 3, 2)
        arrays = {name: getattr(made, name) for name in GRU_SHAPES}
        assert rnncore.Params("gru", reset=reset, **arrays) == made
        assert rnncore.Params.from_flat("gru", 5, 3, 2, made.flat, reset=reset) == made


def test_assignment_copies_into_the_vector(params: rnncore.Params) -> None:
    vector, W_hh = params.flat, params.W_hh
    given = np.arange(9.0).reshape(3, 3)
    params.W_hh = given
    given[:] = 0
    assert W_hh.tolist() == np.arange(9.0).reshape(3, 3).tolist()
    params.W_hh = params.W_hh.T
    assert W_hh[0].tolist() == [0, 3, 6]
    params.W_hh *= 2
    assert W_hh[0].tolist() == [0, 6, 12]
    params.flat = np.arange(params.flat.size)
    params.flat -= 1
    params.flat -= np.ones(params.flat.size)[::-1].astype("float32")
    assert params.flat is vector
    assert vector.tolist() == list(range(-2, params.flat.size - 2))
    assert params.b_y.tolist() == vector[-2:].tolist()


@pytest.mark.parametrize(
    "value", [np.ones((3, 3), complex), np.ones((9,)), np.ones((1, 3)), 1.0, None, "a", [[1], [2, 3]]]
)
def test_assignment_neither_broadcasts_nor_drops(params: rnncore.Params, value: Any) -> None:
    before = params.copy()
    with pytest.raises((ValueError, TypeError), match="W_hh"):
        params.W_hh = value
    assert params == before


def test_no_name_can_be_mistyped(params: rnncore.Params) -> None:
    for name in ("W_hx", "flatt", "_other", "__deepcopy__"):
        with pytest.raises(AttributeError):
            getattr(params, name)
        with pytest.raises(AttributeError):
            setattr(params, name, 0)
    for name in ("cell", "hidden", "dtype", "flat", "W_hh"):
        with pytest.raises(AttributeError):
            delattr(params, name)


def test_from_arrays() -> None:
    W_xh, W_hh, W_hy = np.ones((3, 5), "f4"), np.ones((3, 3), ">f4"), np.ones((2, 3), "f4")
    params = rnncore.Params("rnn", W_xh=W_xh, W_hh=W_hh, W_hy=W_hy)
    assert params.dtype == np.float32
    assert params.flat.dtype.isnative
    assert not params.b_h.any()
    assert not params.b_y.any()
    W_xh[:] = 9
    assert params.W_xh.max() == 1
    assert rnncore.Params("rnn", W_xh=W_xh, W_hh=W_hh, W_hy=W_hy, b_h=np.ones(3)).dtype == np.float64
    assert rnncore.Params("rnn", W_xh=[[1]], W_hh=[[2]], dtype="float32").flat.tolist() == [1, 2, 0]
    assert rnncore.Params("rnn", W_xh=[[0.5]], W_hh=[[2.0]]).outputs == 0


def test_from_flat_copies() -> None:
    flat = np.arange(35.0)
    params = rnncore.Params.from_flat("rnn", 5, 3, 2, flat)
    flat[:] = 0
    assert params.W_hh[0].tolist() == [15, 16, 17]
    with pytest.raises(TypeError, match="flat must be float32 or float64"):
        rnncore.Params.from_flat("rnn", 5, 3, 2, np.arange(35))


def test_no_outputs() -> None:
    params = rnncore.init_params("rnn", inputs=5, hidden=3, outputs=0)
    assert params.W_hy.shape == (0, 3)
    assert params.b_y.shape == (0,)
    assert params.flat.size == 15 + 9 + 3


def test_equality_is_of_everything(params: rnncore.Params) -> None:
    assert params == params.copy()
    other = params.copy()
    other.b_y[1] += 1
    assert params != other
    wide = params.dtype == np.float64
    narrow = rnncore.Params.from_flat("rnn", 5, 3, 2, params.flat.astype("f4" if wide else "f8"))
    assert params != narrow
    assert rnncore.Params.from_flat("rnn", 1, 3, 1, np.zeros(19)) != rnncore.Params.from_flat(
        "rnn", 3, 1, 12, np.zeros(29)
    )
    assert params != params.flat.tolist()
    nan = params.copy()
    nan.flat[3] = np.nan
    assert nan == nan.copy()
    with pytest.raises(TypeError, match="unhashable"):
        hash(params)


@pytest.mark.parametrize(
    "how", [rnncore.Params.copy, copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_are_whole_and_apart(params: rnncore.Params, how: Any) -> None:
    other = how(params)
    assert other == params
    assert repr(other) == repr(params)
    other.W_hh[:] = 0
    assert other != params
    assert other.flat.any()
    assert not other.flat[15:24].any()
    zeros = params.zeros_like()
    assert not zeros.flat.any()
    assert repr(zeros) == repr(params)


def test_it_says_what_it_is(params: rnncore.Params) -> None:
    assert repr(params) == f"Params('rnn', inputs=5, hidden=3, outputs=2, dtype={params.dtype.name})"


def test_the_seed_decides() -> None:
    def make(seed: int, dtype: str = "float64") -> rnncore.Params:
        return rnncore.init_params("rnn", inputs=5, hidden=3, outputs=2, seed=seed, dtype=dtype)

    assert make(1) == make(1)
    assert make(1) != make(2)
    assert (make(1, "float32").flat == make(1).flat.astype("float32")).all()
    first = 2 * np.random.Generator(np.random.PCG64(1)).random() - 1
    assert make(1).W_xh[0, 0] == first / np.sqrt(5)


def test_initial_weights_are_bounded_by_the_number_of_columns() -> None:
    params = rnncore.init_params("rnn", inputs=400, hidden=100, outputs=50)
    for array, bound in ((params.W_xh, 1 / 20), (params.W_hh, 1 / 10), (params.W_hy, 1 / 10)):
        assert 0.98 * bound < np.abs(array).max() <= bound
        assert abs(array.mean()) < bound / 20
    assert not params.b_h.any()
    assert not params.b_y.any()


@pytest.mark.parametrize("weights", ["uniform", "orthogonal"])
@pytest.mark.parametrize("cell", CELLS)
def test_initial_biases_are_zero_but_of_the_forget_gate(cell: str, weights: Any) -> None:
    params = rnncore.init_params(cell, inputs=5, hidden=3, outputs=2, weights=weights)
    expected = np.zeros(len(params.b_h))
    if cell == "lstm":
        expected[3:6] = 1
    assert params.b_h.tolist() == expected.tolist()
    assert not params.b_y.any()
    assert not getattr(params, "b_x", np.zeros(1)).any()


def test_the_forget_bias_is_of_the_forget_gate_alone() -> None:
    default = rnncore.init_params("lstm", 5, 3, 2)
    for bias in (0, -2.5, np.float32(1)):
        params = rnncore.init_params("lstm", 5, 3, 2, forget_bias=bias)
        assert params.b_h.tolist() == [0.0] * 3 + [float(bias)] * 3 + [0.0] * 6
        params.b_h = default.b_h
        assert params == default


@pytest.mark.parametrize("hidden", [1, 2, 3, 64])
@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_weights(cell: str, hidden: int) -> None:
    params = rnncore.init_params(cell, 5, hidden, 2, weights="orthogonal", dtype="float64")
    blocks = params.W_hh.reshape(-1, hidden, hidden)
    for block in blocks:
        assert np.abs(block @ block.T - np.eye(hidden)).max() < 1e-14
    assert hidden == 1 or all((a != b).any() for n, a in enumerate(blocks) for b in blocks[:n])
    assert np.abs(params.W_xh).max() <= 1 / np.sqrt(5)
    assert np.abs(params.W_hy).max() <= 1 / np.sqrt(hidden)
    assert (params.W_xh == rnncore.init_params(cell, 5, hidden, 2, dtype="float64").W_xh).all()
    narrow = rnncore.init_params(cell, 5, hidden, 2, weights="orthogonal", dtype="float32")
    assert (narrow.flat == params.flat.astype("float32")).all()


def test_orthogonal_weights_prefer_no_direction() -> None:
    """Of matrices drawn evenly, entries have mean 0 and variance 1/H, the trace mean 0 and variance 1, and half of the
    determinants are -1."""
    H, many = 4, 4000
    rows = _orthogonal(np.random.Generator(np.random.PCG64(0)), many * H, H)
    drawn = rows.reshape(many, H, H)
    assert np.abs(drawn.mean(axis=0)).max() < 4 * np.sqrt(1 / H / many)
    assert np.abs((drawn**2).mean(axis=0) - 1 / H).max() < 4 * np.sqrt(2 / H**2 / many)
    traces = np.trace(drawn, axis1=1, axis2=2)
    assert abs(traces.mean()) < 4 / np.sqrt(many)
    assert abs((traces**2).mean() - 1) < 4 * np.sqrt(2 / many)
    assert abs(np.linalg.det(drawn).mean()) < 4 / np.sqrt(many)


V, T = ValueError, TypeError
init: Any = rnncore.init_params
MESSAGES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (V, "cell must be one of 'rnn', 'rnn_relu', 'lstm', 'gru', 'gru_reset_before', got", lambda: init("GRU", 1, 1, 1)),
    (V, "reset must be 'after' or 'before', got 'never'", lambda: init("gru", 1, 1, 1, reset="never")),
    (T, "reset must be None or a string, 'after' or 'before', got bool", lambda: init("gru", 1, 1, 1, reset=True)),
    (
        V,
        "reset must be None but for cell 'gru', got 'after' for cell 'lstm'",
        lambda: rnncore.Params("lstm", W_xh=np.ones((4, 1)), W_hh=np.ones((4, 1)), reset="after"),
    ),
    (
        V,
        "reset must be None but for cell 'gru', got 'before' for cell 'gru_reset_before'",
        lambda: rnncore.Params.from_flat("gru_reset_before", 1, 1, 0, np.ones(12), reset="before"),
    ),
    (V, "weights must be one of 'uniform', 'orthogonal', got 'normal'", lambda: init("rnn", 1, 1, 1, weights="normal")),
    (
        T,
        "weights must be a string, one of 'uniform', 'orthogonal', got None",
        lambda: init("rnn", 1, 1, 1, weights=None),
    ),
    (
        V,
        "forget_bias must be None but for cell 'lstm', got float 1.0 for cell 'gru'",
        lambda: init("gru", 1, 1, 1, forget_bias=1.0),
    ),
    (T, "forget_bias must be a number, got str '1'", lambda: init("lstm", 1, 1, 1, forget_bias="1")),
    (V, "forget_bias must be finite in float32, got 1e+39", lambda: init("lstm", 1, 1, 1, forget_bias=1e39)),
    (
        V,
        "forget_bias must be finite in float64, got nan",
        lambda: init("lstm", 1, 1, 1, forget_bias=np.nan, dtype="f8"),
    ),
    (
        V,
        "W_hh must have shape (4H, H) = (16, 4), got float64 (4, 4)",
        lambda: rnncore.Params("lstm", W_xh=np.ones((16, 3)), W_hh=np.ones((4, 4))),
    ),
    (
        V,
        "b_x must have shape (3H,) = (6,), got float64 (2,)",
        lambda: rnncore.Params("gru", W_xh=np.ones((6, 3)), W_hh=np.ones((6, 2)), b_x=np.ones(2)),
    ),
    (
        T,
        "Params of cell 'lstm' has the arrays W_xh, W_hh, W_hy, b_h, b_y, got 'b_x'",
        lambda: rnncore.Params("lstm", b_x=np.ones(2)),
    ),
    (AttributeError, "Params of cell 'rnn' has the arrays W_xh,", lambda: init("rnn", 1, 1, 1).b_x),
]


@pytest.mark.parametrize(("kind", "text", "call"), MESSAGES, ids=[text[:60] for _, text, _ in MESSAGES])
def test_message(kind: type[Exception], text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()


def test_files(params: rnncore.Params, tmp_path: Path) -> None:
    path = tmp_path / "net.model"
    params.flat[0] = np.nan
    params.save(path)
    assert rnncore.Params.load(path) == params
    assert os.listdir(tmp_path) == ["net.model"]
    with np.load(path, allow_pickle=False) as file:
        assert (file["W_hh"] == params.W_hh).all()
        assert str(file["cell"]) == "rnn"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_saving_through_a_link_keeps_the_link(params: rnncore.Params, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    params.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert rnncore.Params.load(tmp_path / "file") == params


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(b"old")

    def full(file: Any) -> None:
        file.write(b"new")
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupted(file: Any) -> None:
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(OSError, match=r"cannot write, and nothing was changed: No space left on device.*net") as error:
        write_whole(path, full)
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["net"]


def test_a_folder_that_is_not_there(params: rnncore.Params, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write.*nowhere"):
        params.save(tmp_path / "nowhere" / "net")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        rnncore.Params.load(tmp_path / "nowhere")


def test_damaged_files_are_refused(params: rnncore.Params, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    params.save(whole)
    content = whole.read_bytes()
    path = tmp_path / "damaged"
    for n in range(0, len(content), 7):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"damaged' is not a whole file of rnncore\.Params: ."):
            rnncore.Params.load(path)
        path.write_bytes(content[:n] + bytes([content[n] ^ 0x55]) + content[n + 1 :])
        try:
            assert rnncore.Params.load(path) == params  # a byte that no one reads, such as a date
        except ValueError as error:
            assert "is not a whole file of rnncore.Params" in str(error)  # noqa: PT017  (either is right)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    def npz(**arrays: Any) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    def npy(array: Any) -> bytes:
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    ours = {"format": "rnncore.Params 1", "cell": "rnn"}
    path = tmp_path / "foreign"
    for content in (
        b"",
        b"text",
        pickle.dumps({}),
        npy(np.zeros(3)),
        npy(np.array([None])),
        npz(),
        npz(W_xh=np.zeros((1, 1)), W_hh=np.zeros((1, 1))),
        npz(**ours),
        npz(**ours, W_xh=np.array([None]), W_hh=np.zeros((1, 1))),
        npz(**ours, W_xh=np.zeros((1, 1), "f2"), W_hh=np.zeros((1, 1))),
        npz(**ours, W_xh=np.zeros((1, 1)), W_hh=np.zeros((2, 2))),
        npz(**ours, W_xh=np.zeros((1, 1)), W_hh=np.zeros((1, 1)), more=np.zeros(1)),
        npz(**{**ours, "cell": "elman"}, W_xh=np.zeros((1, 1)), W_hh=np.zeros((1, 1))),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="foreign' is not a whole file"):
            rnncore.Params.load(path)


def test_net_is_public_and_fixed() -> None:
    params = rnncore.init_params("lstm", inputs=2, hidden=3, outputs=2, layers=2)
    assert params.net is params.copy().net
    assert {name: array.tolist() for name, array in params.net.views(params.flat).items()} == {
        name: array.tolist() for name, array in dict(params).items()
    }
    with pytest.raises(AttributeError, match="net of a Params cannot be changed"):
        params.net = params.net  # type: ignore[misc]

"""gradient_flow: how far losses reach back, against the way back of one loss alone; and what each step adds."""

import sys
from typing import Any

import numpy as np
import pytest
from nets import Array, Net, assert_same_bits, make_net, named_arrays, state_arrays, with_changes

import rnncore
from rnncore.cells import CELLS
from rnncore.flow import SIGMOID, TANH, GradientFlow

each_cell = pytest.mark.parametrize("cell", CELLS)
T, B, H = 6, 3, 5


def net_of(cell: str, **options: Any) -> Net:
    return make_net(T, B, 3, H, 4, "float64", cell=cell, **options)


def flow_of(net: Net, **options: Any) -> GradientFlow:
    given: dict[str, Any] = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks}
    return rnncore.gradient_flow(net.params, net.inputs, net.labels, **{**given, **options})  # type: ignore[arg-type]


def assert_lengths(vectors: Array, lengths: Array) -> None:
    """The lengths of vectors (..., H): a sum of H squares and a root, each within H + 2 roundings."""
    expected = np.sqrt((vectors * vectors).sum(axis=-1))
    assert expected.shape == lengths.shape
    assert (np.abs(expected - lengths) <= 2 * (vectors.shape[-1] + 2) * 2.0**-53 * expected).all()


def reach(net: Net, t: int, k: int, dh: Array | None = None) -> Any:
    """dJ_t / ds_k of a net of one layer, by ``backward``: what the piece after step k hands to its initial state.

    Or of the loss that has dh (T, B, H) up to step t.
    """
    begin = rnncore.forward(net.params, net.inputs[: k + 1], state=net.state).state
    out = rnncore.forward(net.params, net.inputs[k + 1 : t + 1], state=begin)
    if dh is not None:
        return rnncore.backward(net.params, out, dh=dh[k + 1 : t + 1]).dstate
    dy = np.zeros_like(out.y)
    dy[-1] = dy_of(net)[t]
    return rnncore.backward(net.params, out, dy=dy).dstate


def dy_of(net: Net) -> Array:
    dy: Array = rnncore.cross_entropy(rnncore.forward(net.params, net.inputs, state=net.state).y, net.labels)[1]  # type: ignore[arg-type]
    return dy


@each_cell
def test_by_step_is_what_one_loss_sends_to_a_state(cell: str) -> None:
    net = net_of(cell)
    flow, dy = flow_of(net), dy_of(net)
    assert (flow.by_step_c is not None) == (len(CELLS[cell].states) > 1)
    for t in range(T):
        assert_lengths(dy[t] @ net.params.W_hy, flow.by_step[:, t, t])
        for k in range(t):
            h, *others = state_arrays(reach(net, t, k))
            assert_lengths(h, flow.by_step[:, t, k])
            for c in others:
                assert_lengths(c, flow.by_step_c[:, t, k])  # type: ignore[index]
    assert not np.triu(flow.by_step, 1).any()


@each_cell
def test_a_lower_layer_hears_of_losses_through_the_upper(cell: str) -> None:
    """Two layers are two nets, the second on the states of the first."""
    net = net_of(cell, layers=2)
    flow, (lower, upper) = flow_of(net), split(net)
    dy = dy_of(upper)
    for t in range(T):
        out = rnncore.forward(upper.params, upper.inputs[: t + 1], state=upper.state)
        alone = np.zeros_like(out.y)
        alone[t] = dy[t]
        dh = rnncore.backward(upper.params, out, dy=alone, need_dinputs=True).dinputs
        for k in range(t):
            assert_lengths(state_arrays(reach(upper, t, k))[0], flow.by_step[1, :, t, k])
            assert_lengths(dh[k] + state_arrays(reach(lower, t, k, dh))[0], flow.by_step[0, :, t, k])


def split(net: Net) -> tuple[Net, Net]:
    first, second = net.params.layers
    lower = rnncore.Params(net.params.cell, **arrays_of(first))
    upper = rnncore.Params(net.params.cell, **arrays_of(second), W_hy=net.params.W_hy, b_y=net.params.b_y)
    states = [as_one([array[n] for array in state_arrays(net.state)]) for n in range(2)]
    h = rnncore.forward(lower, net.inputs, state=states[0]).h
    return with_changes(net, params=lower, state=states[0]), with_changes(net, params=upper, state=states[1], inputs=h)


def arrays_of(layer: Any) -> dict[str, Array]:
    names = ("W_xh", "W_hh", "b_x", "b_h")
    return {name: getattr(layer, name) for name in names if getattr(layer, name, None) is not None}


def as_one(arrays: list[Array]) -> Any:
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


@each_cell
def test_each_direction_reaches_its_own_way(cell: str) -> None:
    """The reverse direction is a net on turned sequences, and loss t reaches the steps k >= t there."""
    net = net_of(cell, bidirectional=True)
    flow, dy = flow_of(net), None
    out = rnncore.forward(net.params, net.inputs, state=net.state)
    dy = rnncore.cross_entropy(out.y, net.labels)[1]  # type: ignore[arg-type]
    for way, name in enumerate(("forward", "reverse")):
        dh = dy @ net.params.W_hy[:, way * H : (way + 1) * H]
        alone = rnncore.Params(cell, **arrays_of(getattr(net.params.layers[0], name)))
        state = as_one([array[way] for array in state_arrays(net.state)])
        turned = slice(None, None, -1 if way else None)
        one = with_changes(net, params=alone, inputs=np.ascontiguousarray(net.inputs[turned]), state=state)
        by_step = flow.by_step[way][:, turned, turned]
        for t in range(T):
            own = np.zeros_like(dh)
            own[t] = dh[turned][t]
            assert_lengths(own[t], by_step[:, t, t])
            for k in range(t):
                assert_lengths(state_arrays(reach(one, t, k, own))[0], by_step[:, t, k])
        assert not np.triu(by_step, 1).any()


@each_cell
@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True, "dropout": True}], ids=["one", "four"])
@pytest.mark.parametrize("last", [False, True], ids=["steps", "sequences"])
def test_contributions_add_up_to_the_gradient(cell: str, options: dict[str, Any], last: bool) -> None:
    """Within the roundings of two sums of at most n terms of the same magnitudes: each is off by (n + 2) u of these."""
    net = net_of(cell, lengths="ragged", **options)
    net = with_changes(net, labels=np.array([1, 0, 3])) if last else net
    flow = flow_of(net)
    each = [flow.contribution(k) for k in range(T)]
    given = {"state": net.state, "lengths": net.lengths, "dropout_masks": net.dropout_masks}
    grads = rnncore.bptt(net.params, net.inputs, net.labels, **given).grads  # type: ignore[arg-type]
    largest = sum(np.abs(magnitude(net, flow, k)) for k in range(T))
    assert (np.abs(sum(one.flat for one in each) - grads.flat) <= 2 * (T * B + 2) * 2.0**-53 * largest).all()
    for name, lengths in flow.weights.items():
        assert lengths.tolist() == [rnncore.optim.clip_by_norm(one[name].copy().reshape(-1), np.inf) for one in each]


def magnitude(net: Net, flow: GradientFlow, k: int) -> Array:
    """A bound on the sum of the magnitudes of the terms of step k: those of each sequence by itself."""
    total = np.zeros(net.params.flat.size)
    for b in range(B):
        length = T if net.lengths is None else int(net.lengths[b])
        if k < length:
            total += np.abs(alone(net, b, length).contribution(k).flat)
    return total


def alone(net: Net, b: int, length: int) -> GradientFlow:
    labels: Any = net.labels
    return rnncore.gradient_flow(
        net.params,
        net.inputs[:length, b],
        labels[b] if labels.ndim == 1 else labels[:length, b],
        state=None if net.state is None else as_one([array[..., b, :] for array in state_arrays(net.state)]),
        dropout_masks=[mask[:length, b] for mask in net.dropout_masks] if net.dropout_masks else None,
    )


@pytest.mark.parametrize("cell", ["rnn", "rnn_relu", "lstm"])
def test_a_contribution_is_an_outer_product(cell: str) -> None:
    """Of one sequence: du_k is that of b_h, and the others are its products, to the bit."""
    net = make_net(T, 1, 3, H, 4, "float64", cell=cell)
    state = as_one([array[0] for array in state_arrays(net.state)])
    x, labels = net.inputs[:, 0], net.labels[:, 0]  # type: ignore[index]
    flow = rnncore.gradient_flow(net.params, x, labels, state=state)
    out = rnncore.forward(net.params, x, state=state)
    _, dy = rnncore.cross_entropy(out.y, labels)
    before = np.concatenate([state_arrays(state)[0][None], out.h])
    for k in range(T):
        found = flow.contribution(k)
        expected = {"W_xh": x[k], "W_hh": before[k]}
        products = {name: np.outer(found.b_h, row) + 0.0 for name, row in expected.items()}
        products |= {"W_hy": np.outer(dy[k], out.h[k]) + 0.0, "b_y": dy[k] + 0.0, "b_h": found.b_h}
        assert_same_bits(products, {name: array + 0.0 for name, array in named_arrays(found).items()})


def test_by_lag_is_the_mean_over_labelled_steps() -> None:
    net = net_of("gru", labels="some", lengths="ragged")
    flow = flow_of(net)
    labels, lengths = net.labels, net.lengths
    assert labels is not None
    assert lengths is not None
    for b in range(B):
        for lag in range(T):
            there = [flow.by_step[b, t, t - lag] for t in range(lag, lengths[b]) if labels[t, b] >= 0]
            expected = sum(there) / len(there) if there else np.nan
            assert np.isclose(flow.by_lag[b, lag], expected, rtol=2 * T * 2.0**-53, atol=0, equal_nan=True)
    assert np.isnan(flow.by_lag).any()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"layers": 2}], ids=str)
def test_one_label_a_sequence_is_that_of_its_last_step(options: dict[str, Any]) -> None:
    net = with_changes(net_of("gru", lengths="ragged", **options), labels=np.array([1, 0, 3]))
    flow = flow_of(net)
    by_step = flow.by_step.reshape(-1, B, T, T)
    assert net.lengths is not None
    for b, length in enumerate(net.lengths):
        rest = np.delete(by_step[:, b], length - 1, axis=1) if length else by_step[:, b]
        assert not rest.any()
        assert not length or by_step[:, b, length - 1, :length].all()


def test_nothing_reaches_back_over_a_reset() -> None:
    net = net_of("lstm")
    resets = np.zeros((T, B), bool)
    resets[2, 0] = resets[4, 0] = True
    flow, free = flow_of(net, resets=resets), flow_of(net)
    assert not flow.by_step[0, 2:, :2].any()
    assert not flow.by_step[0, 4:, :4].any()
    assert flow.by_step[0, 4:, 4:].diagonal().all()
    assert_same_bits({"": free.by_step[1:]}, {"": flow.by_step[1:]})
    total = sum(flow.contribution(k).flat for k in range(T))
    grads = rnncore.bptt(net.params, net.inputs, net.labels, state=net.state, resets=resets).grads.flat  # type: ignore[arg-type]
    assert np.abs(total - grads).max() <= 2.0**-44 * np.abs(grads).max()


@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True, "dropout": True}], ids=["one", "four"])
@each_cell
def test_engines_agree(fast_engine: str, cell: str, options: dict[str, Any]) -> None:
    net = net_of(cell, lengths="ragged", **options)
    assert_same_bits(numbers_of(flow_of(net, backend="numpy")), numbers_of(flow_of(net, backend=fast_engine)))


def numbers_of(flow: GradientFlow) -> dict[str, Array]:
    found = {"by_step": flow.by_step, "by_lag": flow.by_lag, "contribution": flow.contribution(2).flat}
    found |= {} if flow.by_step_c is None else {"c": flow.by_step_c}
    return found | flow.weights | {f"saturated {name}": share for name, share in flow.saturated.items()}


def test_lists_are_padded_arrays() -> None:
    net = net_of("gru", lengths="ragged")
    assert net.lengths is not None
    assert net.labels is not None
    xs, labels = ([array[:n, b] for b, n in enumerate(net.lengths)] for array in (net.inputs, net.labels))
    found = rnncore.gradient_flow(net.params, xs, labels, state=net.state)
    assert_same_bits(numbers_of(flow_of(net)), numbers_of(found))


def test_shapes() -> None:
    """An axis L*D where it is not 1, and an axis B where the call has one."""
    for many, lead in (({}, ()), ({"layers": 2}, (2,)), ({"layers": 2, "bidirectional": True}, (4,))):
        params = rnncore.init_params("lstm", 3, 4, 2, tokens=True, **many)  # type: ignore[arg-type]
        tokens = np.array([0, 1, 2, 1])
        one, batch = (rnncore.gradient_flow(params, x, x % 2) for x in (tokens, tokens[:, None]))
        for flow, axes in ((one, ()), (batch, (1,))):
            assert flow.by_step.shape == flow.by_step_c.shape == (*lead, *axes, 4, 4)  # type: ignore[union-attr]
            assert flow.by_lag.shape == (*lead, *axes, 4)
            assert {lengths.shape for lengths in flow.weights.values()} == {(4,)}
            assert {share.shape for share in flow.saturated.values()} == {(4,)}


def test_a_call_without_steps_has_nothing() -> None:
    params = rnncore.init_params("rnn", 3, 4, 2, tokens=True)
    flow = rnncore.gradient_flow(params, np.empty(0, int), np.empty(0, int))
    assert flow.by_step.shape == (0, 0)
    assert flow.saturated["h"].tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="k must be less than T = 0, got 0"):
        flow.contribution(0)


def test_a_small_gradient_has_its_length() -> None:
    """Squares of 1e-200 are 0, the length is not."""
    params = rnncore.Params("rnn_relu", W_xh=[[1.0]], W_hh=[[1e-100]], W_hy=[[1.0]])
    flow = rnncore.gradient_flow(params, np.ones((3, 1)), np.zeros((3, 1)), loss="squared_error")
    assert flow.by_step[2, 0] == 1e-100 * (1e-100 * flow.by_step[2, 2])


def test_the_spectral_radius_of_each_gate() -> None:
    turn = np.array([[0.0, -0.5], [0.5, 0.0]])  # eigenvalues 0.5i and -0.5i
    params = rnncore.init_params("gru", 3, 2, 2, tokens=True)
    params.W_hh[:] = np.concatenate([turn, np.diag([1.5, -2.0]), np.full((2, 2), np.nan)])
    flow = rnncore.gradient_flow(params, np.array([1]), np.array([1]))
    assert flow.spectral_radius["r"] == pytest.approx(0.5, rel=2.0**-40)
    assert flow.spectral_radius["z"] == pytest.approx(2, rel=2.0**-40)
    assert np.isnan(flow.spectral_radius["n"])


@each_cell
def test_every_cell_says_what_is_saturated(cell: str) -> None:
    params = rnncore.init_params(cell.removesuffix("_reset_before"), 2, 3, 2, tokens=True, **reset(cell))
    assert params.cell == cell
    flow = rnncore.gradient_flow(params, np.array([0, 1, 1, 0]), np.array([0, 0, 0, 0]))
    names = [name for name in CELLS[cell].saved if name in TANH + SIGMOID] or ["h"]
    assert list(flow.saturated) == names
    assert len(names) >= len(CELLS[cell].gates)
    for share in flow.saturated.values():
        assert share.tolist() == [float(cell == "rnn_relu") * n for n in share / max(share.max(), 1)]


def reset(cell: str) -> dict[str, Any]:
    return {"reset": "before"} if cell == "gru_reset_before" else {}


def test_saturated_units_are_counted() -> None:
    params = rnncore.init_params("lstm", 2, 1, 2, tokens=True)
    params.flat[:] = 0
    params.W_xh[:, 1] = [4.0, -4.0, 2.2, 0.0]  # token 1 opens i, closes f, and drives g to 0.976
    flow = rnncore.gradient_flow(params, np.array([0, 1, 1, 0]), np.array([0, 0, 0, 0]))
    assert {name: share.tolist() for name, share in flow.saturated.items()} == {
        "i": [0.5],
        "f": [0.5],
        "g": [0.5],
        "o": [0.0],
        "tanh_c": [0.0],
    }


@pytest.mark.parametrize("options", [{}, {"layers": 2}], ids=str)
def test_plot_draws_a_figure(options: dict[str, Any], tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    flow = flow_of(net_of("lstm", labels="some", **options))
    flow.plot(1).savefig(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="sequence must be less than B = 3, got 3"):
        flow.plot(3)


def test_plot_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("matplotlib", "matplotlib.colors", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "rnncore.flow_plot", raising=False)
    with pytest.raises(ImportError, match=r"plot needs matplotlib: pip install 'rnncore\[plot\]'"):
        flow_of(net_of("rnn")).plot()


def test_later_changes_of_parameters_do_not_matter() -> None:
    net = net_of("rnn")
    flow = flow_of(net)
    expected = numbers_of(flow_of(net))
    net.params.flat[:] = np.nan
    assert_same_bits(expected, numbers_of(flow))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"params": 1}, TypeError, "params must be"),
        ({"labels": np.array([0, 1])}, ValueError, "inputs and labels must have the same steps"),
        ({"loss": "none"}, ValueError, "loss must be"),
        ({"resets": np.zeros(3, int)}, TypeError, "resets must be an array of booleans"),
        ({"threads": 0}, ValueError, "threads must be"),
    ],
)
def test_errors_are_those_of_bptt(change: dict[str, Any], error: type[Exception], message: str) -> None:
    params = rnncore.init_params("rnn", 3, 4, 2, tokens=True)
    given: dict[str, Any] = {"params": params, "inputs": np.array([0, 1, 2]), "labels": np.array([0, 1, 0]), **change}
    with pytest.raises(error, match=message):
        rnncore.gradient_flow(**given)


def test_the_first_step_knows_the_initial_state() -> None:
    assert flow_of(net_of("rnn")).weights["W_hh"][0] > 0
    assert flow_of(net_of("rnn", state=False)).weights["W_hh"][0] == 0

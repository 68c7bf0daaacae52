"""verify() says yes to what is right and no to what is off by one bit; the command line says the same."""

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import __main__ as command
from rnncore.cells import CELLS
from rnncore.examples import examples
from rnncore.net import Net
from rnncore.verify import verify
from rnncore.verify.agreements import differing_bits
from rnncore.verify.report import Report

PARAMS = rnncore.init_params("rnn", inputs=4, hidden=5, outputs=3, seed=2, dtype="float32")
RNG = np.random.default_rng(0)
VECTORS, TOKENS = RNG.normal(size=(6, 2, 4)), RNG.integers(0, 4, (6, 2))
LABELS = RNG.integers(-1, 3, (6, 2))


def test_what_is_right_is_right() -> None:
    report = rnncore.verify(PARAMS, VECTORS, LABELS)
    assert report.ok
    names = [row.tensor for row in report.agreements]
    assert names == ["loss", "losses", "y", "h", "state", "dstate", *(f"grads.{n}" for n in PARAMS.names()), "dinputs"]
    assert [row.tensor for row in report.differences] == [*names[6:-1], "dstate", "dinputs"]
    assert all(row.allowed < 1e-5 for row in report.differences)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_and_each_of_its_states(cell: str) -> None:
    params = rnncore.init_params(cell, inputs=4, hidden=5, outputs=3, seed=3, dtype="float64")
    several = len(CELLS[cell].states) > 1
    states = tuple(RNG.uniform(-1, 1, (2, 5)) for _ in CELLS[cell].states)
    report = rnncore.verify(params, VECTORS, LABELS, state=states if several else states[0])
    assert report.ok, str(report)
    before = [f"state {letter}" for letter in CELLS[cell].states] if several else ["state"]
    grads = [f"grads.{name}" for name in params.names()]
    d = [f"d{name}" for name in before]
    assert [row.tensor for row in report.agreements] == ["loss", "losses", "y", "h", *before, *d, *grads, "dinputs"]
    assert [row.tensor for row in report.differences] == [*grads, *d, "dinputs"]
    assert all(row.allowed < 1e-5 for row in report.differences)


def test_an_edge_is_no_slope() -> None:
    """z = 1e-9 of a rectifier: the differences around it see the edge unless their steps are smaller still."""
    params = rnncore.Params("rnn_relu", W_xh=[[1.0]], W_hh=[[1.0]], W_hy=[[1.0], [-1.0]])
    near, far = (rnncore.verify(params, np.full((1, 1), x), np.array([0])) for x in (1e-9, 1e-3))
    assert near.ok
    assert far.ok
    assert {row.tensor: row.allowed < 1e-6 for row in near.differences} == {
        "grads.W_xh": True,
        "grads.W_hh": True,
        "grads.W_hy": True,
        "grads.b_h": False,
        "grads.b_y": True,
        "dstate": False,
        "dinputs": False,
    }
    assert all(row.allowed < 1e-6 for row in far.differences)


@pytest.mark.parametrize(
    "more",
    [{"lengths": [6, 0]}, {"state": RNG.uniform(-1, 1, (2, 5))}, {"labels": np.full((6, 2, 3), 1 / 3, "f4")}],
    ids=lambda more: str(*more),
)
def test_every_argument_of_bptt(more: dict[str, Any]) -> None:
    assert rnncore.verify(PARAMS, **{"inputs": TOKENS, "labels": LABELS, **more}).ok
    assert rnncore.verify(PARAMS, [TOKENS[:, 0], TOKENS[:2, 1]], [LABELS[:, 0], LABELS[:2, 1]]).ok
    with pytest.raises(TypeError, match=r"params must be a rnncore\.Params"):
        rnncore.verify(None, TOKENS, LABELS)  # type: ignore[arg-type]


def test_what_is_not_finite_is_compared_but_not_differentiated() -> None:
    vectors = VECTORS.copy()
    vectors[1, 0, 2] = np.nan
    report = rnncore.verify(PARAMS, vectors, LABELS)
    assert report.ok
    assert not report.differences
    assert "central differences: none, the loss is not finite" in str(report)


class Wrong:
    """numpy, with the results of one of its functions changed."""

    name = "numba"

    def __init__(self, function: str, how: Any) -> None:
        from rnncore.engines import engine

        self.right, self.function, self.how = engine("numpy"), function, how

    def __getattr__(self, name: str) -> Any:
        own = getattr(self.right, name)
        return (lambda *arguments: self.how(own(*arguments), *arguments)) if name == self.function else own


def with_wrong(monkeypatch: pytest.MonkeyPatch, function: str, how: Any, **options: Any) -> Report:
    module = sys.modules["rnncore.engines"]
    wrong: Any = Wrong(function, how)
    monkeypatch.setitem(module._made, "numba", wrong)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys.modules["rnncore.verify.agreements"], "engines", lambda: ["numpy", "numba"])
    with rnncore.use_backend("numba"):
        return verify(PARAMS, VECTORS, **{"labels": LABELS, **options})


def of_grads(change: Any) -> Any:
    """What changes W_hh of the gradients that bptt returns."""

    def how(result: Any, net: Net, *arguments: Any) -> Any:
        change(net.views(result[3])["W_hh"])
        return result

    return how


def test_one_bit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def flip(W_hh: np.ndarray) -> None:
        W_hh[3, 1] = np.nextafter(W_hh[3, 1], np.inf, dtype=W_hh.dtype)

    report = with_wrong(monkeypatch, "bptt", of_grads(flip))
    wrong = [row for row in report.agreements if not row.ok]
    assert not report.ok
    assert [row.tensor for row in wrong] == ["grads.W_hh"]
    assert wrong[0].where == "numba [3, 1]"
    assert wrong[0].bits["numba"] >= 1
    assert 0 < wrong[0].largest < 1e-6
    assert all(row.ok for row in report.differences)  # too small for them
    line = next(line for line in str(report).splitlines() if line.startswith("grads.W_hh"))
    assert line.endswith("WRONG")
    assert "numba [3, 1]" in line


def test_a_wrong_gradient_is_seen_by_the_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    def scale(W_hh: np.ndarray) -> None:
        W_hh *= 1.001

    report = with_wrong(monkeypatch, "bptt", of_grads(scale))
    assert [row.tensor for row in report.differences if not row.ok] == ["grads.W_hh"]


def rows(found: Any) -> list[str]:
    """The tensors of the rows that are wrong."""
    return [row.tensor for row in found if not row.ok]


OPTIONS: list[dict[str, Any]] = [
    {"truncate": 2},
    {"truncate": 9},
    {"checkpoint": 2},
    {"checkpoint": "auto", "need_dinputs": True},
    {"per_sequence": True},
    {"per_sequence": "norms", "truncate": 3},
    {"per_sequence": "clipped", "clip_norm": 0.5},
    {"per_sequence": "clipped", "clip_norm": 1e-12, "truncate": 1},
]
FORMS = ("grid", "lengths", "one", "list", "offsets")


def case(
    cell: str, form: str, *, last: bool = False, tokens: bool = False, layers: int = 1, ways: int = 1
) -> dict[str, Any]:
    """The arguments of a call on sequences of 5, 0 and 3 steps, or of one form that has them all: see FORMS."""
    net = rnncore.init_params(
        cell, inputs=3, hidden=4, outputs=2, layers=layers, bidirectional=ways == 2, tokens=tokens, seed=5
    )
    numbers, lengths = np.random.default_rng(4), [5, 0, 3]
    x = numbers.integers(0, 3, (5, 3)) if tokens else numbers.normal(size=(5, 3, 3))
    lead = (3,) if last else (5, 3)
    arrays: dict[str, Any] = {"inputs": x, "labels": numbers.integers(-1, 2, lead), "weights": numbers.random(lead)}
    more: dict[str, Any] = {"dropout_masks": [numbers.random((3, 4 * ways))]} if layers == 2 else {}
    if form == "one":
        more = {"dropout_masks": [more["dropout_masks"][0][0]]} if more else {}
        arrays = {n: a[..., 0] if last and n != "inputs" else a[:, 0] for n, a in arrays.items()}
    elif form == "lengths":
        more |= {"lengths": lengths}
    elif form != "grid":
        each = {n: a for n, a in arrays.items() if a.shape[0] == 5}
        arrays |= {n: [a[:T, b] for b, T in enumerate(lengths)] for n, a in each.items()}
        if form == "offsets":
            arrays |= {n: np.concatenate(arrays[n]) for n in each}
            more |= {"offsets": np.cumsum([0, *lengths])}
    if form in ("grid", "lengths") and ways == 1:
        more |= {"resets": numbers.random((5, 3)) < 0.3}
    return {"params": net, **arrays, **more}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(map(str, options.values())))
@pytest.mark.parametrize("form", FORMS)
def test_every_option_of_bptt(form: str, options: dict[str, Any]) -> None:
    """Of nets of one layer, of two, of two directions and of one label a sequence, as far as bptt has it."""
    nets: list[dict[str, Any]] = [{}, {"tokens": True, "layers": 2}, {"ways": 2}, {"last": True, "layers": 2}]
    for cell, net in zip(("lstm", "rnn_relu", "gru", "gru_reset_before"), nets, strict=True):
        if "need_dinputs" in options and net:
            continue
        report = verify(**case(cell, form, **net), **options)
        assert report.ok, str(report)
        assert all(row.allowed < 1e-4 for row in report.differences), str(report)


def test_rows_of_options() -> None:
    params = case("rnn", "grid")["params"]
    names, of = [f"grads.{name}" for name in params.names()], {}
    for name, options in {
        "truncate": {"truncate": 2},
        "checkpoint": {"checkpoint": 2},
        "norms": {"per_sequence": "norms"},
        "clipped": {"per_sequence": "clipped", "clip_norm": 0.1},
    }.items():
        of[name] = verify(**case("rnn", "grid"), **options)
    assert [row.tensor for row in of["truncate"].differences] == ["losses", *names, "dstate", "dinputs"]
    assert of["checkpoint"].agreements[-1].tensor == "the plain call"
    assert "numpy" in of["checkpoint"].agreements[0].bits
    assert [row.tensor for row in of["norms"].agreements[-2:]] == ["per_sequence.loss", "per_sequence.norms"]
    made, each = ["per_sequence.loss", "per_sequence.norms"], "per_sequence.grads"
    assert [row.tensor for row in of["norms"].differences] == [*made, each, *names, "dstate", "dinputs"]
    assert [row.tensor for row in of["clipped"].differences] == [*made, *names, each, "dstate", "dinputs"]
    assert all(row.allowed < 1e-13 for row in of["clipped"].differences if row.tensor in names)
    assert str(of["clipped"]).splitlines()[0].endswith("T=5, B=3, per_sequence='clipped', clip_norm=0.1")


def test_places_in_lists_name_the_sequence_first() -> None:
    report = verify(**case("rnn", "list"), truncate=2)
    where = {row.tensor: row.where for row in report.differences}
    assert where["losses"].count("[") == 2
    assert where["dinputs"].count("[") == 2
    assert where["grads.W_hh"].count("[") == 1


def one_bit(array: np.ndarray) -> None:
    array[...] = np.nextafter(array, np.inf, dtype=array.dtype)


def wrong_gates(result: Any, *arguments: Any) -> Any:
    one_bit(result[0])
    return result


def wrong_sums(result: Any, kept: Any, flat: Any, dy: Any, gates: Any, options: Any, each: Any = None) -> Any:
    if each is not None:
        result[0][-1] *= 1.001
    return result


def wrong_after(result: Any, *arguments: Any) -> Any:
    if arguments[8:] and arguments[8][1] is not None:  # not of the last piece
        one_bit(result[3])
    return result


BROKEN = {
    "gates": ("gates", wrong_gates, {"truncate": 2}, "grads.W_hh", None),
    "rows": ("sums", wrong_sums, {"per_sequence": True}, "per_sequence.grads", "per_sequence.grads"),
    "rows of lengths": ("sums", wrong_sums, {"per_sequence": "norms"}, "per_sequence.norms", "per_sequence.grads"),
    "lengths": (
        "add_shortened",
        lambda lengths, *_: lengths * 1.001,
        {"per_sequence": "norms"},
        "per_sequence.norms",
        "per_sequence.norms",
    ),
    "sum": (
        "add_shortened",
        lambda lengths, total, *_: [lengths, one_bit(total)][0],
        {"per_sequence": "clipped", "clip_norm": 0.1},
        "grads.W_hh",
        None,
    ),
    "checkpoint": ("bptt", wrong_after, {"checkpoint": 1}, "grads.W_hh", None),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_engine_is_found_with_each_option(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, how, options, agreement, difference = BROKEN[what]
    if what == "checkpoint":  # pieces have whole blocks of the sums
        monkeypatch.setattr(sys.modules["rnncore.timeline"], "BLOCK", 2)
    report = with_wrong(monkeypatch, function, how, **options)
    assert agreement in rows(report.agreements)
    assert difference is None or difference in rows(report.differences)


def test_gradients_clipped_too_short_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(lengths: np.ndarray, total: np.ndarray, *_: Any) -> np.ndarray:
        total *= 1 - 1e-9
        return lengths

    report = with_wrong(monkeypatch, "add_shortened", shorter, per_sequence="clipped", clip_norm=0.1)
    assert "grads.W_hh" in rows(report.differences)
    assert "per_sequence.norms" not in rows(report.differences)


@pytest.mark.parametrize("off", [-1, 1])
def test_windows_of_another_length_are_found(off: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every engine agrees on them, and the differences do not."""
    module = sys.modules["rnncore.windows"]
    right: Any = module.windows  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "windows", lambda source, k, last: right(source, k + off, last))
    report = verify(PARAMS, VECTORS, LABELS, truncate=3)
    assert not rows(report.agreements)
    assert {"grads.W_hh", "grads.b_h", "dstate"} <= set(rows(report.differences))


def test_states_that_enter_windows_are_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole gradient is another one."""
    monkeypatch.setattr(sys.modules["rnncore.gradients"].windows, "window_of", lambda *_: None)  # type: ignore[attr-defined]
    assert "grads.W_hh" in rows(verify(PARAMS, VECTORS, LABELS, truncate=2).differences)


def test_checkpoints_with_other_bits_than_the_plain_call_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["rnncore.checkpoint"]
    right: Any = module.total  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "total", lambda *arguments: np.nextafter(right(*arguments), np.inf))
    report = verify(PARAMS, VECTORS, LABELS, checkpoint=2)
    assert rows(report.agreements) == ["the plain call"]
    assert report.agreements[-1].where.endswith(" loss")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "numpy"}, TypeError, "verify takes no backend, got str 'numpy': it compares all engines"),
        ({"threads": 2}, TypeError, "verify takes no threads, got int 2: it compares all engines"),
        ({"truncate": 0}, ValueError, "truncate must be at least 1"),
        ({"checkpoint": 2, "truncate": 2}, ValueError, "checkpoint must be None where truncate is asked for"),
        ({"per_sequence": "all"}, ValueError, "per_sequence must be True, False, or one of"),
        ({"per_sequence": "clipped"}, ValueError, "clip_norm must be given with per_sequence='clipped'"),
        ({"inputs": TOKENS, "need_dinputs": True}, ValueError, "need_dinputs must be False for tokens"),
    ],
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        verify(PARAMS, **{"inputs": VECTORS, "labels": LABELS, **options})


def arrays_of(values: Any) -> list[np.ndarray]:
    return list(values) if isinstance(values, list | tuple) else [values]


def in_form(like: Any, arrays: list[np.ndarray]) -> Any:
    return type(like)(arrays) if isinstance(like, list | tuple) else arrays[0]


def smooth(out: rnncore.ForwardResult) -> tuple[float, dict[str, Any]]:
    """The sum of sines of outputs, of cubes of hidden states, and of squares of last states, with their gradients."""
    y, h, last = arrays_of(out.y), arrays_of(out.h), arrays_of(out.state)
    J = sum(np.sin(a).sum() for a in y) + sum((a**3).sum() for a in h) + sum((a**2).sum() for a in last)
    given = {"dh": in_form(out.h, [3 * a**2 for a in h]), "dstate": in_form(out.state, [2 * a for a in last])}
    return J, given | ({"dy": in_form(out.y, [np.cos(a) for a in y])} if y[0].shape[-1] else {})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("cell", "net"),
    [
        ("lstm", {}),
        ("rnn_relu", {"layers": 2}),
        ("gru", {"ways": 2}),
        ("lstm", {"layers": 2, "ways": 2, "tokens": True}),
    ],
)
def test_a_loss_of_one_s_own(cell: str, net: dict[str, Any], form: str) -> None:
    given = case(cell, form, **net)
    del given["labels"], given["weights"]
    report = verify(**given, loss=smooth)
    assert report.ok, str(report)
    states = [f" {letter}" for letter in CELLS[cell].states] if cell == "lstm" else [""]
    own = ["loss: dy", "loss: dh", *(f"loss: dstate{letter}" for letter in states)]
    assert [row.tensor for row in report.differences][: len(own)] == own
    at_an_edge = cell == "rnn_relu"  # units that are exactly at 0 after a reset
    assert at_an_edge or all(row.allowed < 1e-4 for row in report.differences), str(report)
    assert "a loss of your own" in str(report)


@pytest.mark.parametrize("form", FORMS)
def test_nets_without_outputs(form: str) -> None:
    given = case("gru", form, layers=2)
    params = rnncore.init_params("gru", inputs=3, hidden=4, outputs=0, layers=2, seed=1)
    del given["labels"], given["weights"]
    report = verify(**{**given, "params": params}, loss=smooth)
    assert report.ok, str(report)
    assert [row.tensor for row in report.agreements][:2] == ["h", "state"]
    assert report.differences[0].tensor == "loss: dh"
    with pytest.raises(ValueError, match="loss must be a function where params has outputs = 0"):
        verify(params, given["inputs"])


def test_the_loss_gets_the_dtype_of_the_net_and_float64() -> None:
    seen = set()

    def loss(out: rnncore.ForwardResult) -> Any:
        seen.add((out.y.dtype.name, out.h.dtype.name, out.state.dtype.name))
        return smooth(out)

    assert verify(PARAMS, VECTORS, loss=loss).ok
    assert seen == {("float32",) * 3, ("float64",) * 3}


def changed(name: str, how: Any) -> Any:
    """The loss above, with one of its gradients changed."""

    def loss(out: rnncore.ForwardResult) -> Any:
        J, given = smooth(out)
        return J, given | {name: how(given[name])}

    return loss


def one_element(array: np.ndarray) -> np.ndarray:
    array[2, 1, 1] *= 1.01
    return array


@pytest.mark.parametrize(
    ("name", "how", "found"),
    [
        ("dy", lambda dy: 1.001 * dy, ["loss: dy", "grads.W_hy", "grads.b_y", "grads.W_hh"]),
        ("dy", lambda dy: None, ["loss: dy", "grads.W_hy"]),
        ("dy", one_element, ["grads.b_y", "grads.W_hh"]),
        ("dh", lambda dh: -dh, ["loss: dh", "grads.W_xh"]),
        ("dh", one_element, ["grads.W_xh"]),
        ("dstate", lambda dstate: 0 * dstate, ["loss: dstate", "grads.W_xh"]),
    ],
)
def test_a_wrong_gradient_of_one_s_own_is_a_wrong_row(name: str, how: Any, found: list[str]) -> None:
    report = verify(PARAMS, VECTORS, loss=changed(name, how))
    assert not rows(report.agreements)
    assert set(found) <= set(rows(report.differences)), str(report)
    assert "WRONG" in str(report)


def test_a_broken_backward_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def how(result: Any, *arguments: Any) -> Any:
        one_bit(result[0])
        return result

    report = with_wrong(monkeypatch, "backward", how, labels=None, loss=smooth)
    assert set(rows(report.agreements)) == {f"grads.{name}" for name in PARAMS.names()}
    assert not rows(report.differences)


def test_a_loss_that_rounds_more_is_allowed_more() -> None:
    """Its own roundings are measured: one in float32 is no wrong gradient."""
    exact, rounded = (
        verify(PARAMS, VECTORS, loss=lambda out, f=f: (f(smooth(out)[0]), smooth(out)[1])) for f in (float, np.float32)
    )
    assert exact.ok
    assert rounded.ok, str(rounded)
    assert max(row.allowed for row in exact.differences) < 1e-5 < max(row.allowed for row in rounded.differences)


def test_an_infinite_loss_is_not_differentiated() -> None:
    report = verify(PARAMS, VECTORS, loss=lambda out: (np.inf, {"dy": 0 * out.y}))
    assert report.ok
    assert not report.differences


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (1.0, TypeError, "loss must return a tuple of J and a dict of 'dy', 'dh', 'dstate', got float 1.0"),
        (
            (1.0, VECTORS),
            TypeError,
            "loss must return J and a dict of 'dy', 'dh', 'dstate', got ndarray float64 (6, 2, 4)",
        ),
        ((1.0, {"y": 1}), ValueError, "loss must return J and a dict of 'dy', 'dh', 'dstate', got the key 'y'"),
        ((1.0, {}), ValueError, "dy, dh or dstate must be given"),
        ((1.0, {"dy": VECTORS}), ValueError, "dy must have shape (T, B, V) = (6, 2, 3), got float64 (6, 2, 4)"),
        ((1.0, {"dh": VECTORS}), ValueError, "dh must have shape (T, B, H) = (6, 2, 5), got float64 (6, 2, 4)"),
        ((1.0, {"dstate": VECTORS}), ValueError, "dstate must have shape"),
        (("1", {"dstate": np.zeros((2, 5))}), TypeError, "J, which loss returns, must be a number, got str '1'"),
        ((np.ones(2), {"dstate": np.zeros((2, 5))}), TypeError, "J, which loss returns, must be a number, got ndarray"),
    ],
)
def test_messages_of_what_a_loss_returns(answer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        verify(PARAMS, VECTORS, loss=lambda out: answer)


@pytest.mark.parametrize(
    "options",
    [
        {"labels": LABELS},
        {"weights": np.ones((6, 2))},
        {"truncate": 2},
        {"checkpoint": 2},
        {"per_sequence": True},
        {"clip_norm": 1.0},
    ],
)
def test_options_that_a_function_as_loss_does_not_take(options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"^{name} must be (None|False) where loss is a function, got "):
        verify(PARAMS, VECTORS, loss=smooth, **options)


def test_differing_bits() -> None:
    a = np.array([1.0, -0.0, np.nan, np.inf], "f4")
    assert differing_bits(a, a.copy()) == 0
    assert differing_bits(a, -a) == 3  # signs; a NaN has none
    assert differing_bits(a, a.astype("f8")) > 0
    assert differing_bits(a, a[:2]) > 0
    assert differing_bits(np.array(1.0), np.array(1.0)) == 0
    assert differing_bits(np.zeros(0), np.zeros(0)) == 0


def test_the_table_is_aligned() -> None:
    lines = str(rnncore.verify(PARAMS, TOKENS, LABELS)).splitlines()
    assert lines[0] == f"{PARAMS!r}, T=6, B=2"
    agreement = lines[2 : lines.index("", 2)]
    assert len({line.rindex(line.split()[-1]) for line in agreement}) == 1
    assert max(map(len, lines)) <= 120


def test_the_built_in_nets_are_right_and_quick_to_check() -> None:
    nets = list(examples())
    assert {example.params.dtype.name for example in nets} == {"float32", "float64"}
    assert len({example.why for example in nets}) == len(nets)
    assert {(example.params.cell, example.params.dtype.name) for example in nets} == {
        (cell, dtype) for cell in CELLS for dtype in ("float32", "float64")
    }
    assert max(len(example.why) for example in nets) < 62
    assert all(example.verify().ok for example in nets if "stream" in example.why)


@pytest.mark.slow
def test_command_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["verify"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("verified\n")
    assert "WRONG" not in printed


def test_command_verify_fails_if_a_net_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(examples())
    report = first.verify()
    for row in report.agreements:
        row.bits["numba"] = 1
    monkeypatch.setattr(type(first), "verify", lambda self: report)
    monkeypatch.setattr(command, "examples", lambda: [first])
    assert command.main(["verify"]) == 1
    assert "WRONG: 1 net" in capsys.readouterr().out


def test_command_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["info"]) == 0
    printed = capsys.readouterr().out
    assert rnncore.__version__ in printed
    assert "numpy" in printed
    assert "cores" in printed


def test_wrong_commands() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "rnncore", "fly"], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert run.returncode == 2
    assert "invalid choice: 'fly'" in run.stderr

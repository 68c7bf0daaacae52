"""verify() says yes to what is right and no to what is off by one bit; the command line says the same."""

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
from rnncore.verify import Report, differing_bits, verify

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
    """numpy, with one gradient changed."""

    name = "numba"

    def __init__(self, how: Any) -> None:
        from rnncore.engines import engine

        self.right, self.how = engine("numpy"), how

    def __getattr__(self, name: str) -> Any:
        return getattr(self.right, name)

    def bptt(self, net: Net, *arguments: Any) -> Any:
        result = self.right.bptt(net, *arguments)
        self.how(net.views(result[3])["W_hh"])
        return result


def with_wrong(monkeypatch: pytest.MonkeyPatch, how: Any) -> Report:
    module = sys.modules["rnncore.engines"]
    wrong: Any = Wrong(how)
    monkeypatch.setitem(module._made, "numba", wrong)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys.modules["rnncore.verify"], "engines", lambda: ["numpy", "numba"])
    with rnncore.use_backend("numba"):
        return verify(PARAMS, VECTORS, LABELS)


def test_one_bit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def flip(W_hh: np.ndarray) -> None:
        W_hh[3, 1] = np.nextafter(W_hh[3, 1], np.inf, dtype=W_hh.dtype)

    report = with_wrong(monkeypatch, flip)
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

    report = with_wrong(monkeypatch, scale)
    assert [row.tensor for row in report.differences if not row.ok] == ["grads.W_hh"]


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

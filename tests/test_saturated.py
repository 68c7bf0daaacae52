"""Gradients of gated cells keep their digits where units saturate.

The witness is the derivation in long double, with derivatives that do not cancel: ``1 - tanh^2 x`` as
``1 / cosh^2 x`` and ``s (1 - s)`` as ``1 / (4 cosh^2 (x / 2))``. An error is counted in units of 2^-24 or 2^-53 of the
sum of the absolute values of all terms of the same element: the backward pass again, with every factor's absolute
value. Where units are saturated, ``1 - h * h`` of the rounded h keeps no digit, and ``s * (1 - s)``
few: the last test shows that the first one would notice.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from nets import Net, Numbers, make_net, run_parts, state_arrays

from rnncore._numpy.elementary import sigmoid_of, tanh_of
from rnncore._numpy.layer import cell_of
from rnncore.cells import CELLS

Array = npt.NDArray[Any]
GATED = [cell for cell, row in CELLS.items() if row.saved]
BOUND = 128
"""Units: what docs/arithmetic.md promises."""
SCALES = (0.25, 1.0, 4.0)

wide = np.longdouble


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def sigmoid_slope(x: Array) -> Array:
    return 1 / (4 * np.cosh(x / 2) ** 2)


def tanh_slope(x: Array) -> Array:
    return 1 / np.cosh(x) ** 2


class Witness:
    """Computes a net in long double: forward, and back with the signs of all factors or without them."""

    def __init__(self, net: Net) -> None:
        self.cell, self.H = net.params.cell, net.params.hidden
        self.w = {name: np.asarray(net.params[name], wide) for name in net.params.names()}
        self.x, self.dh = np.asarray(net.inputs, wide), np.asarray(net.dh, wide)
        self.first = [np.asarray(state, wide) for state in state_arrays(net.state)]
        self.last = [np.asarray(state, wide) for state in state_arrays(net.dstate)]
        self.steps: list[dict[str, Array]] = []
        state = self.first
        for x in self.x:
            self.steps.append(getattr(self, f"{self.cell}_step")(x, state))
            state = [self.steps[-1][name] for name in CELLS[self.cell].states]

    def gates(self, product: Array) -> list[Array]:
        return [product[:, start : start + self.H] for start in range(0, product.shape[1], self.H)]

    def lstm_step(self, x: Array, state: list[Array]) -> dict[str, Array]:
        h, c = state
        i, f, g, o = self.gates(x @ self.w["W_xh"].T + h @ self.w["W_hh"].T + self.w["b_h"])
        new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return {"i": i, "f": f, "g": g, "o": o, "c": new, "h": sigmoid(o) * np.tanh(new), "h_prev": h, "c_prev": c}

    def gru_step(self, x: Array, state: list[Array]) -> dict[str, Array]:
        (h,) = state
        a, u = self.gates(x @ self.w["W_xh"].T + self.w["b_x"]), self.gates(h @ self.w["W_hh"].T + self.w["b_h"])
        r, z = a[0] + u[0], a[1] + u[1]
        return self.mixed(r, z, a[2] + sigmoid(r) * u[2], h) | {"u_n": u[2]}

    def gru_reset_before_step(self, x: Array, state: list[Array]) -> dict[str, Array]:
        (h,) = state
        a, before, W = self.gates(x @ self.w["W_xh"].T + self.w["b_x"]), 2 * self.H, self.w["W_hh"]
        r, z = (p + u for p, u in zip(a, self.gates(h @ W[:before].T + self.w["b_h"][:before]), strict=False))
        q = sigmoid(r) * h
        return self.mixed(r, z, a[2] + (q @ W[before:].T + self.w["b_h"][before:]), h) | {"q": q}

    def mixed(self, r: Array, z: Array, n: Array, h: Array) -> dict[str, Array]:
        return {"r": r, "z": z, "n": n, "h_prev": h, "h": sigmoid(-z) * np.tanh(n) + sigmoid(z) * h}

    def back(self, size: bool) -> dict[str, Array]:
        """The gradients; or the sums of the absolute values of their terms."""
        sign: Any = np.abs if size else lambda x: x
        w = {name: sign(array) for name, array in self.w.items()}
        dstate = [sign(state) for state in self.last]
        das, dus = [], []
        for dh, step in zip(sign(self.dh)[::-1], self.steps[::-1], strict=True):
            dstate[0] = dh + dstate[0]
            da, du, dstate = getattr(self, f"{self.cell}_back")(dstate, step, sign, w["W_hh"])
            das.append(np.concatenate(da, axis=1))
            dus.append(np.concatenate(du, axis=1))
        steps = self.steps[::-1]
        found = {
            "W_xh": sum(da.T @ sign(x) for da, x in zip(das, self.x[::-1], strict=True)),
            "W_hh": sum(du.T @ sign(step["h_prev"]) for du, step in zip(dus, steps, strict=True)),
            "b_h": sum(du.sum(axis=0) for du in dus),
        }
        if self.cell != "lstm":
            found["b_x"] = sum(da.sum(axis=0) for da in das)
        if self.cell == "gru_reset_before":
            late = sum(du[:, -self.H :].T @ sign(step["q"]) for du, step in zip(dus, steps, strict=True))
            found["W_hh"] = np.concatenate([found["W_hh"][: -self.H], late])
        names = [f"dstate {name}" for name in CELLS[self.cell].states] if len(dstate) > 1 else ["dstate"]
        found = {f"grads.{name}": array for name, array in found.items()} | dict(zip(names, dstate, strict=True))
        return {f"backward {name}": array for name, array in found.items()}

    def lstm_back(self, dstate: list[Array], s: dict[str, Array], sign: Any, W: Array) -> Any:
        dh, dc = dstate
        dc = dc + dh * sigmoid(s["o"]) * tanh_slope(s["c"])
        da = [
            dc * sign(np.tanh(s["g"])) * sigmoid_slope(s["i"]),
            dc * sign(s["c_prev"]) * sigmoid_slope(s["f"]),
            dc * sigmoid(s["i"]) * tanh_slope(s["g"]),
            dh * sign(np.tanh(s["c"])) * sigmoid_slope(s["o"]),
        ]
        return da, da, [np.concatenate(da, axis=1) @ W, dc * sigmoid(s["f"])]

    def gru_back(self, dstate: list[Array], s: dict[str, Array], sign: Any, W: Array) -> Any:
        da_n, da_z, dh = self.gru_parts(dstate[0], s, sign)
        da = [da_n * sign(s["u_n"]) * sigmoid_slope(s["r"]), da_z, da_n]
        du = [*da[:2], da_n * sigmoid(s["r"])]
        return da, du, [np.concatenate(du, axis=1) @ W + dh * sigmoid(s["z"])]

    def gru_reset_before_back(self, dstate: list[Array], s: dict[str, Array], sign: Any, W: Array) -> Any:
        da_n, da_z, dh = self.gru_parts(dstate[0], s, sign)
        dq = da_n @ W[-self.H :]
        da = [dq * sign(s["h_prev"]) * sigmoid_slope(s["r"]), da_z, da_n]
        through = np.concatenate(da[:2], axis=1) @ W[: -self.H]
        return da, da, [through + (dh * sigmoid(s["z"]) + dq * sigmoid(s["r"]))]

    def gru_parts(self, dh: Array, s: dict[str, Array], sign: Any) -> tuple[Array, Array, Array]:
        n = np.tanh(s["n"])
        between = sign(s["h_prev"]) + sign(n) if sign is np.abs else s["h_prev"] - n
        return dh * sigmoid(-s["z"]) * tanh_slope(s["n"]), dh * between * sigmoid_slope(s["z"]), dh


def saturated(cell: str, dtype: str, scale: float, seed: int) -> Net:
    """A net whose biases take half of its units to where 1 - s is below 2^-14, to either side."""
    net = make_net(cell=cell, dtype=dtype, T=4, B=3, X=2, H=4, V=0, own_loss=True, scale=scale, seed=seed)
    net.params.b_h += Numbers(seed).symmetric(20.0, *net.params.b_h.shape).astype(dtype)
    return net


def worst(net: Net, engine: str) -> float:
    """The largest error of an element in units of its terms; those that may be subnormal do not count."""
    witness, found = Witness(net), run_parts(net, engine)
    true, size = witness.back(False), witness.back(True)
    info = np.finfo(net.params.dtype)
    units = []
    for name, array in true.items():
        counts = size[name] > info.tiny * 2.0**info.nmant
        units.append((np.abs(found[name] - array)[counts] / size[name][counts]).max(initial=0))
    return float(max(units) * 2.0 ** (info.nmant + 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", GATED)
def test_no_element_is_off_by_more_than_is_promised(cell: str, dtype: str, engine: str) -> None:
    for scale in SCALES:
        found = [worst(saturated(cell, dtype, scale, seed), engine) for seed in range(20)]
        assert max(found) <= BOUND


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", GATED)
def test_derivatives_of_rounded_values_would_break_the_promise(
    cell: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, of, slope in (("tanh", tanh_of, lambda h: 1 - h * h), ("sigmoid", sigmoid_of, lambda s: s * (1 - s))):
        monkeypatch.setattr(cell_of(cell), f"{kind}_slope", lambda kept, of=of, slope=slope: slope(of(kept)))
        assert worst(saturated(cell, dtype, 1.0, 1), "numpy") > 100_000
        monkeypatch.undo()

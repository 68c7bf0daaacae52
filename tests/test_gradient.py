"""The gradients are right: against the mathematics written out, and against central differences."""

from functools import lru_cache

import mpmath
import numpy as np
import pytest
from literal import DIGITS, Gradients, Weights, differentiate, exact
from nets import Array, Net, Results, make_net, run_bptt, with_changes
from rounding import bounds, grid

import rnncore

SMALL = {"T": 6, "B": 2, "X": 3, "H": 5, "V": 4}
ORDINARY = {
    "small": SMALL,
    "one step": {**SMALL, "T": 1},
    "one of everything": {"T": 3, "B": 1, "X": 1, "H": 1, "V": 2},
    "twelve steps": {**SMALL, "T": 12},
    "long": {"T": 20, "B": 1, "X": 2, "H": 3, "V": 3},
    "wide": {"T": 4, "B": 2, "X": 17, "H": 16, "V": 9},
    "no initial state": {**SMALL, "state": False},
    "tokens": {**SMALL, "tokens": True},
    "many tokens": {"T": 9, "B": 4, "X": 7, "H": 6, "V": 7, "tokens": True},
    "distributions": {**SMALL, "labels": "distributions"},
    "some labels": {**SMALL, "labels": "some", "T": 9},
    "the last label": {**SMALL, "labels": "last"},
    "stronger weights": {**SMALL, "scale": 2.0},
    "weaker weights": {**SMALL, "scale": 0.3},
    **{f"seed {seed}": {**SMALL, "T": 8, "seed": seed} for seed in range(2, 12)},
}
UNITS = 16


@lru_cache
def truth(name: str) -> Results:
    """The double sum in 50 digits, for every sequence; added over the sequences where parameters share them."""
    with mpmath.workdps(DIGITS):
        g = grid(make_net(dtype="float64", **ORDINARY[name]))
        weights = Weights(*(exact(array) for array in (g.W_xh, g.W_hh, g.W_hy, g.b_h, g.b_y)))
        found = []
        for b in range(g.x.shape[1]):
            x, labels = ([exact(step) for step in (array[0, b], *array[:, b])] for array in (g.x, g.l))
            found.append(differentiate(weights, x, labels, exact(g.h_0[b])))
        return gather(found)


def gather(found: list[Gradients]) -> Results:
    names = ("W_xh", "W_hh", "W_hy", "b_h", "b_y")
    results = {f"grads.{name}": sum(getattr(one.weights, name) for one in found) for name in names}
    results["loss"] = np.array(sum(one.J for one in found))
    results["dstate"] = np.array([one.dh_0 for one in found])
    results["dinputs"] = np.array([one.dx[1:] for one in found]).swapaxes(0, 1)
    return results


def errors(name: str, engine: str) -> dict[str, Array]:
    """The distance of each array from the truth; the subtraction is exact enough in 50 digits."""
    net = make_net(dtype="float64", **ORDINARY[name])
    found = {array.removeprefix("bptt "): value for array, value in run_bptt(net, engine).items()}
    with mpmath.workdps(DIGITS):
        expected = truth(name)
        return {
            array: np.asarray(abs(exact(found[array]) - expected[array])).astype(np.float64)
            for array in expected.keys() & found.keys()
        }


@pytest.mark.parametrize("name", ORDINARY)
def test_literal(name: str, engine: str) -> None:
    """Every array within 16 units of 2^-53 of its largest element: about a unit for each of the chained roundings."""
    expected = truth(name)
    for array, error in errors(name, engine).items():
        largest = float(np.max(abs(expected[array])))
        assert error.max() <= UNITS * 2.0**-53 * largest, array


@pytest.mark.parametrize("name", ORDINARY)
def test_literal_within_the_bound(name: str, engine: str) -> None:
    """Every element within what ``rounding`` derives for it; 1 % for the terms in u^2."""
    allowed = bounds(make_net(dtype="float64", **ORDINARY[name]), 2.0**-53)
    for array, error in errors(name, engine).items():
        assert (error <= 1.01 * allowed[array]).all(), array


@pytest.mark.parametrize("name", [name for name in ORDINARY if name != "distributions"])
def test_float32_against_float64(name: str, engine: str) -> None:
    """The same numbers in both: float32 is as far away as ``rounding`` allows it; 1 % for the terms in u^2.

    Not for distributions: those that sum to 1 as far as float32 can tell do not in float64.
    """
    net = make_net(dtype="float32", **ORDINARY[name])
    found, expected = run_bptt(net, engine), run_bptt(in_float64(net), engine)
    for array, allowed in bounds(net, 2.0**-24).items():
        if f"bptt {array}" in found:
            error = np.abs(found[f"bptt {array}"].astype(np.float64) - expected[f"bptt {array}"])
            assert (error <= 1.01 * allowed + np.finfo(np.float32).smallest_subnormal).all(), array


def in_float64(net: Net) -> Net:
    params = rnncore.Params(
        "rnn", **{name: getattr(net.params, name).astype(np.float64) for name in ("W_xh", "W_hh", "W_hy", "b_h", "b_y")}
    )
    floats = {"inputs": net.inputs, "labels": net.labels, "state": net.state}
    raised = {name: a.astype(np.float64) for name, a in floats.items() if a is not None and a.dtype == np.float32}
    return with_changes(net, params=params, **raised)


STEP = 2.0**-12


@pytest.mark.parametrize("name", ["small", "one of everything", "long", "many tokens", "distributions", "some labels"])
def test_central_differences(name: str, fast_engine: str) -> None:
    check_slopes(name, fast_engine)


def test_central_differences_in_numpy() -> None:
    check_slopes("small", "numpy")


def check_slopes(name: str, engine: str) -> None:
    """dJ by every parameter, initial state and input is the slope of J.

    With D(e) = (J(+e) - J(-e)) / 2e, the combination (4 D(e) - D(2e)) / 3 is the slope up to e^4 J^(5) / 30
    and, where J is off by at most e_J, up to 1.5 e_J / e. At e = 2^-12 the first is 2^-53 J^(5), less
    than 0.5 e_J / e even if J^(5) is 2^17 times as large as J.
    """
    net = make_net(dtype="float64", **ORDINARY[name])
    found = run_bptt(net, engine)
    allowed = 2 * bounds(net, 2.0**-53)["loss"] / STEP
    for array in ("grads.W_xh", "grads.W_hh", "grads.W_hy", "grads.b_h", "grads.b_y", "dstate", "dinputs"):
        if f"bptt {array}" in found:
            error = np.abs(slopes(net, array, engine) - found[f"bptt {array}"])
            assert error.max() <= allowed, array


def slopes(net: Net, array: str, engine: str) -> Array:
    """The combination above for each element of what J is differentiated by."""
    state = np.zeros((net.inputs.shape[1], net.params.hidden)) if net.state is None else net.state.copy()
    moved = with_changes(net, params=net.params.copy(), inputs=net.inputs.copy(), state=state)
    name = array.removeprefix("grads.")
    place = {"dstate": moved.state, "dinputs": moved.inputs}.get(name)
    place = getattr(moved.params, name) if place is None else place
    slope = np.empty(place.shape)
    for index in np.ndindex(place.shape):
        short, long = (slope_over(moved, place, index, step, engine) for step in (STEP, 2 * STEP))
        slope[index] = (4 * short - long) / 3
    return slope


def slope_over(net: Net, place: Array, index: tuple[int, ...], step: float, engine: str) -> float:
    """(J(+step) - J(-step)) / 2 step, with the step as it is after rounding."""
    middle = place[index]
    up, down = middle + step, middle - step
    place[index] = up
    J_up = loss(net, engine)
    place[index] = down
    J_down = loss(net, engine)
    place[index] = middle
    return (J_up - J_down) / (up - down)


def loss(net: Net, engine: str) -> float:
    assert net.labels is not None
    return rnncore.bptt(net.params, net.inputs, net.labels, state=net.state, backend=engine).loss

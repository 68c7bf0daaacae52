"""The gradients are right: against the mathematics written out, and against central differences."""

from functools import cache
from typing import Any

import literal
import mpmath
import numpy as np
import pytest
from literal import DIGITS, Exact, Gradients, OneSequence, Weights, differentiate, exact
from nets import (
    Array,
    Net,
    Numbers,
    Results,
    as_states,
    each_state,
    make_net,
    named_arrays,
    named_states,
    run_bptt,
    run_parts,
    with_changes,
)
from rounding import bounds, grid

import rnncore
from rnncore.cells import CELLS, shapes

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
OWN_LOSS = {
    "own loss": {**SMALL, "own_loss": True},
    "own loss, some labels": {**SMALL, "T": 9, "labels": "some", "own_loss": True},
    "own loss alone": {**SMALL, "labels": "none", "own_loss": True},
}
ALL = {**ORDINARY, **OWN_LOSS}
each_cell = pytest.mark.parametrize("cell", CELLS)


SEEDS = {("rnn_relu", "one of everything"): 2}
"""With the usual seed its three dy add up to a thirtieth of the largest: no measure for their errors."""


def net_of(cell: str, name: str, dtype: str = "float64") -> Net:
    seed = SEEDS.get((cell, name))
    return make_net(dtype=dtype, cell=cell, **ALL[name], **({} if seed is None else {"seed": seed}))


@cache
def truth(cell: str, name: str) -> Results:
    """The double sum in 50 digits, for every sequence; added over the sequences where parameters share them."""
    with mpmath.workdps(DIGITS):
        g = grid(net_of(cell, name))
        weights = {name: exact(array) for name, array in g.w.items()}
        found = []
        for b in range(g.x.shape[1]):
            x, labels, dh = ([exact(step) for step in (array[0, b], *array[:, b])] for array in (g.x, g.l, g.dh))
            s_0, dstate = (exact(np.concatenate([array[b] for array in arrays])) for arrays in (g.states, g.dstates))
            found.append(differentiate(cell, weights, OneSequence(x, labels, dh, s_0, dstate)))
        return gather(cell, found)


def gather(cell: str, found: list[Gradients]) -> Results:
    results = {f"grads.{name}": sum(one.weights[name] for one in found) for name in found[0].weights}
    results["loss"] = np.array(sum(one.J for one in found))
    by_state = np.split(np.array([one.ds_0 for one in found]), len(CELLS[cell].states), axis=1)
    results |= named_states("dstate", cell, as_states(by_state))
    results["dinputs"] = np.array([one.dx[1:] for one in found]).swapaxes(0, 1)
    return results


def run_gradients(net: Net, engine: str) -> Results:
    """What bptt returns, or backward for a net with a loss of the user's own; both without the call's name."""
    call, results = ("backward ", run_parts(net, engine)) if net.own_loss else ("bptt ", run_bptt(net, engine))
    return {name.removeprefix(call): array for name, array in results.items() if name.startswith(call)}


def errors(cell: str, name: str, engine: str) -> dict[str, Array]:
    """The distance of each array from the truth; the subtraction is exact enough in 50 digits."""
    found = run_gradients(net_of(cell, name), engine)
    with mpmath.workdps(DIGITS):
        expected = truth(cell, name)
        return {
            array: np.asarray(abs(exact(found[array]) - expected[array])).astype(np.float64)
            for array in expected.keys() & found.keys()
        }


UNITS = 16


@pytest.mark.parametrize("name", ALL)
@each_cell
def test_literal(cell: str, name: str, engine: str) -> None:
    """Every array within 16 units of 2^-53 of its largest element: about a unit for each of the chained roundings.

    A gated cell chains twice as many as the tanh cell, but most of them reach J through a gate, whose slope is at most
    a quarter: what is reached is 9 units for rnn, 8 for lstm and gru, 7 for rnn_relu, 5 for gru_reset_before.
    """
    expected = truth(cell, name)
    for array, error in errors(cell, name, engine).items():
        largest = float(np.max(abs(expected[array])))
        assert error.max() <= UNITS * 2.0**-53 * largest, array


@pytest.mark.parametrize("name", ALL)
@each_cell
def test_literal_within_the_bound(cell: str, name: str, engine: str) -> None:
    """Every element within what ``rounding`` derives for it; 1 % for the terms in u^2."""
    allowed = bounds(net_of(cell, name), 2.0**-53)
    for array, error in errors(cell, name, engine).items():
        assert (error <= 1.01 * allowed[array]).all(), array


@pytest.mark.parametrize("name", [name for name in ALL if name != "distributions"])
@each_cell
def test_float32_against_float64(cell: str, name: str, engine: str) -> None:
    """The same numbers in both: float32 is as far away as ``rounding`` allows it; 1 % for the terms in u^2.

    Not for distributions: those that sum to 1 as far as float32 can tell do not in float64.
    """
    net = net_of(cell, name, "float32")
    found, expected = run_gradients(net, engine), run_gradients(in_float64(net), engine)
    for array, allowed in bounds(net, 2.0**-24).items():
        if array in found:
            error = np.abs(found[array].astype(np.float64) - expected[array])
            assert (error <= 1.01 * allowed + np.finfo(np.float32).smallest_subnormal).all(), array


def in_float64(net: Net) -> Net:
    def raised(array: Array) -> Array:
        return array.astype(np.float64) if array.dtype == np.float32 else array

    names = ("inputs", "labels", "state", "dh", "dstate")
    arrays = {name: raised(array) for name, array in named_arrays(net.params).items()}
    changes = {name: each_state(raised, getattr(net, name)) for name in names}
    return with_changes(net, params=rnncore.Params(net.params.cell, **arrays), **changes)


@each_cell
def test_the_literal_gradient_is_a_slope(cell: str) -> None:
    """Of J, in 50 digits, by everything: an error in a Jacobian of ``literal`` has nowhere to hide.

    (J(+e) - J(-e)) / 2e with e = 10^-16 is off by e^2 and by the rounding of J over e: 10^-32 and 10^-34.
    """
    with mpmath.workdps(DIGITS):
        weights, sequence = small_sequence(cell)
        found = differentiate(cell, weights, sequence)
        assert literal.loss(cell, weights, sequence) == found.J
        pairs = [(array, found.weights[name]) for name, array in weights.items()]
        pairs += [(sequence.s_0, found.ds_0), *zip(sequence.x[1:], found.dx[1:], strict=True)]
        for array, gradient in pairs:
            for index in np.ndindex(array.shape):
                slope = exact_slope(cell, weights, sequence, array, index)
                assert abs(slope - gradient[index]) < 1e-28


def small_sequence(cell: str) -> tuple[Weights, OneSequence]:
    """Three steps with losses of both kinds, of a net with three inputs, two hidden units and two outputs."""
    numbers, H = Numbers(7), 2
    N = H * len(CELLS[cell].states)
    weights = {name: exact(numbers.symmetric(1.0, *shape)) for name, shape in shapes(cell, 3, H, 2).items()}
    x, dh, s_0, dstate = (exact(numbers.symmetric(1.0, *shape)) for shape in ((4, 3), (4, H), (N,), (N,)))
    labels = exact(numbers.fractions(4, 2))
    return weights, OneSequence(list(x), list(labels / labels.sum(axis=1, keepdims=True)), list(dh), s_0, dstate)


def exact_slope(cell: str, weights: Weights, sequence: OneSequence, array: Exact, index: tuple[int, ...]) -> Any:
    middle, e = array[index], mpmath.mpf(10) ** -16
    array[index] = middle + e
    above = literal.loss(cell, weights, sequence)
    array[index] = middle - e
    below = literal.loss(cell, weights, sequence)
    array[index] = middle
    return (above - below) / (2 * e)


STEP = 2.0**-12


@pytest.mark.parametrize("name", ["small", "one of everything", "long", "many tokens", "distributions", "some labels"])
@each_cell
def test_central_differences(cell: str, name: str, fast_engine: str) -> None:
    check_slopes(cell, name, fast_engine)


@pytest.mark.parametrize(("cell", "name"), [("rnn", "small"), *((cell, "one of everything") for cell in CELLS)])
def test_central_differences_in_numpy(cell: str, name: str) -> None:
    check_slopes(cell, name, "numpy")


def check_slopes(cell: str, name: str, engine: str) -> None:
    """dJ by every parameter, initial state and input is the slope of J.

    With D(e) = (J(+e) - J(-e)) / 2e, the combination (4 D(e) - D(2e)) / 3 is the slope up to e^4 J^(5) / 30
    and, where J is off by at most e_J, up to 1.5 e_J / e. At e = 2^-12 the first is 2^-53 J^(5), less
    than 0.5 e_J / e even if J^(5) is 2^17 times as large as J.
    """
    net = net_of(cell, name)
    found = run_gradients(net, engine)
    allowed = 2 * bounds(net, 2.0**-53)["loss"] / STEP
    moved = with_changes(net, params=net.params.copy(), inputs=net.inputs.copy(), state=each_state(np.copy, net.state))
    for array, place in places(moved).items():
        error = np.abs(slopes(moved, place, engine) - found[array])
        assert error.max() <= allowed, array


def places(net: Net) -> Results:
    """What J is differentiated by, by the name of the gradient."""
    arrays = {f"grads.{name}": array for name, array in named_arrays(net.params).items()}
    arrays |= named_states("dstate", net.params.cell, net.state)
    return arrays | {"dinputs": net.inputs} if net.need_dinputs else arrays


def slopes(moved: Net, place: Array, engine: str) -> Array:
    """The combination above for each element of an array of the net."""
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

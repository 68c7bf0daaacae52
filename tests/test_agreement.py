"""Every engine equals NumPy to the last bit: loss, losses, outputs, hidden states, last state, every gradient."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import pytest
from nets import (
    Net,
    Numbers,
    Results,
    as_states,
    assert_same_bits,
    each_state,
    make_net,
    reference,
    run,
    state_arrays,
    with_changes,
)

from rnncore.cells import CELLS

SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 65, 100, 129, 200)
STEPS = (0, 1, 2, 3, 7, 16, 31, 64, 129, 300)
BATCHES = (1, 2, 3, 5, 6, 8, 17, 33, 64, 127, 128, 129, 150)
DTYPES = ("float32", "float64")
BOTH = pytest.mark.parametrize("dtype", DTYPES)


def poisoned(number: float, *places: str) -> Callable[[Net], Net]:
    """Puts a number into the middle of some arrays of a net; "state c" is the second of a pair of states."""

    def poison(net: Net) -> Net:
        params = net.params.copy()
        names = [place.split()[0] for place in places]
        changes = {name: each_state(np.array, getattr(net, name)) for name in names if hasattr(net, name)}
        for place in places:
            name, *letter = place.split()
            array = changes[name] if name in changes else getattr(params, name)
            if letter:
                array = array[CELLS[params.cell].states.index(letter[0])]
            array.reshape(-1)[array.size // 2] = number
        return with_changes(net, params=params, **changes)

    return poison


def far_inputs(net: Net) -> Net:
    """Inputs with both zeros, subnormals and numbers near the end of the range."""
    limits = np.finfo(net.inputs.dtype)
    special = np.array([0.0, -0.0, limits.tiny, -limits.tiny / 8, limits.max, -limits.max, 1.0], net.inputs.dtype)
    return with_changes(net, inputs=special[Numbers(3).below(len(special), *net.inputs.shape)])


def weak_recurrence(net: Net) -> Net:
    """W_hh so small that a dozen steps back the gradient is subnormal, then zero."""
    params = net.params.copy()
    params.W_hh *= 1e-4 if net.inputs.dtype == np.float32 else 1e-29
    return with_changes(net, params=params)


def smallest_loss(net: Net) -> Net:
    """dJ/dh of a few times the smallest number there is: products with it round to zero, and keep their signs."""
    assert net.dh is not None
    units = np.sign(net.dh) * np.ceil(3 * np.abs(net.dh))
    tiny = np.finfo(net.dh.dtype).smallest_subnormal
    return with_changes(net, dh=(units * tiny).astype(net.dh.dtype), dstate=None)


def least_probabilities(net: Net) -> Net:
    """All classes but one have a probability that is subnormal or zero, and that one is the label."""
    params = net.params.copy()
    params.b_y -= 102 if params.dtype == np.float32 else 743
    params.b_y[0] = 0
    return with_changes(net, params=params, labels=np.zeros_like(net.labels))


def zero_params(net: Net) -> Net:
    return with_changes(net, params=net.params.zeros_like())


def silent(net: Net) -> Net:
    """h is +0 and b_y is -0, so that outputs are zeros of both signs."""
    params = net.params.zeros_like()
    params.W_hy = net.params.W_hy
    params.b_y[:] = -0.0
    return with_changes(net, params=params)


def unchanged(net: Net) -> Net:
    return net


def one_gate_shut(letter: str, side: float) -> Callable[[Net], Net]:
    """A bias that drives one gate of every unit to an end of its range, half the units further than the others."""

    def shut(net: Net) -> Net:
        params, H = net.params.copy(), net.params.hidden
        first = CELLS[params.cell].gates.index(letter) * H
        params.b_h[first : first + H] += side * np.where(np.arange(H) % 2, 900, 25)
        return with_changes(net, params=params)

    return shut


def zeros_of_both_signs(net: Net) -> Net:
    """Every z is a zero, of one sign in some units and of the other in the rest."""
    params = net.params.zeros_like()
    params.W_hy = net.params.W_hy
    params.b_h[::2] = -0.0
    params.W_xh[:] = -0.0
    params.W_hh[::3] = -0.0
    return with_changes(net, params=params)


def large_states(net: Net) -> Net:
    """States near the end of the range: their products overflow in some gates and not in others."""
    most = np.finfo(net.params.dtype).max
    return with_changes(net, state=each_state(lambda array: np.sign(array) * most / 2, net.state))


def without(*names: str) -> Callable[[Net], Net]:
    """The net without some of what was given; "dstate h" is replaced by zeros, for the pair must be whole."""

    def remove(net: Net) -> Net:
        changes = {}
        for name in names:
            name, *letter = name.split()
            whole = getattr(net, name)
            changes[name] = None
            if letter:
                gone = CELLS[net.params.cell].states.index(letter[0])
                arrays = enumerate(state_arrays(whole))
                changes[name] = as_states(np.zeros_like(array) if n == gone else array for n, array in arrays)
        return with_changes(net, **changes)

    return remove


def by_hand() -> Iterator[tuple[str, dict, Callable[[Net], Net]]]:
    """Why, the arguments of ``make_net``, and a change to make."""
    small = {"T": 4, "B": 3, "X": 5, "H": 6, "V": 7}
    for lanes in (4, 8, 16):
        for H in (lanes - 1, lanes, lanes + 1):
            yield f"H={H}, around a vector of {lanes}", {**small, "H": H}, unchanged
            yield f"V={H}, around a vector of {lanes}", {**small, "V": H}, unchanged
            yield f"X={H}, around a vector of {lanes}", {**small, "X": H}, unchanged
    yield "everything is 1", {"T": 1, "B": 1, "X": 1, "H": 1, "V": 1}, unchanged
    yield "no steps", {**small, "T": 0, "own_loss": True}, unchanged
    yield "one step", {**small, "T": 1}, unchanged
    yield "one sequence", {**small, "B": 1}, unchanged
    yield "one sequence, a long one, wide", {"T": 150, "B": 1, "X": 3, "H": 70, "V": 5}, unchanged
    yield "X is prime", {**small, "X": 31}, unchanged
    yield "no initial state", {**small, "state": False}, unchanged
    yield "tokens", {**small, "tokens": True}, unchanged
    yield "tokens that repeat within a block", {**small, "T": 50, "X": 2, "tokens": True}, unchanged
    yield "tokens of a large vocabulary", {**small, "X": 500, "tokens": True}, unchanged
    yield "no outputs", {**small, "V": 0, "own_loss": True}, unchanged
    yield "one output: p is 1", {**small, "V": 1}, unchanged
    yield "a loss of the user's own, alone", {**small, "labels": "absent", "own_loss": True}, unchanged
    yield "a loss of the user's own, added", {**small, "own_loss": True, "lengths": "ragged"}, unchanged
    yield "dstate without dh", {**small, "own_loss": True}, lambda net: with_changes(net, dh=None)
    yield "dh without dstate", {**small, "own_loss": True}, lambda net: with_changes(net, dstate=None)
    yield "no dinputs", small, lambda net: with_changes(net, need_dinputs=False)
    yield "distributions", {**small, "T": 20, "labels": "distributions"}, unchanged
    yield "distributions, ragged", {**small, "T": 20, "labels": "distributions", "lengths": "ragged"}, unchanged
    yield "some labels are -1", {**small, "T": 20, "labels": "some"}, unchanged
    yield "only the last step has a label", {**small, "labels": "last"}, unchanged
    yield "no label at all", {**small, "labels": "none"}, unchanged
    yield "ragged", {**small, "T": 9, "B": 11, "lengths": "ragged"}, unchanged
    yield "ragged tokens", {**small, "T": 9, "B": 11, "lengths": "ragged", "tokens": True}, unchanged
    yield "every sequence is empty", {**small, "lengths": "empty", "own_loss": True}, unchanged
    for B in (5, 6, 7):
        yield f"B={B}: blocks of 128 div {B} steps", {**small, "T": 45, "B": B}, unchanged
    for B in (63, 64, 65, 127, 128, 129, 150, 257):
        yield f"B={B}: steps against blocks of rows", {**small, "T": 3, "B": B}, unchanged
        yield f"B={B}, ragged: empty blocks of rows", {**small, "T": 5, "B": B, "lengths": "ragged"}, unchanged
    for K in (127, 128, 129, 256, 257):
        yield f"H={K}: the sums over h against blocks of 128", {**small, "H": K}, unchanged
        yield f"X={K}: the sum over x against blocks of 128", {**small, "X": K}, unchanged
        yield f"V={K}: the sum over dy against blocks of 128", {**small, "V": K}, unchanged
    for number, name in ((np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "-Inf"), (-0.0, "-0")):
        for place in ("inputs", "W_xh", "W_hh", "W_hy", "b_h", "b_y", "state", "dh", "dstate"):
            yield f"{name} in {place}", {**small, "own_loss": True}, poisoned(number, place)
    yield "Inf and a token", {**small, "tokens": True}, poisoned(np.inf, "W_xh")
    yield "NaN beyond a block", {**small, "H": 130}, poisoned(np.nan, "state", "W_hy")
    yield "NaN and distributions", {**small, "labels": "distributions"}, poisoned(np.nan, "W_hy")
    yield "-Inf and distributions", {**small, "labels": "distributions"}, poisoned(-np.inf, "b_y")
    yield "all parameters are 0", small, zero_params
    yield "outputs are zeros of both signs", {**small, "state": False}, silent
    yield "saturated: h is 1 or -1", {**small, "T": 12, "scale": 40.0}, unchanged
    yield "very saturated: p is 0 or 1", {**small, "T": 12, "scale": 1e4}, unchanged
    yield "overflowing", {**small, "scale": 1e30}, far_inputs
    yield "inputs from all over the range", {**small, "T": 2, "B": 2}, far_inputs
    yield "vanishing", {"T": 16, "B": 1, "X": 2, "H": 3, "V": 2, "labels": "last"}, weak_recurrence
    yield "gradients that round to zero", {**small, "labels": "absent", "own_loss": True}, smallest_loss
    yield "such in many blocks", {**small, "B": 70, "labels": "absent", "own_loss": True}, smallest_loss
    yield "probabilities that round to zero", {**small, "T": 2, "scale": 0.3}, least_probabilities
    yield "vanishing, in a batch", {"T": 14, "B": 3, "X": 2, "H": 5, "V": 2, "labels": "last"}, weak_recurrence


def by_hand_for(cell: str) -> Iterator[tuple[str, dict, Callable[[Net], Net]]]:
    """Likewise for a cell other than the tanh cell: what a step, its states and its gates may meet."""
    small, about = {"T": 4, "B": 3, "X": 5, "H": 6, "V": 7}, CELLS[cell]
    for lanes in (8, 16, 32):
        for H in (lanes - 1, lanes, lanes + 1):
            yield f"H={H}, around vectors", {**small, "H": H}, unchanged
    yield "everything is 1", {"T": 1, "B": 1, "X": 1, "H": 1, "V": 1}, unchanged
    yield "X=1", {**small, "X": 1}, unchanged
    yield "no steps", {**small, "T": 0, "own_loss": True}, unchanged
    yield "one step", {**small, "T": 1, "own_loss": True}, unchanged
    yield "one sequence", {**small, "B": 1}, unchanged
    yield "one sequence, a long one, wide", {"T": 40, "B": 1, "X": 3, "H": 33, "V": 5, "tokens": True}, unchanged
    yield "no initial state", {**small, "state": False, "own_loss": True}, unchanged
    yield "tokens", {**small, "tokens": True}, unchanged
    yield "tokens that repeat within a block", {**small, "T": 50, "X": 2, "H": 3, "tokens": True}, unchanged
    yield "tokens of a large vocabulary", {**small, "X": 500, "tokens": True}, unchanged
    yield "no outputs", {**small, "V": 0, "own_loss": True}, unchanged
    yield "a loss of the user's own, alone", {**small, "labels": "absent", "own_loss": True}, unchanged
    yield "a loss of the user's own, added", {**small, "own_loss": True, "lengths": "ragged"}, unchanged
    yield "dstate without dh", {**small, "own_loss": True}, without("dh")
    yield "dh without dstate", {**small, "own_loss": True}, without("dstate")
    yield "dstate alone", {**small, "own_loss": True, "labels": "absent"}, without("dh")
    yield "no dinputs", small, lambda net: with_changes(net, need_dinputs=False)
    yield "distributions, ragged", {**small, "T": 9, "labels": "distributions", "lengths": "ragged"}, unchanged
    yield "some labels are -1", {**small, "T": 9, "labels": "some"}, unchanged
    yield "only the last step has a label", {**small, "labels": "last"}, unchanged
    yield "no label at all", {**small, "labels": "none"}, unchanged
    yield "ragged", {**small, "T": 9, "B": 11, "lengths": "ragged", "own_loss": True}, unchanged
    yield "ragged tokens", {**small, "T": 9, "B": 11, "lengths": "ragged", "tokens": True}, unchanged
    yield "every sequence is empty", {**small, "lengths": "empty", "own_loss": True}, unchanged
    for B in (2, 33, 127, 128, 129):
        few = {**small, "T": 3, "B": B, "H": 5}
        yield f"B={B}: steps against blocks of rows", few, unchanged
        yield f"B={B}, ragged: empty blocks of rows", {**few, "lengths": "ragged", "own_loss": True}, unchanged
    for H in (43, 65, 100, 129):
        small_but = {"T": 2, "B": 2, "X": 3, "H": H, "V": 2}
        yield f"H={H}: the sums over h and over the gates against blocks of 128", small_but, unchanged
    yield "X=129: the sum over x against blocks of 128", {**small, "X": 129, "T": 2}, unchanged
    yield "V=129: the sum over dy against blocks of 128", {**small, "V": 129, "T": 2}, unchanged
    states = [f"{place} {letter}" for place in ("state", "dstate") for letter in about.states]
    states = states if len(about.states) > 1 else ["state", "dstate"]
    biases = ["b_x", "b_h"] if about.own_recurrent_bias else ["b_h"]
    for number, name in ((np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "-Inf"), (-0.0, "-0")):
        for place in ("inputs", "W_xh", "W_hh", "W_hy", *biases, "b_y", *states, "dh"):
            yield f"{name} in {place}", {**small, "H": 5, "own_loss": True}, poisoned(number, place)
    yield "Inf and a token", {**small, "tokens": True}, poisoned(np.inf, "W_xh")
    yield "all parameters are 0", {**small, "own_loss": True}, zero_params
    yield "sums of zeros of both signs", {**small, "own_loss": True}, zeros_of_both_signs
    yield "sums of zeros of both signs, no state", {**small, "own_loss": True, "state": False}, zeros_of_both_signs
    yield "inputs from all over the range", {**small, "T": 2, "B": 2}, far_inputs
    yield "states near the end of the range", {**small, "T": 3}, large_states
    yield "gradients that round to zero", {**small, "labels": "absent", "own_loss": True}, smallest_loss
    yield "such in many blocks", {**small, "T": 3, "B": 70, "H": 3, "labels": "absent", "own_loss": True}, smallest_loss
    yield "vanishing", {"T": 16, "B": 1, "X": 2, "H": 3, "V": 2, "labels": "last"}, weak_recurrence
    if cell == "rnn_relu":
        yield "growing until it overflows", {**small, "T": 12, "scale": 1e4}, unchanged
        yield "no unit is on", {**small, "own_loss": True}, never_on
    else:
        yield "saturated gates", {**small, "T": 9, "scale": 50.0, "own_loss": True}, unchanged
        yield "very saturated gates", {**small, "T": 5, "scale": 1e4, "own_loss": True}, unchanged
        for gate in about.gates:
            for side, end in ((1.0, "high"), (-1.0, "low")):
                yield f"gate {gate} always {end}", {**small, "own_loss": True}, one_gate_shut(gate, side)
    if len(about.states) > 1:
        yield "dstate h alone", {**small, "own_loss": True, "labels": "absent"}, without("dh", "dstate c")
        yield "dstate c alone", {**small, "own_loss": True, "labels": "absent"}, without("dh", "dstate h")


def never_on(net: Net) -> Net:
    params = net.params.copy()
    params.b_h -= 100
    return with_changes(net, params=params)


HAND = {why: (arguments, change) for why, arguments, change in by_hand()}
HAND |= {
    f"{cell}: {why}": ({**arguments, "cell": cell}, change)
    for cell in CELLS
    if cell != "rnn"
    for why, arguments, change in by_hand_for(cell)
}


@lru_cache(maxsize=2)
def hand_net(why: str, dtype: str) -> tuple[Net, Results]:
    arguments, change = HAND[why]
    net = change(make_net(dtype=dtype, seed=len(why), **arguments))
    return net, reference(net)


@BOTH
@pytest.mark.parametrize("why", HAND)
def test_by_hand(why: str, dtype: str, fast_engine: str) -> None:
    net, expected = hand_net(why, dtype)
    assert_same_bits(expected, run(net, fast_engine), net.params.cell)


@BOTH
def test_vanishing_nets_reach_the_subnormals(dtype: str) -> None:
    _, found = hand_net("vanishing", dtype)
    magnitudes = np.abs(found["backward dinputs"])
    assert ((magnitudes > 0) & (magnitudes < np.finfo(dtype).tiny)).any()
    assert not found["backward dstate"].any()


@BOTH
@pytest.mark.parametrize("name", ["grads.W_hh", "dstate", "dinputs"])
def test_zeros_have_both_signs(name: str, dtype: str) -> None:
    _, found = hand_net("gradients that round to zero", dtype)
    zeros = np.signbit(found[f"backward {name}"][found[f"backward {name}"] == 0])
    assert zeros.any()
    assert not zeros.all()


@BOTH
@pytest.mark.parametrize("cell", [cell for cell in CELLS if len(CELLS[cell].gates) > 1])
def test_zeros_have_both_signs_behind_gates(cell: str, dtype: str) -> None:
    _, found = hand_net(f"{cell}: gradients that round to zero", dtype)
    zeros = np.signbit(found["backward grads.W_hh"][found["backward grads.W_hh"] == 0])
    assert zeros.any()
    assert not zeros.all()


@BOTH
def test_saturated_nets_are_saturated(dtype: str) -> None:
    _, found = hand_net("very saturated: p is 0 or 1", dtype)
    assert (np.abs(found["forward h"]) == 1).mean() > 0.9
    assert np.isin(found["cross_entropy dy"], (-1, 0, 1)).mean() > 0.9


LARGER = {
    "wide": {"T": 6, "B": 40, "X": 33, "H": 100, "V": 65},
    "long": {"T": 100, "B": 3, "X": 65, "H": 40, "V": 65, "tokens": True},
    "ragged": {"T": 20, "B": 13, "X": 9, "H": 50, "V": 17, "lengths": "ragged", "labels": "distributions"},
    "many sequences": {"T": 5, "B": 300, "X": 3, "H": 17, "V": 5, "lengths": "ragged"},
    "own loss": {"T": 9, "B": 31, "X": 16, "H": 33, "V": 0, "own_loss": True},
    **{
        f"{cell}, {name}": {**arguments, "cell": cell}
        for cell in CELLS
        if cell != "rnn"
        for name, arguments in {
            "wide": {"T": 4, "B": 20, "X": 17, "H": 50, "V": 33},
            "long": {"T": 60, "B": 3, "X": 65, "H": 20, "V": 17, "tokens": True},
            "many sequences": {"T": 4, "B": 150, "X": 3, "H": 9, "V": 5, "lengths": "ragged", "own_loss": True},
        }.items()
    },
}


@lru_cache(maxsize=2)
def larger_net(name: str, dtype: str) -> tuple[Net, Results]:
    net = make_net(dtype=dtype, **LARGER[name])
    return net, reference(net)


@BOTH
@pytest.mark.parametrize("name", LARGER)
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads(name: str, dtype: str, threads: int, fast_engine: str) -> None:
    net, expected = larger_net(name, dtype)
    assert_same_bits(expected, run(net, fast_engine, threads), net.params.cell)


SECONDS_A_NET = 1.2
SECONDS_A_GATED_NET = 0.3  # there are four cells more
FREE_NETS = 70
FREE_NETS_A_CELL = 20
CORNERS = (  # the first in float32 only: half a minute in float64
    {"T": 300, "B": 150, "X": 2, "H": 3, "V": 2},
    {"T": 300, "B": 1, "X": 1, "H": 200, "V": 1},
    {"T": 1, "B": 1, "X": 200, "H": 200, "V": 200},
    {"T": 1, "B": 150, "X": 200, "H": 200, "V": 200},
    {"T": 0, "B": 150, "X": 200, "H": 200, "V": 200},
    {"T": 300, "B": 1, "X": 1, "H": 1, "V": 1},
)


def seconds(
    T: int, B: int, X: int, H: int, V: int, tokens: bool, vanishing: bool, dtype: str, cell: str = "rnn"
) -> float:
    """About what the NumPy column needs: calls and elements of fma, measured."""
    x, gates = 0 if tokens else X, len(CELLS[cell].gates)
    calls = T * (x + (2 + gates) * H + V) + 3 * T * B
    elements = T * B * H * (3 * gates * x + 3 * gates * H + 3 * V)
    exact = 100 if vanishing and dtype == "float64" else 1  # rational arithmetic outside Dekker's range
    return calls * 15e-6 * (1 if dtype == "float32" else 2) + elements * 10e-9 * exact


def draw(seed: int, cell: str, dtype: str, fixed: dict[str, int]) -> Net:
    """A net in which some sizes are given and chance chose all else, within the time allowed."""
    numbers = Numbers(1000 + seed)
    kind = "ordinary" if len(fixed) > 1 else numbers.one_of(("ordinary",) * 5 + ("saturated", "vanishing", "special"))
    tokens = bool(numbers.below(2))
    while True:
        sizes = {"T": numbers.one_of(STEPS), "B": numbers.one_of(BATCHES)}
        sizes |= {letter: numbers.one_of(SIZES) for letter in "XHV"} | fixed
        cost = seconds(**sizes, tokens=tokens, vanishing=kind == "vanishing", dtype=dtype, cell=cell)
        cheap = cost < (SECONDS_A_NET if cell == "rnn" else SECONDS_A_GATED_NET)
        if cheap or sizes == fixed:
            break
    net = make_net(
        **sizes,
        dtype=dtype,
        seed=seed,
        tokens=tokens,
        labels=numbers.one_of(("classes", "distributions", "some", "last")),
        lengths=numbers.one_of(("full", "ragged")),
        state=bool(numbers.below(2)),
        own_loss=numbers.below(4) == 0,
        scale=1.0 if kind != "saturated" else 2.0 if cell == "rnn_relu" else 30.0,  # it would only overflow
        cell=cell,
        resets=numbers.one_of(("none", "none", "some", "most")),
    )
    if kind == "vanishing":
        return weak_recurrence(net)
    return poisoned(numbers.one_of((np.nan, np.inf, -0.0)), "W_hh")(net) if kind == "special" else net


def by_chance() -> Iterator[tuple[str, str, dict[str, int]]]:
    """Every size of every axis, some corners of the whole space, and nets of no particular size; in both dtypes.

    Of the cells that came later every size of H, for it is the axis that they treat in their own ways.
    """
    axes = {"T": STEPS, "B": BATCHES, "X": SIZES, "H": SIZES, "V": SIZES}
    for dtype in DTYPES:
        yield from (("rnn", dtype, {axis: value}) for axis, values in axes.items() for value in values)
        yield from (("rnn", dtype, corner) for corner in CORNERS[dtype == "float64" :])
        yield from (("rnn", dtype, {}) for _ in range(FREE_NETS // 2))
    for cell in CELLS:
        if cell != "rnn":
            yield from ((cell, DTYPES[n % 2], {"H": H}) for n, H in enumerate(SIZES))
            yield from ((cell, DTYPES[n % 2], {}) for n in range(FREE_NETS_A_CELL))


CHANCE = list(by_chance())


def name_of(seed: int) -> str:
    cell, dtype, fixed = CHANCE[seed]
    what = [dtype] if cell == "rnn" else [cell, dtype]
    return "-".join([str(seed), *what, *(f"{letter}={size}" for letter, size in fixed.items())])


@lru_cache(maxsize=2)
def chance_net(seed: int) -> tuple[Net, Results]:
    net = draw(seed, *CHANCE[seed])
    return net, reference(net)


def test_there_are_200_nets_by_chance() -> None:
    """Of the tanh cell; and thirty of each other."""
    cells = [cell for cell, _, _ in CHANCE]
    assert cells.count("rnn") >= 200
    assert min(cells.count(cell) for cell in CELLS) >= 30


@pytest.mark.parametrize("seed", range(len(CHANCE)), ids=name_of)
def test_by_chance(seed: int, fast_engine: str) -> None:
    net, expected = chance_net(seed)
    assert_same_bits(expected, run(net, fast_engine, threads=(None, 1, 2, 3)[seed % 4]), net.params.cell)

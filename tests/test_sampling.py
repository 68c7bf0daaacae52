"""Sampling draws from the distribution that forward gives, the same tokens in every engine."""

import math
import os
import signal
import threading
import time
from functools import lru_cache

import numpy as np
import pytest
from nets import Numbers, as_states, assert_same_bits, each_state, named_states, state_arrays

import rnncore
from rnncore.cells import CELLS, shapes

# T, B, V, H: one more and one less than vectors, a net of one token, batches beyond a tile of rows
SIZES = [(0, 1, 3, 4), (1, 1, 1, 1), (7, 1, 2, 3), (9, 1, 17, 16), (9, 2, 15, 17), (5, 7, 33, 31), (4, 13, 65, 130)]


def net(V, H, dtype="float32", scale=3.0, seed=1, cell="rnn"):
    numbers = Numbers(seed)
    bounds = {"W_xh": scale, "W_hh": scale * H**-0.5, "W_hy": scale * H**-0.5}
    if cell == "rnn_relu":
        bounds["W_hh"] = H**-0.5  # or it explodes
    arrays = {name: numbers.symmetric(bounds.get(name, 0.5), *shape) for name, shape in shapes(cell, V, H, V).items()}
    return rnncore.Params(cell, **{name: array.astype(dtype) for name, array in arrays.items()})


def states(cell, seed, *shape, dtype="float64"):
    numbers = Numbers(seed)
    return as_states([numbers.symmetric(1.0, *shape).astype(dtype) for _ in CELLS[cell].states])


def drawn(params, *arguments, **options):
    tokens, state = rnncore.sample(params, *arguments, **options)
    assert tokens.dtype == np.int64
    return {"tokens": tokens, **named_states("state", params.cell, state)}


def same_states(one, other):
    return [a.tobytes() for a in state_arrays(one)] == [a.tobytes() for a in state_arrays(other)]


def choose(y, u, temperature=1.0, engine=None):
    """What is drawn from outputs y (V,)."""
    return int(rnncore.sample(always(y), 0, np.array([u]), temperature=temperature, backend=engine)[0][0])


def always(y):
    """A net that gives the outputs y (V,) at every step."""
    V, dtype = len(y), y.dtype
    W_xh, W_hh, W_hy = np.zeros((1, V), dtype), np.zeros((1, 1), dtype), np.zeros((V, 1), dtype)
    return rnncore.Params("rnn", W_xh=W_xh, W_hh=W_hh, W_hy=W_hy, b_y=y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_every_engine_draws_the_same(cell, size, dtype, fast_engine):
    expected, found = (
        sampled_in_every_way(cell, size, dtype, "numpy"),
        sampled_in_every_way(cell, size, dtype, fast_engine),
    )
    for one, other in zip(expected, found, strict=True):
        assert one["tokens"].shape == size[:2]
        assert_same_bits(one, other)


@lru_cache(2)
def sampled_in_every_way(cell, size, dtype, engine):
    T, B, V, H = size
    params, numbers = net(V, H, dtype, cell=cell), Numbers(2)
    prime, uniforms = numbers.below(V, 3, B), numbers.fractions(T, B)
    ways = (
        {},
        {"state": states(cell, 3, B, H, dtype=dtype)},
        {"temperature": 0.3},
        {"temperature": 0.0},
        {"temperature": 1e-300},
    )
    return [drawn(params, prime, uniforms, backend=engine, **options) for options in ways]


@pytest.mark.parametrize("cell", CELLS)
def test_a_long_text_is_the_same_everywhere(cell, fast_engine):
    """Tokens feed on tokens: one bit that differs soon makes another text."""
    assert_same_bits(long_text(cell, "numpy"), long_text(cell, fast_engine))


@lru_cache(2)
def long_text(cell, engine):
    return drawn(net(20, 10, cell=cell), 0, Numbers(3).fractions(400), backend=engine)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("cell", CELLS)
def test_numbers_that_are_none_give_tokens_all_the_same(cell, bad, fast_engine):
    expected, found = sampled_from_broken_nets(cell, bad, "numpy"), sampled_from_broken_nets(cell, bad, fast_engine)
    for one, other in zip(expected, found, strict=True):
        assert 0 <= one["tokens"].min() <= one["tokens"].max() < 20
        assert_same_bits(one, other)


@lru_cache(2)
def sampled_from_broken_nets(cell, bad, engine):
    params, uniforms, texts = net(20, 10, cell=cell), Numbers(3).fractions(30), []
    for name, place in (("W_hy", (3, 4)), ("W_hh", (1, 1)), ("b_y", 0), ("b_y", 19)):
        broken = params.copy()
        getattr(broken, name)[place] = bad
        texts += [drawn(broken, 0, uniforms, temperature=heat, backend=engine) for heat in (1.0, 0.0)]
    return texts


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_forward_one_by_one(cell, engine):
    """Sampling, written out with forward and softmax."""
    params, uniforms = net(12, 9, "float64", cell=cell), Numbers(4).fractions(40)
    tokens, last = rnncore.sample(params, [3, 1], uniforms, temperature=0.8, backend=engine)
    inputs, state = np.array([3, 1]), None
    for k, u in enumerate(uniforms):
        out = rnncore.forward(params, inputs, state=state, backend=engine)
        cumulated = np.cumsum(rnncore.softmax(out.y[-1] / 0.8, backend=engine))
        assert tokens[k] == np.searchsorted(cumulated, u, side="right")
        inputs, state = tokens[k : k + 1], out.state
    assert same_states(last, state)


def test_the_frequencies_are_the_probabilities():
    """Pearson's chi-square, of 20000 draws over 8 classes: P(chi2_7 > 29.88) = 1e-4, and the seed is fixed.

    Draws are independent, as the net forgets everything: W_xh = W_hh = 0.
    """
    V, n = 8, 20_000
    y = np.linspace(-1, 1, V)
    params = always(y)
    for temperature in (0.5, 1.0, 2.0):
        tokens, _ = rnncore.sample(
            params, np.zeros(100, int), Numbers(5).fractions(n // 100, 100), temperature=temperature
        )
        p = np.exp(y / temperature) / np.exp(y / temperature).sum()
        count = np.bincount(tokens.reshape(-1), minlength=V)
        assert ((count - n * p) ** 2 / (n * p)).sum() < 29.88


def test_it_is_the_inverse_of_the_distribution(engine):
    y = np.log(np.array([0.1, 0.2, 0.3, 0.4]))
    uniforms = (0.0, 0.0999, 0.1001, 0.2999, 0.3001, 0.5999, 0.6001, 1 - 2**-53)
    assert [choose(y, u, engine=engine) for u in uniforms] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert choose(y, 0.0, 0.0, engine) == 3
    assert choose(y, 0.0, 1e-300, engine) == 3
    assert choose(y, 0.3, 1e300, engine) == 1


def test_what_has_no_probability_is_never_drawn(engine):
    y = np.array([-1e30, 0.0, -1e30, -math.inf], "float32")
    assert {choose(y, u, engine=engine) for u in (0.0, 0.5, 1 - 2**-53)} == {1}


def test_u_may_be_as_near_to_1_as_it_can(engine):
    """u times the total may be rounded up to the total: the last token with a probability it is, then."""
    for V in range(2, 40):
        y = Numbers(V).symmetric(3.0, V + 2)
        y[-2:] = -1e9
        assert choose(y, 1 - 2**-53, engine=engine) == V - 1


def test_temperature_0_takes_the_first_of_the_likeliest(engine):
    assert choose(np.array([1.0, 3.0, 2.0, 3.0]), 1 - 2**-53, 0.0, engine) == 1
    assert choose(np.full(5, -math.inf), 0.5, 0.0, engine) == 0
    assert choose(np.array([1.0, math.nan, 2.0]), 0.5, 0.0, engine) == 2
    assert choose(np.array([math.nan, 1.0, 2.0]), 0.0, 1.0, engine) == 2


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(), (3,)], ids=["one", "batch"])
def test_a_text_goes_on_as_if_it_had_never_stopped(cell, shape, engine):
    params, uniforms, prime = net(20, 10, cell=cell), Numbers(6).fractions(60, *shape), Numbers(9).below(20, 3, *shape)
    whole, end = rnncore.sample(params, prime, uniforms, backend=engine)
    part, state = rnncore.sample(params, prime, uniforms[:25], backend=engine)
    rest, last = rnncore.sample(params, part[-1], uniforms[25:], state=state, backend=engine)
    assert np.concatenate([part, rest]).tolist() == whole.tolist()
    assert same_states(last, end)
    assert isinstance(state, tuple) == (cell == "lstm")
    assert [array.shape for array in state_arrays(state)] == [(*shape, 10)] * len(CELLS[cell].states)
    listed = rnncore.sample(params, part[-1], uniforms[25:], state=each_state(np.ndarray.tolist, state), backend=engine)
    assert listed[0].tolist() == rest.tolist()


def test_both_states_of_a_pair_count(engine):
    params, uniforms = net(20, 10, cell="lstm"), Numbers(6).fractions(2)
    h, c = states("lstm", 5, 10, dtype="float32")
    zero = np.zeros_like(h)
    ends = [
        rnncore.sample(params, 0, uniforms, state=pair, backend=engine)[1][0].tobytes()
        for pair in ((h, c), (h, zero), (zero, c), (c, h), (zero, zero), None)
    ]
    assert len(set(ends)) == 5
    assert ends[4] == ends[5]


@pytest.mark.parametrize("cell", CELLS)
def test_a_prime_may_be_read_beforehand(cell, engine):
    params, uniforms, prime = net(20, 10, cell=cell), Numbers(6).fractions(9), np.array([5, 3, 5, 7])
    before = rnncore.forward(params, prime[:-1], backend=engine).state
    expected = drawn(params, prime, uniforms, backend=engine)
    assert_same_bits(expected, drawn(params, prime[-1], uniforms, state=before, backend=engine))


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_is_its_sequences(cell, engine):
    params, numbers, state = net(20, 10, cell=cell), Numbers(7), states(cell, 8, 5, 10)
    uniforms, prime = numbers.fractions(11, 5), numbers.below(20, 4, 5)
    tokens, last = rnncore.sample(params, prime, uniforms, state=state, backend=engine)
    for b in range(5):
        own = each_state(lambda array, b=b: array[b], state)
        alone, end = rnncore.sample(params, prime[:, b], uniforms[:, b], state=own, backend=engine)
        assert tokens[:, b].tolist() == alone.tolist()
        assert same_states(each_state(lambda array, b=b: array[b], last), end)


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_drawn_is_the_state_before_the_last_of_the_prime(cell, engine):
    params = net(20, 10, cell=cell)
    tokens, state = rnncore.sample(params, [1, 2], np.empty(0), backend=engine)
    assert tokens.shape == (0,)
    assert same_states(state, rnncore.forward(params, np.array([1]), backend=engine).state)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("count", [0, 9])
def test_arguments_stay_as_they_are_and_the_state_is_one_s_own(cell, count, engine):
    params, prime, state = net(20, 10, cell=cell), np.array([1, 2, 3]), states(cell, 5, 10, dtype="float32")
    uniforms, before = np.full(count, 0.5), each_state(np.copy, state)
    for array in (prime, uniforms, *state_arrays(state)):
        array.flags.writeable = False
    kept = params.copy()
    for read in (prime, prime[0]):
        _, last = rnncore.sample(params, read, uniforms, state=state, backend=engine)
        assert params == kept
        assert same_states(state, before)
        arrays = [*state_arrays(last), *state_arrays(state)]
        assert not any(np.shares_memory(a, b) for n, a in enumerate(arrays) for b in arrays[:n])
        assert all(array.flags.writeable for array in state_arrays(last))


def test_layouts_and_types_are_converted(engine):
    params = net(20, 10)
    uniforms, prime = Numbers(8).fractions(7, 3), np.array([4, 5, 6])
    expected = drawn(params, prime, uniforms, backend=engine)
    for other in (np.asfortranarray(uniforms), uniforms.astype(">f8"), np.repeat(uniforms, 2, axis=0)[::2]):
        assert_same_bits(expected, drawn(params, prime.astype("uint8"), other, backend=engine))
    assert_same_bits(expected, drawn(params, [4, 5, 6], uniforms.tolist(), backend=engine))


NET, U = net(5, 4), np.full(3, 0.5)
LSTM, PAIR = net(5, 4, cell="lstm"), "state of cell 'lstm' must be a tuple (h, c) of arrays "
LESS, SAMPLE = rnncore.init_params("rnn", 3, 4, 2), "sample needs a net that reads what it says, X = V, "
UNIFORMS = "uniforms must be floating, one number a step, (T,) or (T, B), got "
ONE = "prime must be () or (P,) with B = 1, of at least one token, got "
TWO = "prime must be (B,) or (P, B) with B = 2, of at least one token, got "
V, T = ValueError, TypeError
MESSAGES = [
    (T, "params must be a rnncore.Params, got None", (None, 0, U), {}),
    (V, SAMPLE + "got params with inputs = 3 and outputs = 2", (LESS, 0, U), {}),
    (V, UNIFORMS + "int64 (3,)", (NET, 0, [0] * 3), {}),
    (V, UNIFORMS + "float64 ()", (NET, 0, 0.5), {}),
    (V, "uniforms must have at least one sequence, B >= 1, got float64 (3, 0)", (NET, 0, np.ones((3, 0))), {}),
    (V, "uniforms must be in [0, 1), got 1.0 at step 1 of sequence 0", (NET, 0, [0.5, 1.0]), {}),
    (V, "uniforms must be in [0, 1), got nan at step 0 of sequence 1", (NET, [0, 0], [[0.5, math.nan]]), {}),
    (T, "prime must be integers, tokens, got float64 ()", (NET, 0.5, U), {}),
    (V, "prime must be in [0, X) = [0, 5), got 5 at step 0 of sequence 0", (NET, 5, U), {}),
    (V, "prime must be in [0, X) = [0, 5), got -1 at step 1 of sequence 0", (NET, [0, -1], U), {}),
    (V, ONE + "int64 (1, 1)", (NET, [[0]], U), {}),
    (V, ONE + "int64 (0,)", (NET, np.empty(0, int), U), {}),
    (V, TWO + "int64 ()", (NET, 0, np.zeros((3, 2))), {}),
    (V, TWO + "int64 (3,)", (NET, [0, 0, 0], np.zeros((3, 2))), {}),
    (V, "state must have shape (H,) = (4,), got float64 (3,)", (NET, 0, U), {"state": np.zeros(3)}),
    (T, PAIR + "(H,) = (4,), got ndarray float64 (4,)", (LSTM, 0, U), {"state": np.zeros(4)}),
    (V, PAIR + "(B, H) = (1, 4), got a list of 1", (LSTM, [0], U[:, None]), {"state": [np.zeros((1, 4))]}),
    (V, "c of state must have shape (H,) = (4,), got int64 ()", (LSTM, 0, U), {"state": (np.zeros(4), 0)}),
    (V, "temperature must be finite and not negative, got -0.5", (NET, 0, U), {"temperature": -0.5}),
    (V, "temperature must be finite and not negative, got nan", (NET, 0, U), {"temperature": math.nan}),
    (T, "temperature must be a number, got str 'hot'", (NET, 0, U), {"temperature": "hot"}),
]


@pytest.mark.parametrize(("error", "message", "arguments", "options"), MESSAGES, ids=[m[1] for m in MESSAGES])
def test_errors(error, message, arguments, options):
    with pytest.raises(error) as caught:
        rnncore.sample(*arguments, **options)
    assert str(caught.value) == message


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_ctrl_c_stops_it():
    if "cpp" not in rnncore.backends():
        pytest.skip("the compiled core is not built")
    params, uniforms = net(200, 300), np.full(10_000_000, 0.5)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        rnncore.sample(params, 0, uniforms, backend="cpp")
    assert time.monotonic() - start < 5

"""The forms of arguments and results: one sequence, a batch, a list; and arrays of every kind."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import as_states, each_state, state_arrays

import rnncore
from rnncore.cells import CELLS

T, B, X, H, V = 5, 3, 4, 6, 2
NETS = {cell: rnncore.init_params(cell, inputs=X, hidden=H, outputs=V, seed=3, dtype="float32") for cell in CELLS}
PARAMS = NETS["rnn"]
RNG = np.random.default_rng(1)
TOKENS, LABELS = RNG.integers(0, X, (T, B)), RNG.integers(-1, V, (T, B))
VECTORS = RNG.normal(size=(T, B, X)).astype("float32")
DISTRIBUTIONS = RNG.dirichlet(np.ones(V), (T, B))
PAIR = RNG.uniform(-1, 1, (2, B, H)).astype("float32")
STATES = {cell: as_states(PAIR[: len(CELLS[cell].states)]) for cell in CELLS}
STATE = STATES["rnn"]
LENGTHS = np.array([5, 0, 2])


@pytest.fixture(autouse=True)
def _backend(engine: str) -> Any:
    with rnncore.use_backend(engine):
        yield


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, dtype and shape included; lists and tuples element by element."""
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def same_results(a: rnncore.BpttResult, b: rnncore.BpttResult) -> bool:
    names = ("loss", "losses", "state", "dstate")
    return all(same(getattr(a, name), getattr(b, name)) for name in names) and same(a.grads.flat, b.grads.flat)


def shape(states: Any) -> Any:
    """The shape of a state, or the shapes of a tuple of them."""
    return as_states([array.shape for array in states]) if isinstance(states, tuple) else states.shape


def shapes(cell: str, *one: int) -> Any:
    """What ``shape`` is to say."""
    return as_states([one] * len(CELLS[cell].states))


@pytest.mark.parametrize("labels", [LABELS, DISTRIBUTIONS], ids=["classes", "distributions"])
@pytest.mark.parametrize("inputs", [TOKENS, VECTORS], ids=["tokens", "vectors"])
def test_a_batch(inputs: Any, labels: Any) -> None:
    vectors = inputs is VECTORS
    result = rnncore.bptt(PARAMS, inputs, labels, need_dinputs=vectors)
    assert type(result.loss) is float
    assert (result.losses.shape, result.state.shape, result.dstate.shape) == ((T, B), (B, H), (B, H))
    assert result.dinputs.shape == (T, B, X) if vectors else result.dinputs is None
    assert result.losses.dtype == result.state.dtype == result.grads.dtype == np.float32
    assert repr(result.grads) == repr(PARAMS)


@pytest.mark.parametrize("labels", [LABELS, DISTRIBUTIONS], ids=["classes", "distributions"])
@pytest.mark.parametrize("inputs", [TOKENS, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_sequence_is_a_batch_of_one_without_its_axis(cell: str, inputs: Any, labels: Any) -> None:
    need, params, states = inputs is VECTORS, NETS[cell], STATES[cell]
    first, of_one = (each_state(lambda array, at=at: array[at], states) for at in (0, slice(1)))
    one = rnncore.bptt(params, inputs[:, 0], labels[:, 0], state=first, need_dinputs=need)
    batch = rnncore.bptt(params, inputs[:, :1], labels[:, :1], state=of_one, need_dinputs=need)
    assert one.losses.shape == (T,)
    assert shape(one.state) == shape(one.dstate) == shapes(cell, H)
    assert shape(batch.state) == shape(batch.dstate) == shapes(cell, 1, H)
    assert one.loss == batch.loss
    assert same(one.grads.flat, batch.grads.flat)
    assert same(one.losses, batch.losses[:, 0])
    assert same(one.state, each_state(lambda array: array[0], batch.state))
    assert same(one.dstate, each_state(lambda array: array[0], batch.dstate))
    assert one.dinputs.shape == (T, X) if need else one.dinputs is None


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("labels", [LABELS, DISTRIBUTIONS], ids=["classes", "distributions"])
@pytest.mark.parametrize("inputs", [TOKENS, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_list_is_a_padded_batch(cell: str, inputs: Any, labels: Any, kind: Any) -> None:
    need, params, states = inputs is VECTORS, NETS[cell], STATES[cell]
    padded = rnncore.bptt(params, inputs, labels, state=states, lengths=LENGTHS, need_dinputs=need)
    xs, ls = (kind(a[:n, b] for b, n in enumerate(LENGTHS)) for a in (inputs, labels))
    listed = rnncore.bptt(params, xs, ls, state=states, need_dinputs=need)
    assert listed.loss == padded.loss
    assert same(listed.grads.flat, padded.grads.flat)
    assert same(listed.state, padded.state)
    assert same(listed.dstate, padded.dstate)
    assert shape(listed.state) == shape(listed.dstate) == shapes(cell, B, H)
    for b, n in enumerate(LENGTHS):
        assert same(listed.losses[b], padded.losses[:n, b])
        assert not padded.losses[n:, b].any()
        assert not np.signbit(padded.losses[n:, b]).any()
        if need:
            assert same(listed.dinputs[b], padded.dinputs[:n, b])
            assert not padded.dinputs[n:, b].any()
            assert not np.signbit(padded.dinputs[n:, b]).any()
    assert isinstance(listed.losses, list)
    for last, first, by_first in zip(*map(state_arrays, (listed.state, states, listed.dstate)), strict=True):
        assert same(last[1], first[1])
        assert not by_first[1].any()


def test_empty_sequences_of_any_look() -> None:
    want = rnncore.bptt(PARAMS, [TOKENS[:, 0], TOKENS[:0, 0]], [LABELS[:, 0], LABELS[:0, 0]])
    assert same_results(want, rnncore.bptt(PARAMS, [TOKENS[:, 0], []], [LABELS[:, 0], np.array([])]))
    for inputs, labels in (([[], []], [[], []]), ([np.zeros((0, X))] * 2, [np.zeros((0, V))] * 2)):
        result = rnncore.bptt(PARAMS, inputs, labels)
        assert result.loss == 0
        assert [len(losses) for losses in result.losses] == [0, 0]
        assert not result.grads.flat.any()
        assert not result.state.any()
        assert rnncore.forward(PARAMS, inputs).y[1].shape == (0, V)


@pytest.mark.parametrize("inputs", [TOKENS, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("cell", CELLS)
def test_no_steps(cell: str, inputs: Any) -> None:
    need, params, states = inputs is VECTORS, NETS[cell], STATES[cell]
    result = rnncore.bptt(params, inputs[:0], LABELS[:0], state=states, need_dinputs=need)
    assert result.loss == 0
    assert result.losses.shape == (0, B)
    assert same(result.state, states)
    assert not any(array.any() for array in state_arrays(result.dstate))
    assert not result.grads.flat.any()
    out = rnncore.forward(params, inputs[:0, 0])
    assert out.y.shape == (0, V)
    assert out.h.shape == (0, H)
    assert shape(out.state) == shapes(cell, H)
    ones = each_state(np.ones_like, out.state)
    assert same(rnncore.backward(params, out, dstate=ones).dstate, ones)


def reading(tokens: bool, cell: str = "rnn") -> rnncore.Params:
    """A net that says what it reads."""
    return rnncore.Params(cell, tokens=tokens, **NETS[cell])


def test_forward_tells_tokens_from_vectors() -> None:
    """By axes and dtype; of integers with two axes the net must say."""
    assert rnncore.forward(reading(True), TOKENS).y.shape == (T, B, V)
    assert rnncore.forward(reading(False), VECTORS[:, 0].astype(int)).y.shape == (T, V)
    with pytest.raises(ValueError, match="tokens=True or tokens=False"):
        rnncore.forward(PARAMS, TOKENS)
    assert rnncore.forward(PARAMS, TOKENS[:, 0]).y.shape == (T, V)
    assert rnncore.forward(PARAMS, VECTORS[:, 0]).y.shape == (T, V)
    assert rnncore.forward(PARAMS, VECTORS.astype(int)).y.shape == (T, B, V)
    assert [y.shape for y in rnncore.forward(PARAMS, [VECTORS[:, 0].astype(int), VECTORS[:2, 1]]).y] == [(T, V), (2, V)]


def test_counts_are_vectors() -> None:
    counts = RNG.integers(0, 9, (T, B, X))
    assert same_results(rnncore.bptt(PARAMS, counts, LABELS), rnncore.bptt(PARAMS, counts.astype("float32"), LABELS))


def arguments_of(form: str, cell: str = "rnn") -> dict[str, Any]:
    """Those of bptt."""
    states = STATES[cell]
    if form == "one":
        first = each_state(lambda array: array[0], states)
        return {"inputs": VECTORS[:, 0], "labels": LABELS[:, 0], "state": first}
    if form == "list":
        two = each_state(lambda array: array[:2], states)
        return {
            "inputs": [VECTORS[:2, 0], VECTORS[:0, 1]],
            "labels": [LABELS[:2, 0], LABELS[:0, 1]],
            "state": two,
        }
    more = {"lengths": LENGTHS} if form == "padded" else {}
    return {"inputs": VECTORS, "labels": LABELS, "state": states, **more}


FORMS = ("one", "batch", "padded", "list")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", CELLS)
def test_bptt_is_forward_cross_entropy_and_backward(cell: str, form: str) -> None:
    arguments, params = arguments_of(form, cell), NETS[cell]
    whole = rnncore.bptt(params, **arguments, need_dinputs=True)
    labels = arguments.pop("labels")
    out = rnncore.forward(params, **arguments)
    losses, dy = rnncore.cross_entropy(out.y, labels, arguments.get("lengths"))
    back = rnncore.backward(params, out, dy=dy, need_dinputs=True)
    assert same(losses, whole.losses)
    assert same(out.state, whole.state)
    assert same(back.grads.flat, whole.grads.flat)
    assert same(back.dstate, whole.dstate)
    assert same(back.dinputs, whole.dinputs)
    assert shape(whole.state) == shape(whole.dstate) == shape(arguments["state"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", CELLS)
def test_states_lead_from_piece_to_piece(cell: str, form: str) -> None:
    """Forward with ``state``, back with ``dstate``: the first piece needs nothing else of what comes after it."""
    arguments, params = arguments_of(form, cell), NETS[cell]
    arguments["inputs"] = [x[:2] for x in arguments["inputs"]] if form == "list" else arguments["inputs"][:2]
    if form == "padded":
        arguments["lengths"] = np.array([2, 1, 2])
    del arguments["labels"]
    state = arguments.pop("state")
    first = rnncore.forward(params, state=state, **arguments)
    second = rnncore.forward(params, state=first.state, **arguments)
    back = rnncore.backward(params, second, dstate=each_state(np.ones_like, second.state))
    whole = rnncore.backward(params, first, dstate=back.dstate).dstate
    assert shape(whole) == shape(state)
    longer = dict(arguments)
    if form == "list":
        longer["inputs"] = [np.concatenate([x, x]) for x in arguments["inputs"]]
    elif form == "padded":
        longer = {"inputs": [np.concatenate([VECTORS[:n, b]] * 2) for b, n in enumerate(arguments["lengths"])]}
    else:
        longer["inputs"] = np.concatenate([arguments["inputs"]] * 2)
    out = rnncore.forward(params, state=state, **longer)
    assert same(out.state, second.state)
    assert same(rnncore.backward(params, out, dstate=each_state(np.ones_like, out.state)).dstate, whole)


@pytest.mark.parametrize("cell", CELLS)
def test_backward_takes_any_of_the_three(cell: str) -> None:
    params, two = NETS[cell], each_state(lambda array: array[:2], STATES[cell])
    out = rnncore.forward(params, [TOKENS[:, 0], TOKENS[:2, 1]], state=two)
    dy, dh = [np.ones_like(y) for y in out.y], [np.ones_like(h) for h in out.h]
    for given in ({"dy": dy}, {"dh": dh}, {"dstate": two}, {"dy": dy, "dh": dh, "dstate": two}):
        back = rnncore.backward(params, out, **given)
        assert shape(back.dstate) == shapes(cell, 2, H)
        assert back.dinputs is None
        assert back.grads.W_hy.any() == ("dy" in given)
        assert back.grads.W_hh.any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["a list", "of lists", "float64", "strided", "apart"])
def test_a_pair_of_states_in_every_dress(kind: str, form: str) -> None:
    """(h, c) may be a tuple or a list, of whatever is an array."""
    arguments, params = arguments_of(form, "lstm"), NETS["lstm"]
    h, c = arguments["state"]
    dresses: dict[str, Any] = {
        "a list": [h, c],
        "of lists": (h.tolist(), c.tolist()),
        "float64": (h.astype("f8"), c),
        "strided": tuple(np.repeat(array, 2, axis=-1)[..., ::2] for array in (h, c)),
        "apart": (h.copy(), c.copy()),
    }
    want = rnncore.bptt(params, **arguments)
    inputs, labels = arguments.pop("inputs"), arguments.pop("labels")
    arguments["state"] = dresses[kind]
    assert same_results(rnncore.bptt(params, inputs, labels, **arguments), want)
    out = rnncore.forward(params, inputs, **arguments)
    assert same(out.state, want.state)
    wanted = rnncore.backward(params, out, dstate=(h, c))
    found = rnncore.backward(params, out, dstate=dresses[kind])
    assert same(found.grads.flat, wanted.grads.flat)
    assert same(found.dstate, wanted.dstate)


def test_the_states_of_a_pair_are_not_each_other_s() -> None:
    """h before c, in arguments and in results: c = 0 and h = 0 are not the same start."""
    params, zero = reading(True, "lstm"), np.zeros((B, H), "float32")
    h, c = STATES["lstm"]
    states = [rnncore.forward(params, TOKENS, state=pair).state for pair in ((h, zero), (zero, h), (zero, zero), None)]
    assert not same(states[0], states[1])
    assert same(states[2], states[3])
    out = rnncore.forward(params, TOKENS, state=(h, c))
    assert same(out.state[0], out.h[-1])
    back = rnncore.backward(params, out, dstate=(zero, c))
    assert same(back.dstate, rnncore.backward(params, out, dh=np.zeros((T, B, H)), dstate=(zero, c)).dstate)


@pytest.mark.parametrize("cell", CELLS)
def test_a_net_without_outputs(cell: str) -> None:
    params = rnncore.init_params(cell, inputs=X, hidden=H, outputs=0)
    out = rnncore.forward(params, VECTORS)
    assert out.y.shape == (T, B, 0)
    back = rnncore.backward(params, out, dh=np.ones((T, B, H)), need_dinputs=True)
    assert back.dinputs.shape == (T, B, X)
    assert back.grads.W_xh.any()


@pytest.mark.parametrize("cell", CELLS)
def test_backward_is_out_of_reach_of_later_changes(cell: str) -> None:
    params, inputs, lengths = NETS[cell], VECTORS.copy(), LENGTHS.copy()
    state = each_state(np.copy, STATES[cell])
    out = rnncore.forward(params, inputs, state=state, lengths=lengths)
    want = rnncore.backward(params, out, dh=np.ones((T, B, H))).grads
    for array in (inputs, lengths, *state_arrays(state), *state_arrays(out.state)):
        array[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        out.h[0] = 0
    assert rnncore.backward(params, out, dh=np.ones((T, B, H))).grads == want
    assert rnncore.backward(params, pickle.loads(pickle.dumps(out)), dh=np.ones((T, B, H))).grads == want


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    result = raw[1:].view(a.dtype).reshape(a.shape)
    result[...] = a
    return result


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "wider": lambda a: a.astype("f8" if a.dtype.kind == "f" else "i8"),
    "longer": lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a.astype("i2"),
    "a subclass": lambda a: a.view(type("Own", (np.ndarray,), {})),
    "with __array__": lambda a: type("Foreign", (), {"__array__": lambda self, dtype=None, copy=None: a})(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", [TOKENS, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("labels", [LABELS, DISTRIBUTIONS.astype("float32")], ids=["classes", "distributions"])
def test_arrays_of_every_kind(kind: str, inputs: Any, labels: Any) -> None:
    make, params = KINDS[kind], reading(inputs is TOKENS)
    want = rnncore.bptt(params, inputs, labels, state=STATE, lengths=LENGTHS)
    given = make(inputs), make(labels), make(STATE), make(LENGTHS)
    result = rnncore.bptt(params, given[0], given[1], state=given[2], lengths=given[3])
    assert same_results(result, want)
    out = rnncore.forward(params, given[0], state=given[2], lengths=given[3])
    losses, dy = rnncore.cross_entropy(make(out.y.astype("float32")), given[1], given[3])
    if kind not in ("wider", "longer"):  # y decides in what dtype its softmax is
        assert same(losses, want.losses)
        assert same(rnncore.backward(params, out, dy=make(dy), dh=None).grads.flat, want.grads.flat)
    dh = np.ones((T, B, H), "float32")
    assert rnncore.backward(params, out, dh=make(dh)).grads == rnncore.backward(params, out, dh=dh).grads


def test_numbers_too_large_for_float32_are_infinite() -> None:
    vectors = VECTORS.astype("float64")
    vectors[0, 0, 0], vectors[0, 1, 0] = 1e300, -1e300
    infinite = VECTORS.copy()
    infinite[0, 0, 0], infinite[0, 1, 0] = np.inf, -np.inf
    assert same(rnncore.forward(PARAMS, vectors).y, rnncore.forward(PARAMS, infinite).y)


def arrays_of(result: Any) -> list[np.ndarray]:
    found = []
    for name in ("losses", "state", "dstate", "dinputs", "y", "h"):
        value = getattr(result, name, None)
        found += list(value) if isinstance(value, list | tuple) else [value] if value is not None else []
    return found + ([result.grads.flat] if hasattr(result, "grads") else [])


def copied(value: Any) -> Any:
    return type(value)(array.copy() for array in value) if isinstance(value, list | tuple) else value.copy()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", CELLS)
def test_arguments_are_untouched_and_results_their_own(cell: str, form: str) -> None:
    arguments = {name: copied(value) for name, value in arguments_of(form, cell).items()}
    params = NETS[cell].copy()
    first = rnncore.bptt(params, **arguments, need_dinputs=True)
    kept = pickle.loads(pickle.dumps(first))
    labels = arguments.pop("labels")
    out = rnncore.forward(params, **arguments)
    dstate = each_state(np.copy, out.state)
    back = rnncore.backward(params, out, dh=out.h, dstate=dstate, need_dinputs=True)
    arguments["labels"] = labels
    assert params == NETS[cell]
    assert all(same(arguments[name], value) for name, value in arguments_of(form, cell).items())
    assert same(dstate, out.state)
    given = [params.flat] + [
        a for v in (*arguments.values(), dstate) for a in (v if isinstance(v, list | tuple) else [v])
    ]
    results = [arrays_of(result) for result in (first, out, back)]
    for n, mine in enumerate(results):
        others = given + [a for other in results[:n] for a in other]
        assert not any(np.shares_memory(a, b) for a in mine for b in others)
        assert not any(np.shares_memory(a, b) for k, a in enumerate(mine) for b in mine[:k])
    for array in [*arrays_of(back), *state_arrays(out.state)]:
        array[...] = 7
    assert same_results(first, kept)


def test_large_results_are_their_own_too() -> None:
    """Their memory is used again, but not before they are gone."""
    params = rnncore.init_params("rnn", 3, 64, 20)
    numbers = np.random.default_rng(0)
    inputs = [numbers.standard_normal((T, 9, 3)).astype(np.float32) for T in (200, 200, 390, 200, 120, 390)]
    expected = [rnncore.forward(params, x, backend="numpy") for x in inputs]
    alive: list[rnncore.ForwardResult] = []
    for _ in range(3):
        for x in inputs:
            alive.append(rnncore.forward(params, x))
            assert not any(np.shares_memory(alive[-1].h, out.h) for out in alive[:-1])
        assert all(same((out.y, out.h), (want.y, want.h)) for out, want in zip(alive, expected, strict=True))
        alive.clear()


@pytest.mark.parametrize("cell", CELLS)
def test_states_of_one_call_are_apart(cell: str) -> None:
    states = STATES[cell]
    result = rnncore.bptt(NETS[cell], TOKENS[:0], LABELS[:0], state=states)
    arrays = [array for one in (states, result.state, result.dstate) for array in state_arrays(one)]
    assert not any(np.shares_memory(a, b) for n, a in enumerate(arrays) for b in arrays[:n])


@pytest.mark.parametrize("shape", [(V,), (T, V), (T, B, V), (2, 1, T, V), (0, V)])
def test_softmax_is_along_the_last_axis(shape: tuple[int, ...]) -> None:
    y = RNG.normal(size=shape).astype("float32")
    p = rnncore.softmax(y)
    assert p.shape == shape
    assert p.dtype == np.float32
    assert np.allclose(p.sum(axis=-1), 1)
    assert not np.shares_memory(p, y)
    assert same(rnncore.softmax([y, y]), [p, p])


def test_the_dtype_of_y_decides() -> None:
    y, labels = np.zeros((2, 3)), np.array([0, 1])
    for given, computed in (("f2", "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), ("g", "f8"), ("i4", "f8")):
        assert rnncore.softmax(y.astype(given)).dtype == computed
        losses, dy = rnncore.cross_entropy(y.astype(given), labels)
        assert losses.dtype == dy.dtype == computed


def test_cross_entropy_of_lists() -> None:
    y = RNG.normal(size=(T, V)).astype("float32")
    losses, dy = rnncore.cross_entropy([[], y, y[:2]], [[], LABELS[:, 0], LABELS[:2, 1]])
    assert [len(piece) for piece in losses] == [0, T, 2]
    assert [piece.shape for piece in dy] == [(0, V), (T, V), (2, V)]
    assert same(losses[1], rnncore.cross_entropy(y, LABELS[:, 0])[0])


def test_no_label_no_gradient() -> None:
    for labels in (np.full((T, B), -1), np.zeros((T, B, V))):
        result = rnncore.bptt(PARAMS, TOKENS, labels)
        assert result.loss == 0
        assert not result.grads.flat.any()
        assert not result.dstate.any()


def test_results_say_what_they_are() -> None:
    result = rnncore.bptt(PARAMS, TOKENS, LABELS)
    assert repr(result).startswith("BpttResult(loss=")
    assert repr(PARAMS) in repr(result)
    out = rnncore.forward(PARAMS, VECTORS)
    assert repr(out) == f"ForwardResult(T=5, B=3, {PARAMS!r})"
    assert repr(rnncore.backward(PARAMS, out, dstate=STATE)) == f"BackwardResult(grads={PARAMS!r})"
    assert repr(NETS["gru_reset_before"]) in repr(rnncore.forward(NETS["gru_reset_before"], VECTORS))


def test_attributes_that_nothing_reads_are_refused() -> None:
    forward, bptt = rnncore.forward(PARAMS, VECTORS), rnncore.bptt(PARAMS, VECTORS, LABELS, per_sequence="norms")
    results: list[Any] = [PARAMS, PARAMS.net, forward, bptt, bptt.per_sequence, rnncore.Stepper(PARAMS)]
    results += [rnncore.backward(PARAMS, forward, dh=forward.h), rnncore.gradient_flow(PARAMS, VECTORS, LABELS)]
    results += [rnncore.verify(PARAMS, VECTORS, LABELS)]
    for result in results:
        for name in ("grad", "bylag", "agreement"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(result, name, 0)

"""Every loss, with any weights and form of labels, has the same bits in every engine, and they are its exact value.

u is the unit roundoff: an operation is off by at most u times its result.
"""

from typing import Any

import mpmath
import nets
import numpy as np
import pytest
from nets import Array, Numbers, Results, assert_same_bits, gradients, make_net, named_states

import rnncore
from rnncore.cells import CELLS
from rnncore.engines import engine as engine_named
from rnncore.losses import LOSSES

DTYPES = ["float32", "float64"]
FUNCTIONS = {name: getattr(rnncore, name) for name in LOSSES}
SCALES = (0.01, 1.0, 30.0, 800.0)


def outputs(numbers: Numbers, rows: int, V: int, dtype: str) -> Array:
    """Outputs of several scales, with ties, zeros of both signs, infinities and NaN among them."""
    y = (numbers.symmetric(1.0, rows, V) * np.resize(SCALES, (rows, 1))).astype(dtype)
    kind = numbers.below(60, rows, V)
    for n, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
        y[kind == n] = value
    return np.where(kind == 5, y[:, :1], y)


def some_labels(numbers: Numbers, name: str, y: Array) -> dict[str, Array]:
    """Labels of each sort that a loss takes; half of the classes are the likeliest ones."""
    rows, V = y.shape
    if name == "squared_error":
        return {"numbers": numbers.symmetric(3.0, rows, V).astype(y.dtype)}
    share = numbers.fractions(rows, V).astype(y.dtype)
    if name == "binary_cross_entropy":
        return {"probabilities": share, "answers": (share > 0.5).astype(y.dtype)}
    likeliest, one_hot = np.nan_to_num(y).argmax(axis=1), np.eye(V, dtype=y.dtype)
    classes = np.where(numbers.below(2, rows) == 0, likeliest, numbers.below(V + 1, rows) - 1)
    mixed = share + 8 * one_hot[likeliest]
    dense = [labels / labels.sum(axis=1, keepdims=True) for labels in (share + 2.0**-20, mixed)]
    zeros = dense[0] * (numbers.below(2, rows) == 0)[:, None]
    named = {"dense": dense[0], "mostly one": dense[1], "some zeros": zeros, "one-hot": one_hot[likeliest]}
    return {"classes": classes} | {kind: labels.astype(y.dtype) for kind, labels in named.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_functions_agree(name: str, dtype: str, fast_engine: str) -> None:
    numbers = Numbers(1)
    for V in (*range(1, 18), 65):
        y = outputs(numbers, 80, V, dtype)
        for labels in some_labels(numbers, name, y).values():
            weights = (numbers.fractions(80) * (numbers.below(3, 80) > 0)).astype(dtype)
            for more in ({}, {"weights": weights}):
                found = [FUNCTIONS[name](y, labels, **more, backend=by) for by in ("numpy", fast_engine)]
                assert_same_bits(*(as_results(pair) for pair in found))


def as_results(pair: tuple[Any, Any]) -> Results:
    """What the function of a loss returns, by name."""
    return {"losses": flat(pair[0]), "dy": flat(pair[1])}


FORMS = ["one sequence", "batch", "lengths", "list"]


def call(name: str, form: str, last: bool, cell: str, dtype: str, weighted: bool = True) -> dict[str, Any]:
    """The arguments of a bptt with labels of a loss, for each step or for each sequence."""
    T, B, V, numbers = 6, 5, 3, Numbers(len(form) + last)
    net = make_net(T, B, 4, 7, V, dtype, lengths="ragged", cell=cell, scale=3.0)
    shape = (B,) if last else (T, B)
    classes = name == "cross_entropy"
    labels = numbers.below(V + 1, *shape) - 1 if classes else numbers.fractions(*shape, V).astype(dtype)
    weights = (numbers.fractions(*shape) * (numbers.below(3, *shape) > 0)).astype(dtype)
    arguments = {"inputs": net.inputs, "labels": labels, "weights": weights}
    if form == "one sequence":
        arguments = {n: a[0] if last and n != "inputs" else a[:, 0] for n, a in arguments.items()}
        arguments |= {"state": nets.each_state(lambda array: array[0], net.state)}
    elif form == "list":
        lengths = net.lengths if net.lengths is not None else np.full(B, T)
        cut = {n for n in arguments if n == "inputs" or not last}
        arguments = {n: [a[:k, b] for b, k in enumerate(lengths)] if n in cut else a for n, a in arguments.items()}
        arguments |= {"state": net.state}
    else:
        arguments |= {"state": net.state} | ({"lengths": net.lengths} if form == "lengths" else {})
    if not weighted:
        del arguments["weights"]
    return {"params": net.params, "loss": name, "need_dinputs": True} | arguments


def flat(array: Any) -> Array:
    return np.concatenate(array) if isinstance(array, list) else np.asarray(array)


def bptt(given: dict[str, Any], backend: str, threads: int = 1) -> Results:
    result = rnncore.bptt(**given, backend=backend, threads=threads)
    results = {"loss": np.array(result.loss), "losses": flat(result.losses), "count": np.array(result.count)}
    results |= named_states("state", given["params"].cell, result.state)
    return results | {name: flat(array) for name, array in gradients("bptt", result).items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOSSES)
def test_bptt_agrees(name: str, form: str, last: bool, dtype: str, fast_engine: str) -> None:
    for n, cell in enumerate(CELLS):
        given = call(name, form, last, cell, dtype, weighted=n % 2 == 0)
        for threads in (1, 2, 3):
            assert_same_bits(bptt(given, "numpy"), bptt(given, fast_engine, threads), cell)


@pytest.mark.parametrize("B", [1, 129, 300])
def test_blocks_of_last_states_agree(B: int, fast_engine: str) -> None:
    """The rows of outputs are the sequences, in blocks of 128."""
    for lengths in ("full", "ragged"):
        net = make_net(3, B, 2, 5, 4, lengths=lengths)
        labels = Numbers(3).below(4, B)
        given = {"params": net.params, "inputs": net.inputs, "labels": labels, "lengths": net.lengths}
        for threads in (1, 2):
            assert_same_bits(bptt(given, "numpy"), bptt(given, fast_engine, threads))


def test_threads_that_share_units_agree(fast_engine: str) -> None:
    """With few sequences, threads share the hidden units of a large layer, and the rows of the outputs."""
    for B in (1, 5):
        for lengths in ("full", "ragged"):
            net = make_net(4, B, 3, 260, 3, lengths=lengths)
            given = {"params": net.params, "inputs": net.inputs, "lengths": net.lengths}
            given |= {"labels": Numbers(3).below(3, B), "weights": Numbers(4).fractions(B)}
            for threads in (1, 2, 3):
                assert_same_bits(bptt(given, "numpy"), bptt(given, fast_engine, threads))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOSSES)
def test_bptt_is_forward_loss_and_backward(name: str, form: str, last: bool, engine: str) -> None:
    for cell in CELLS:
        given = call(name, form, last, cell, "float32")
        result = rnncore.bptt(**given, backend=engine)
        more = {key: given[key] for key in ("state", "lengths") if key in given}
        out = rnncore.forward(given["params"], given["inputs"], **more, last=last, backend=engine)
        weights, lengths = given["weights"], None if last else given.get("lengths")
        if last and form in ("lengths", "list"):  # sequences without steps have no loss
            there = given["lengths"] if form == "lengths" else np.array([len(x) for x in given["inputs"]])
            weights = weights * (there > 0)
        losses, dy = FUNCTIONS[name](out.y, given["labels"], lengths, weights=weights, backend=engine)
        back = rnncore.backward(given["params"], out, dy=dy, need_dinputs=True, backend=engine)
        found = gradients("bptt", back) | {"losses": losses} | named_states("state", cell, out.state)
        wanted = gradients("bptt", result) | {"losses": result.losses} | named_states("state", cell, result.state)
        assert_same_bits(*({n: flat(a) for n, a in results.items()} for results in (wanted, found)), cell)


def test_last_outputs_are_those_of_the_last_step(engine: str) -> None:
    for form in FORMS:
        given = call("cross_entropy", form, False, "lstm", "float32")
        more = {key: given[key] for key in ("state", "lengths") if key in given}
        every = rnncore.forward(given["params"], given["inputs"], **more, backend=engine)
        last = rnncore.forward(given["params"], given["inputs"], **more, last=True, backend=engine)
        if form == "list":
            wanted = np.array([y[-1] if len(y) else np.zeros(3) for y in every.y], np.float32)
        elif form == "lengths":
            wanted = np.array([every.y[n - 1, b] if n else np.zeros(3) for b, n in enumerate(given["lengths"])])
        else:
            wanted = every.y[-1]
        assert_same_bits({"y": wanted.astype(np.float32)}, {"y": last.y})
        assert_same_bits({"h": flat(every.h)}, {"h": flat(last.h)})


def test_a_label_a_sequence_is_one_at_the_last_step() -> None:
    """The same mathematics, in another order of additions: float64 differs in the last digits only."""
    for name in LOSSES:
        given = call(name, "batch", True, "gru", "float64")
        T, B = given["inputs"].shape[:2]
        labels, weights = np.zeros((T, *given["labels"].shape), given["labels"].dtype), np.zeros((T, B))
        labels[-1], weights[-1] = given["labels"], given["weights"]
        one, each = bptt(given, "numpy"), bptt(given | {"labels": labels, "weights": weights}, "numpy")
        assert one.pop("count") == each.pop("count")
        assert np.array_equal(one.pop("losses"), each.pop("losses")[-1])
        for key, array in one.items():  # sums of at most 30 terms of at most size 1
            assert np.abs(array - each[key]).max() <= 30 * 2.0**-52 * max(1.0, np.abs(array).max()), key


# Laws


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_weight_zero_is_no_label(form: str, last: bool, engine: str) -> None:
    given = call("cross_entropy", form, last, "rnn", "float32")
    weights, labels = given.pop("weights"), given["labels"]
    pairs = list(zip(labels, weights, strict=True)) if isinstance(labels, list) else [(labels, weights)]
    without = [np.where(w > 0, label, -1) for label, w in pairs]
    zero = [(w > 0).astype(np.float32) for _, w in pairs]
    far = [np.where(w > 0, label, 10**6) for label, w in pairs]  # not read
    as_given = (lambda arrays: arrays) if isinstance(labels, list) else (lambda arrays: arrays[0])
    wanted = bptt(given | {"labels": as_given(without)}, engine)
    assert_same_bits(wanted, bptt(given | {"labels": as_given(far), "weights": as_given(zero)}, engine))


@pytest.mark.parametrize("name", ["squared_error", "binary_cross_entropy"])
def test_a_label_without_weight_is_not_read(name: str, engine: str) -> None:
    given = call(name, "batch", False, "gru", "float64")
    labels = given["labels"].copy()
    labels[given["weights"] == 0] = np.nan
    assert np.isnan(labels).any()
    assert_same_bits(bptt(given, engine), bptt(given | {"labels": labels}, engine))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_read_may_be_anything(name: str, last: bool, engine: str) -> None:
    """Labels and weights of padding and of empty sequences, and labels where the weight is 0."""
    given = call(name, "lengths", last, "lstm", "float32")
    T, B = given["inputs"].shape[:2]
    given["weights"][0] = 0
    weights, labels, lengths = given["weights"].copy(), given["labels"].copy(), given["lengths"]
    exist = lengths > 0 if last else np.arange(T)[:, None] < lengths
    assert not exist.all()
    far = np.array([-(10**9), 10**9]) if name == "cross_entropy" else np.array([np.nan, -np.inf])
    for number, weight in zip(far, (np.nan, -1.0), strict=True):
        labels[~exist | (weights == 0)] = number
        weights[~exist] = weight
        changed = given | {"labels": labels, "weights": weights}
        assert_same_bits(bptt(given, engine), bptt(changed, engine))
        weights[~exist] = 0
        if not last:
            y = outputs(Numbers(2), T * B, 3, "float32").reshape(T, B, 3)
            pairs = [
                FUNCTIONS[name](y, arguments["labels"], lengths, weights=arguments["weights"], backend=engine)
                for arguments in (given, changed)
            ]
            assert_same_bits(*map(as_results, pairs))


@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_is_one_multiplication(name: str, engine: str) -> None:
    """A row without weight has +0, whatever its outputs are."""
    for dtype in DTYPES:
        numbers = Numbers(9)
        y = outputs(numbers, 80, 5, dtype)
        weights = (numbers.fractions(80) * np.resize([0.0, -0.0, 1.0, 1e-30, 1e30, 1e-44], 80)).astype(dtype)
        for labels in some_labels(numbers, name, y).values():
            losses, dy = FUNCTIONS[name](y, labels, backend=engine)
            with np.errstate(all="ignore"):
                wanted = losses * weights, dy * weights[:, None]
            for array in wanted:
                array[weights == 0] = 0
            found = FUNCTIONS[name](y, labels, weights=weights, backend=engine)
            assert_same_bits(as_results(wanted), as_results(found))


@pytest.mark.parametrize("name", LOSSES)
def test_one_row_is_a_sequence_of_one_step(name: str, engine: str) -> None:
    numbers = Numbers(11)
    y = outputs(numbers, 20, 4, "float32")
    for labels in some_labels(numbers, name, y).values():
        for r in range(20):
            for more in (None, np.float32(0.75), np.float32(0)):
                one = FUNCTIONS[name](y[r], labels[r], weights=more, backend=engine)
                many = None if more is None else np.array([more])
                row = FUNCTIONS[name](y[r : r + 1], labels[r : r + 1], weights=many, backend=engine)
                assert one[0].shape == ()
                assert_same_bits(as_results((one[0][None], one[1][None])), as_results(row))


@pytest.mark.parametrize("name", LOSSES)
def test_weights_multiply(name: str, engine: str) -> None:
    """Weights of 1 change no bit, weights of 2 double the losses, one a sequence is that one at each of its steps."""
    for form in FORMS[1:]:
        given = call(name, form, False, "lstm", "float32", weighted=False)
        plain = bptt(given, engine)
        if form == "list":
            ones = [np.ones(len(x), np.float32) for x in given["inputs"]]
            twos = [2 * array for array in ones]
        else:
            ones = np.ones(given["inputs"].shape[:2], np.float32)
            twos = 2 * ones
        assert_same_bits(plain, bptt(given | {"weights": ones}, engine))
        assert_same_bits(plain, bptt(given | {"weights": np.ones(5, np.float32)}, engine))
        double = bptt(given | {"weights": twos}, engine)
        assert_same_bits({"losses": 2 * plain["losses"]}, {"losses": double["losses"]})
        assert double["loss"] == 2 * plain["loss"]
        assert_same_bits(double, bptt(given | {"weights": np.full(5, 2.0)}, engine))


def test_one_hot_is_the_class(engine: str) -> None:
    numbers = Numbers(5)
    for dtype in DTYPES:
        for V in (2, 5, 20):
            for scale in (1.0, 100.0):  # of which many are certain
                y = numbers.symmetric(scale, 80, V).astype(dtype)
                labels = np.where(numbers.below(2, 80) == 0, y.argmax(axis=1), numbers.below(V, 80))
                by_class = rnncore.cross_entropy(y, labels, backend=engine)
                by_row = rnncore.cross_entropy(y, np.eye(V, dtype=dtype)[labels], backend=engine)
                assert_same_bits(dict(zip("ab", by_class, strict=True)), dict(zip("ab", by_row, strict=True)))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["squared_error", "binary_cross_entropy"])
def test_the_last_axis_of_one_output_may_be_missing(name: str, form: str, last: bool, engine: str) -> None:
    given = call(name, form, last, "rnn", "float32")
    given["params"] = make_net(1, 1, 4, 7, 1, "float32").params
    given["state"] = None
    with_axis = [label[..., :1] for label in given["labels"]] if isinstance(given["labels"], list) else None
    full = with_axis if with_axis is not None else given["labels"][..., :1]
    short = [label[..., 0] for label in full] if isinstance(full, list) else full[..., 0]
    assert_same_bits(bptt(given | {"labels": full}, engine), bptt(given | {"labels": short}, engine))


def test_answers_may_be_booleans(engine: str) -> None:
    given = call("binary_cross_entropy", "batch", False, "rnn", "float32")
    answers = given["labels"] > 0.5
    wanted = bptt(given | {"labels": answers.astype(np.float32)}, engine)
    for labels in (answers, answers.astype(int)):
        assert_same_bits(wanted, bptt(given | {"labels": labels}, engine))


def test_an_answer_may_be_one_boolean(engine: str) -> None:
    given = call("binary_cross_entropy", "one sequence", True, "rnn", "float32")
    given |= {"params": make_net(1, 1, 4, 7, 1, "float32").params, "state": None}
    wanted = bptt(given | {"labels": np.array(1.0)}, engine)
    for label in (True, np.True_, 1, 1.0, np.array([True])):
        assert_same_bits(wanted, bptt(given | {"labels": label}, engine))
    lists = {**given, "inputs": [given["inputs"]] * 2, "weights": np.ones(2)}
    wanted = bptt(lists | {"labels": np.array([1.0, 0.0])}, engine)
    assert_same_bits(wanted, bptt(lists | {"labels": [True, False]}, engine))


def test_labels_of_a_list_may_be_a_list_of_numbers_or_rows(engine: str) -> None:
    for name in LOSSES:
        given = call(name, "list", True, "rnn", "float32")
        wanted = bptt(given, engine)
        assert_same_bits(wanted, bptt(given | {"labels": list(given["labels"])}, engine))


def test_count_and_mean(engine: str) -> None:
    params, x = make_net(1, 1, 4, 7, 3).params, np.zeros((4, 2, 4), np.float32)
    labels = np.array([[0, -1], [1, 2], [-1, -1], [2, 0]])
    weights = np.array([[1.0, 1.0], [0.0, 2.0], [1.0, 0.0], [3.0, 1.0]])
    result = rnncore.bptt(params, x, labels, backend=engine)
    assert result.count == 5
    assert result.mean == result.loss / 5
    assert rnncore.bptt(params, x, labels, lengths=[3, 2], backend=engine).count == 3
    assert rnncore.bptt(params, x, labels, weights=weights, backend=engine).count == 4
    distributions = np.eye(4, 3)[labels] * (labels >= 0)[..., None]
    assert rnncore.bptt(params, x, distributions, weights=weights, backend=engine).count == 4
    assert rnncore.bptt(params, x, np.zeros((4, 2, 3)), loss="squared_error", backend=engine).count == 8
    assert rnncore.bptt(params, x, np.array([1, -1]), backend=engine).count == 1
    assert rnncore.bptt(params, x, np.array([1, 2]), lengths=[0, 3], backend=engine).count == 1
    empty = rnncore.bptt(params, x[:0], np.array([1, 2]), backend=engine)
    assert (empty.count, empty.mean, empty.loss) == (0, 0.0, 0.0)
    assert (empty.losses == 0).all()


# What they are

DIGITS = 340  # e^-600 beside 1, and what is left of it is below float64


def exact(name: str, y: Array, label: Any) -> tuple[Any, list[Any]]:
    """The loss of a row and dy, to so many digits that nothing cancels."""
    row = [mpmath.mpf(float(v)) for v in y]
    if name == "squared_error":
        dy = [v - mpmath.mpf(float(l)) for v, l in zip(row, label, strict=True)]
        return sum(d * d for d in dy) / 2, dy
    if name == "binary_cross_entropy":
        loss = sum(mpmath.log1p(mpmath.exp(v)) - float(l) * v for v, l in zip(row, label, strict=True))
        return loss, [1 / (1 + mpmath.exp(-v)) - float(l) for v, l in zip(row, label, strict=True)]
    total = mpmath.fsum(mpmath.exp(v) for v in row)
    p = [mpmath.exp(v) / total for v in row]
    others = mpmath.fsum(q for v, q in enumerate(p) if v != label)
    return -mpmath.log(p[label]), [-others if v == label else q for v, q in enumerate(p)]


def bound(name: str, y: Array) -> float:
    """How many u the loss and dy may be off, in parts of themselves; labels are classes, or answers 0 and 1.

    Sums of V terms of one sign add V/16 + 4 roundings, the lanes and their fold. Squared error: the difference, its
    square with that twice, the sum, the half. Binary cross-entropy: exp 2 and log1p 6 (units in the last place are at
    most 2 u), the other term and the sum of both 3; sigmoid 2.3. Cross-entropy: of e_v the difference y_v - M, whose
    error of u becomes |y_v - M| u, and exp 2; of p, t, s and log1p(t) those of e twice, the sum twice, and 10 for what
    is done with them. -log p of a label that is not the likeliest is at least log 2, so that what is off by n u there
    is off by n / log 2 in parts of the loss.
    """
    V = len(y)
    if name != "cross_entropy":
        return V / 16 + 20
    return (2 * float(y.max() - y.min()) + 4 + 2 * (V / 16 + 4) + 10) / np.log(2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_dy_are_exact(name: str, dtype: str) -> None:
    """Each number by itself, however certain the net is: none is what rounding left of a cancellation."""
    numbers, u, least = Numbers(7), float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).smallest_subnormal)
    for V in (1, 2, 3, 10, 40):
        for scale in (1e-3, 1.0, 20.0, 40.0, 300.0):
            y = numbers.symmetric(scale, 12, V).astype(dtype)
            if name == "cross_entropy":
                labels = np.where(numbers.below(3, 12) > 0, y.argmax(axis=1), numbers.below(V, 12))
            elif name == "squared_error":
                labels = numbers.symmetric(scale, 12, V).astype(dtype)
            else:
                labels = numbers.below(2, 12, V).astype(dtype)
            losses, dy = FUNCTIONS[name](y, labels, backend="numpy")
            with mpmath.workdps(DIGITS):
                for r in range(12):
                    loss, gradient = exact(name, y[r], labels[r])
                    for got, want in zip([losses[r], *dy[r]], [loss, *gradient], strict=True):
                        off = abs(mpmath.mpf(float(got)) - want)
                        assert off <= bound(name, y[r]) * u * abs(want) + 4 * (V + 1) * least, (V, scale, r)


def allowed(name: str, y: Array, label: Array) -> tuple[float, list[float]]:
    """How many u times what the loss, and each dy, may be off, of labels that are probabilities.

    The terms of the loss are of one sign: of the binary cross-entropy, ``bound`` holds as it is. The cross-entropy is
    at least log 2 / 2 where its log is not log1p: either the likeliest label has at most half of all weight, and the
    entropy of the labels is at least log 2; or it has more, and another output is larger, so that p is at most 1/2.
    That is half of what ``bound`` relies on; and there is a sum more, with one product and two additions in its terms.
    dy is a difference, off by what p is off, and once more itself: in parts of the larger of the two, p and l; but,
    where both are near 1, of the larger of what they lack.
    """
    row, V = [mpmath.mpf(float(v)) for v in y], len(y)
    if name == "binary_cross_entropy":
        p, n = [1 / (1 + mpmath.exp(-v)) for v in row], bound(name, y)
        near = label > 0.5
        loss = n
    else:
        total = mpmath.fsum(mpmath.exp(v) for v in row)
        p, n = [mpmath.exp(v) / total for v in row], bound(name, y) + 1
        near = (label > 0.5) & (y == y.max())
        loss = 2 * bound(name, y) + V / 16 + 4 + 3
    pairs = [(1 - q, 1 - mpmath.mpf(float(l))) if c else (q, float(l)) for q, l, c in zip(p, label, near, strict=True)]
    return loss, [n * max(pair) for pair in pairs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_probabilities_have_exact_losses(name: str, dtype: str) -> None:
    """And dy is off by no more than what its difference, which cancels where the net is right, must be off."""
    numbers, u, least = Numbers(13), float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).smallest_subnormal)
    for V in (1, 2, 5, 20):
        for scale in (1e-3, 1.0, 20.0, 300.0):
            y = numbers.symmetric(scale, 6, V).astype(dtype)
            for labels in some_labels(numbers, name, y).values():
                if labels.ndim == 1:
                    continue
                losses, dy = FUNCTIONS[name](y, labels, backend="numpy")
                with mpmath.workdps(DIGITS):
                    for r in np.flatnonzero(labels.any(axis=1) | (name != "cross_entropy")):
                        loss, gradient = exact_of_probabilities(name, y[r], labels[r])
                        n, sizes = allowed(name, y[r], labels[r])
                        assert abs(float(losses[r]) - loss) <= n * u * loss + 4 * (V + 1) * least, (V, scale, r)
                        for got, want, size in zip(dy[r], gradient, sizes, strict=True):
                            assert abs(float(got) - want) <= u * size + 4 * (V + 1) * least, (V, scale, r)


def exact_of_probabilities(name: str, y: Array, label: Array) -> tuple[Any, list[Any]]:
    """The same of labels that are probabilities."""
    if name == "binary_cross_entropy":
        return exact(name, y, label)
    row, given = ([mpmath.mpf(float(v)) for v in array] for array in (y, label))
    total = mpmath.fsum(mpmath.exp(v) for v in row)
    loss = mpmath.fsum(l * (mpmath.log(total) - v) for v, l in zip(row, given, strict=True))
    return loss, [mpmath.exp(v) / total - l for v, l in zip(row, given, strict=True)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p(dtype: str, engine: str) -> None:
    """Three units in the last place: 0.84 of log, one rounding of each of two operations, and log's own slope."""
    info = np.finfo(dtype)
    exponents = np.linspace(np.log2(info.smallest_subnormal), 40, 400)
    x = np.concatenate([[0.0, 1.0], 2.0**exponents]).astype(dtype)
    found = engine_named(engine).elementary("log1p", x)
    assert_same_bits({"log1p": engine_named("numpy").elementary("log1p", x)}, {"log1p": found})
    with mpmath.workdps(60):
        for given, got in zip(x, found, strict=True):
            want = mpmath.log1p(mpmath.mpf(float(given)))
            assert abs(mpmath.mpf(float(got)) - want) <= 3 * float(np.spacing(np.abs(got)))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_central_differences(name: str, last: bool) -> None:
    for cell in CELLS:
        for form in ("lengths", "list", "one sequence"):
            given = call(name, form, last, cell, "float64")
            del given["need_dinputs"]
            report = rnncore.verify(**given)
            assert report.ok, str(report)


def torch_losses(torch: Any, name: str, y: Any, labels: Any) -> Any:
    nn = torch.nn.functional
    if name == "cross_entropy":
        return nn.cross_entropy(y, labels.reshape(-1), ignore_index=-1, reduction="none")
    if name == "squared_error":
        return ((y - labels.reshape(y.shape)) ** 2).sum(1) / 2
    return nn.binary_cross_entropy_with_logits(y, labels.reshape(y.shape), reduction="none").sum(1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_pytorch_agrees(name: str, last: bool) -> None:
    """In float64, within 1e-12 of the largest element."""
    torch = pytest.importorskip("torch")
    for form in ("batch", "one sequence"):
        given = call(name, form, last, "rnn", "float64")
        params, one = given["params"], form == "one sequence"
        w = {n: torch.tensor(getattr(params, n), requires_grad=True) for n in params.names()}
        x, h = torch.tensor(given["inputs"]), torch.tensor(given["state"])
        hs = []
        for x_t in x:
            h = torch.tanh(x_t @ w["W_xh"].T + h @ w["W_hh"].T + w["b_h"])
            hs.append(h)
        y = (hs[-1] if last else torch.stack(hs)) @ w["W_hy"].T + w["b_y"]
        y, labels = y.reshape(-1, 3), torch.tensor(np.asarray(given["labels"]))
        losses = torch_losses(torch, name, y, labels)
        loss = (losses * torch.tensor(given["weights"]).reshape(-1)).sum()
        loss.backward()
        result = rnncore.bptt(**given)
        assert abs(result.loss - loss.item()) <= 1e-12 * abs(loss.item()), one
        for n in params.names():
            want = w[n].grad.numpy()
            assert np.abs(getattr(result.grads, n) - want).max() <= 1e-12 * np.abs(want).max(), n

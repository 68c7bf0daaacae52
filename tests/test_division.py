"""Offsets and resets that do not fit are refused before any work, in words that name the remedy; others are taken."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnncore

NET = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3)
READER = rnncore.Params("rnn", tokens=True, **NET)
DEEP = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3, layers=2)
BOTH = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3, bidirectional=True)
TOKENS, GRID, VECTORS, VECTOR_GRID = np.zeros(6, int), np.zeros((6, 2), int), np.zeros((6, 5)), np.zeros((6, 2, 5))
LIST = [np.zeros(4, int), np.zeros(2, int)]
DISTRIBUTIONS = np.full((6, 3), 1 / 3)
OFFSETS = [0, 4, 6]


def flags(*shape: int) -> np.ndarray:
    return np.ones(shape, bool)


V, T = ValueError, TypeError
Case = tuple[type[Exception], str, Callable[[str], Any]]


def bptt(inputs: Any = TOKENS, labels: Any = TOKENS, params: Any = NET, **given: Any) -> Callable[[str], Any]:
    return lambda engine: rnncore.bptt(params, inputs, labels, **given, backend=engine)


def forward(inputs: Any = TOKENS, params: Any = NET, **given: Any) -> Callable[[str], Any]:
    return lambda engine: rnncore.forward(params, inputs, **given, backend=engine)


OF_OFFSETS: list[Case] = [
    (V, "offsets must have shape (B + 1,), B >= 1: where each sequence begins, and N, got int64 ()", bptt(offsets=6)),
    (
        V,
        "offsets must have shape (B + 1,), B >= 1: where each sequence begins, and N, got int64 (1,)",
        bptt(offsets=[6]),
    ),
    (V, "B >= 1: where each sequence begins, and N, got float64 (0,)", bptt(offsets=[])),
    (V, "B >= 1: where each sequence begins, and N, got int64 (1, 2)", bptt(offsets=[[0, 6]])),
    (T, "offsets must be integers, got float64 (3,)", bptt(offsets=[0.0, 4.0, 6.0])),
    (
        T,
        "offsets must be an array of integers or floating-point numbers, got list [False, True]",
        bptt(offsets=[False, True]),
    ),
    (V, "offsets must go from 0 to N = 6, the steps of the inputs, got 0 to 9", bptt(offsets=[0, 4, 9])),
    (V, "got 4 to 2; of lengths write np.concatenate([[0], np.cumsum(lengths)])", bptt(offsets=[4, 2])),
    (V, "got 0 to 4; the last one is N, where the last sequence ends", bptt(offsets=[0, 4])),
    (V, "got 4 to 6; the first one is 0, where the first sequence begins", bptt(offsets=[4, 6])),
    (V, "count from its beginning: write offsets - offsets[0]", bptt(offsets=[5, 9, 11])),
    (
        V,
        f"offsets must go from 0 to N = 6, the steps of the inputs, got 0 to {2**64 - 1}",
        bptt(offsets=np.array([0, 2**64 - 1], np.uint64)),
    ),
    (V, "offsets must ascend, got 4 and then 2, at 1 and 2", bptt(offsets=[0, 4, 2, 6])),
    (
        V,
        "where offsets is given, one sequence after the other, got float64 (6, 2, 5); of a padded array",
        forward(VECTOR_GRID, offsets=OFFSETS),
    ),
    (V, "inputs must be (N,) tokens or (N, X) vectors where offsets is given", forward(3, offsets=[0, 1])),
    (
        T,
        "inputs must be tokens, integers, as params has tokens=True, got int64 (6, 2)",
        forward(GRID, READER, offsets=OFFSETS),
    ),
    (V, "inputs must have X = 5 numbers a step, got int64 (6, 2)", forward(GRID, offsets=OFFSETS)),
    (
        V,
        "inputs is a list, whose arrays are the sequences; leave offsets out, or join the list with np.concatenate",
        bptt(LIST, LIST, offsets=OFFSETS),
    ),
    (
        V,
        "lengths and offsets must not both be given: lengths is for padded arrays (T, B, ...), and offsets for",
        bptt(offsets=OFFSETS, lengths=[4, 2]),
    ),
    (V, "state must have shape (B, H) = (2, 4), got float64 (4,)", bptt(offsets=OFFSETS, state=np.zeros(4))),
    (
        V,
        "inputs must be in [0, X) = [0, 5), got 9 at step 1 of sequence 1",
        forward(np.array([0, 0, 0, 0, 0, 9]), offsets=OFFSETS),
    ),
    (
        V,
        "labels must be in [-1, V) = [-1, 3), got 9 at step 1 of sequence 1",
        bptt(labels=np.array([0, 0, 0, 0, 0, 9]), offsets=OFFSETS),
    ),
    (V, "labels must be in [-1, V) = [-1, 3), got 9 for sequence 1", bptt(labels=np.array([0, 9]), offsets=OFFSETS)),
    (
        V,
        "labels must have one for each step, N = 6, or one for each sequence, B = 2, got int64 (5,)",
        bptt(labels=TOKENS[1:], offsets=OFFSETS),
    ),
    (
        V,
        "B = 2, got int64 (6, 3); one-hot labels are written as classes, labels.argmax(-1)",
        bptt(labels=np.eye(3, dtype=int)[TOKENS], offsets=OFFSETS),
    ),
    (
        V,
        "labels must have V = 3 numbers a step, got float64 (6, 4)",
        bptt(labels=np.full((6, 4), 0.25), offsets=OFFSETS),
    ),
    (T, "labels must be one array where offsets is given, as inputs is, got list", bptt(labels=LIST, offsets=OFFSETS)),
    (
        T,
        "write np.concatenate(labels) of a list of arrays, np.array(labels) of a list of numbers",
        bptt(labels=[0] * 6, offsets=OFFSETS),
    ),
    (
        V,
        "weights must have the shape of the labels' steps, (6,), or one for each sequence, (2,), got float64 (5,)",
        bptt(offsets=OFFSETS, weights=np.ones(5)),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got -1.0 at step 0 of sequence 1",
        bptt(offsets=OFFSETS, weights=np.array([1.0, -1.0])),
    ),
    (
        V,
        "dropout_masks[0] must have shape (N, H) = (6, 4) or (B, H) = (2, 4), got float64 (3, 4)",
        bptt(params=DEEP, offsets=OFFSETS, dropout_masks=[np.ones((3, 4))]),
    ),
]
OF_RESETS: list[Case] = [
    (V, "resets must have one boolean for each step, (T,) = (6,), got bool (5,)", bptt(resets=flags(5))),
    (V, "resets must have one boolean for each step, (T,) = (6,), got bool ()", bptt(resets=True)),
    (V, "resets must have one boolean for each step, (T,) = (6,), got bool (6, 5)", bptt(VECTORS, resets=flags(6, 5))),
    (
        V,
        "resets must have one boolean for each step, (T,) = (6,), got bool (6, 5)",
        forward(VECTORS, resets=flags(6, 5)),
    ),
    (
        V,
        "resets must have one boolean for each step, (T, B) = (6, 2), got bool (6, 2, 5)",
        forward(VECTOR_GRID, resets=flags(6, 2, 5)),
    ),
    (
        V,
        "got bool (6,); for the same in all sequences write np.repeat(resets[:, None], B, axis=1)",
        forward(VECTOR_GRID, resets=flags(6)),
    ),
    (
        V,
        "got bool (2,); there is a row (B,) for each step, False where a sequence goes on",
        forward(VECTOR_GRID, resets=flags(2)),
    ),
    (V, "got bool (2, 6); time comes first, as in inputs: write resets.T", forward(VECTOR_GRID, resets=flags(2, 6))),
    (V, "(T, B) = (6, 2), got bool (6,)", bptt(GRID, GRID, lengths=[6, 2], resets=flags(6))),
    (
        V,
        "resets must have one boolean for each step, (N,) = (6,), got bool (2,)",
        bptt(offsets=OFFSETS, resets=flags(2)),
    ),
    (V, "inputs may be tokens (T, B), or vectors (T, X) that are integers", forward(GRID, resets=flags(6, 2))),
    (
        T,
        "resets must be an array of booleans, got float64 (6,): write np.asarray(resets, bool)",
        bptt(resets=np.ones(6)),
    ),
    (
        T,
        "resets must be an array of booleans, got int64 (6,): write np.asarray(resets, bool)",
        forward(resets=np.ones(6, int)),
    ),
    (T, "resets must be an array of booleans, got list [0, 0, 0, 0, 0, 1]: write", bptt(resets=[0, 0, 0, 0, 0, 1])),
    (T, "resets must be an array of booleans, got str 'yes'", bptt(resets="yes")),
    (
        T,
        "resets must be an array of booleans, got list [[True], [True, False]]: ",
        bptt(resets=[[True], [True, False]]),
    ),
    (
        T,
        "resets must be an array without a mask, got MaskedArray bool (6,): write resets.filled(False)",
        bptt(resets=np.ma.masked_array(flags(6))),
    ),
    (T, "resets must be a list of sequences, as inputs is, got ndarray bool (6,)", bptt(LIST, LIST, resets=flags(6))),
    (
        T,
        "resets must be a list of sequences, as inputs is, got ndarray bool (2, 4)",
        bptt(LIST, LIST, resets=flags(2, 4)),
    ),
    (V, "inputs and resets must have as many sequences, got 2 and 1", bptt(LIST, LIST, resets=[flags(4)])),
    (V, "resets[1] must have shape (T_b,) = (2,), got bool (3,)", bptt(LIST, LIST, resets=[flags(4), flags(3)])),
    (V, "resets[0] must have shape (T_b,) = (4,), got bool ()", bptt(LIST, LIST, resets=[True, False])),
    (
        T,
        "resets[1] must be an array of booleans, got int64 (2,): write np.asarray(resets[1], bool)",
        bptt(LIST, LIST, resets=[flags(4), np.ones(2, int)]),
    ),
    (
        T,
        "resets must be one array where offsets is given, as inputs is, got list",
        bptt(offsets=OFFSETS, resets=[flags(4), flags(2)]),
    ),
    (
        T,
        "[array([ True,  True,  True]), array([ True,  True,  True])]: write np.concatenate(resets)",
        bptt(offsets=[0, 3, 6], resets=[flags(3), flags(3)]),
    ),
    (
        V,
        "give what lies between resets as sequences of their own, in a list or with offsets",
        bptt(params=BOTH, resets=flags(6)),
    ),
    (V, "resets must be None for a net of two directions", forward(LIST, BOTH, resets=[flags(4), flags(2)])),
    (V, "resets must be None for a net of two directions", forward(params=BOTH, resets=np.zeros(6, bool))),
]
CASES = OF_OFFSETS + OF_RESETS


@pytest.mark.parametrize("n", range(len(CASES)), ids=[f"{n}-{message[:40]}" for n, (_, message, _) in enumerate(CASES)])
def test_messages(n: int, engine: str) -> None:
    error, message, call = CASES[n]
    with pytest.raises(error, match=re.escape(message)):
        call(engine)


def test_verify_says_the_same() -> None:
    with pytest.raises(ValueError, match=r"resets must have one boolean for each step, \(T,\) = \(6,\)"):
        rnncore.verify(NET, TOKENS, TOKENS, resets=flags(5))
    with pytest.raises(ValueError, match="offsets must ascend"):
        rnncore.verify(NET, TOKENS, TOKENS, offsets=[0, 4, 2, 6])
    with pytest.raises(ValueError, match="of lengths write"):
        rnncore.dropout_masks(DEEP, TOKENS, 0.5, 1, offsets=[4, 2])


def test_nothing_is_computed_before_the_error() -> None:
    class Never:
        reads_raw = False

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("reached the engine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncore.api.current", lambda name: Never())
        for error, message, call in CASES:
            with pytest.raises(error, match=re.escape(message)):
                call("numpy")


TAKEN = {
    "resets of nested lists": {"resets": [[False, True]] * 6},
    "resets of an array of objects": {"resets": np.array([None, [[False, True]] * 6], object)[1]},
    "no reset": {"resets": np.zeros((6, 2), bool)},
    "lengths and resets": {"lengths": [3, 0], "resets": flags(6, 2)},
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str, engine: str) -> None:
    assert rnncore.forward(NET, VECTOR_GRID, **TAKEN[name], backend=engine).h.shape == (6, 2, 4)


def test_an_empty_array_of_anything_is_no_reset(engine: str) -> None:
    """As [] is, which NumPy makes of float64."""
    assert rnncore.bptt(NET, TOKENS[:0], TOKENS[:0], resets=[], backend=engine).count == 0
    assert rnncore.bptt(NET, [TOKENS, []], [TOKENS, []], resets=[flags(6), []], backend=engine).count == 6


def test_object_arrays_of_resets_count_as_lists(engine: str) -> None:
    each = np.empty(2, object)
    each[0], each[1] = flags(4), flags(2)
    found = rnncore.bptt(NET, LIST, LIST, resets=each, backend=engine)
    assert found.grads == rnncore.bptt(NET, LIST, LIST, resets=list(each), backend=engine).grads


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", ">i4"])
def test_offsets_are_integers_of_any_size(dtype: str, engine: str) -> None:
    found = rnncore.bptt(NET, TOKENS, TOKENS, offsets=np.array(OFFSETS, dtype), backend=engine)
    assert found.grads == rnncore.bptt(NET, LIST, LIST, backend=engine).grads

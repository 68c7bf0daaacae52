"""Whatever is handed over, the answer is right or a ValueError or TypeError that names the argument and the value."""

import re
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnncore
from rnncore import ranges

NET = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3)
READER = rnncore.Params("rnn", tokens=True, **NET)
VECTOR_READER = rnncore.Params("rnn", tokens=False, **NET)
DEEP = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3, layers=2)
BOTH = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=3, bidirectional=True)
PackedSequence = namedtuple("PackedSequence", "data batch_sizes")  # PyTorch's is a tuple, too
HEADLESS = rnncore.init_params("rnn", inputs=5, hidden=4, outputs=0)
TOKENS, LABELS = np.zeros(6, int), np.zeros(6, int)
GRID = np.zeros((6, 2), int)
VECTORS = np.zeros((6, 5))
DISTRIBUTIONS = np.full((6, 3), 1 / 3)
OUT = rnncore.forward(NET, TOKENS, backend="numpy")
LIST_OUT = rnncore.forward(NET, [TOKENS, TOKENS[:2]], backend="numpy")
EMPTY_OUT = rnncore.forward(HEADLESS, TOKENS, backend="numpy")
LSTM = rnncore.init_params("lstm", inputs=5, hidden=4, outputs=3)
LSTM_OUT = rnncore.forward(LSTM, TOKENS, backend="numpy")
LSTM_LIST_OUT = rnncore.forward(LSTM, [TOKENS, TOKENS[:2]], backend="numpy")
GRU = rnncore.init_params("gru", inputs=5, hidden=4, outputs=3)
ZERO, ZEROS = np.zeros(4), np.zeros((2, 4))
CELLS = "'rnn', 'rnn_relu', 'lstm', 'gru', 'gru_reset_before'"
PAIR = "of cell 'lstm' must be a tuple (h, c) of arrays"
Y = np.zeros((6, 3))


def bptt(inputs: Any = TOKENS, labels: Any = LABELS, params: Any = NET, **more: Any) -> Any:
    return rnncore.bptt(params, inputs, labels, **{"backend": "numpy", **more})


def forward(inputs: Any = TOKENS, params: Any = NET, **more: Any) -> Any:
    return rnncore.forward(params, inputs, **{"backend": "numpy", **more})


def backward(out: Any = OUT, params: Any = NET, **more: Any) -> Any:
    return rnncore.backward(params, out, **{"backend": "numpy", **more})


def cross_entropy(y: Any = Y, labels: Any = LABELS, lengths: Any = None, **more: Any) -> Any:
    return rnncore.cross_entropy(y, labels, lengths, **{"backend": "numpy", **more})


def squared_error(y: Any = Y, labels: Any = Y, lengths: Any = None, **more: Any) -> Any:
    return rnncore.squared_error(y, labels, lengths, **{"backend": "numpy", **more})


def binary_cross_entropy(y: Any = Y, labels: Any = Y, lengths: Any = None, **more: Any) -> Any:
    return rnncore.binary_cross_entropy(y, labels, lengths, **{"backend": "numpy", **more})


def changed(array: np.ndarray, at: Any, value: Any, dtype: Any = None) -> np.ndarray:
    array = array.astype(dtype or array.dtype)
    array[at] = value
    return array


V, T = ValueError, TypeError
MESSAGES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    # ranges
    (
        V,
        "labels must be in [-1, V) = [-1, 3), got 65 at step 3 of sequence 0",
        lambda: bptt(labels=changed(LABELS, 3, 65)),
    ),
    (
        V,
        "labels must be in [-1, V) = [-1, 3), got -2 at step 5 of sequence 1",
        lambda: bptt(GRID, changed(GRID, (5, 1), -2)),
    ),
    (
        V,
        f"labels must be in [-1, V) = [-1, 3), got {2**64 - 1} at step 1 of sequence 0",
        lambda: bptt(labels=changed(LABELS, 1, 2**64 - 1, np.uint64)),
    ),
    (V, "inputs must be in [0, X) = [0, 5), got -1 at step 2 of sequence 0", lambda: bptt(changed(TOKENS, 2, -1))),
    (
        V,
        "inputs must be in [0, X) = [0, 5), got 5 at step 0 of sequence 1",
        lambda: forward(changed(GRID, (0, 1), 5), READER),
    ),
    (
        V,
        f"inputs must be in [0, X) = [0, 5), got {2**63} at step 1 of sequence 1",
        lambda: forward([TOKENS, changed(TOKENS, 1, 2**63, np.uint64)]),
    ),
    (
        V,
        "inputs must be in [0, X) = [0, 5), got 7 at step 1 of sequence 0",
        lambda: bptt(changed(GRID, (1, 0), 7), GRID, lengths=[2, 6]),
    ),
    (V, "lengths must be in [0, T] = [0, 6], got 7 for sequence 1", lambda: bptt(GRID, GRID, lengths=[0, 7])),
    (
        V,
        "lengths must be in [0, T] = [0, 6], got -1 for sequence 0",
        lambda: bptt(GRID, GRID, lengths=np.array([-1, 6])),
    ),
    (
        V,
        "labels must be finite and not negative, got nan for class 1 at step 2 of sequence 0",
        lambda: bptt(labels=changed(DISTRIBUTIONS, (2, 1), np.nan)),
    ),
    (
        V,
        "labels must be finite and not negative, got inf for class 0 at step 2 of sequence 0",
        lambda: bptt(labels=changed(DISTRIBUTIONS, (2, 0), np.inf)),
    ),
    (
        V,
        "labels must be finite and not negative, got -1.0 for class 0 at step 4 of sequence 0",
        lambda: bptt(labels=changed(DISTRIBUTIONS, 4, [-1, 1, 1])),
    ),
    (
        V,
        "labels must sum to 1 at each step, within 4.8e-07, or be all zeros for no loss, "
        "got the sum 2.0 at step 1 of sequence 0",
        lambda: bptt(labels=changed(DISTRIBUTIONS, 1, [0, 0, 2])),
    ),
    # losses and weights
    (
        V,
        "loss must be one of 'cross_entropy', 'squared_error', 'binary_cross_entropy', got 'mse'",
        lambda: bptt(loss="mse"),
    ),
    (T, "loss must be a string, one of 'cross_entropy', 'squared_error'", lambda: bptt(loss=None)),
    (T, "last must be True or False, got int 1", lambda: forward(last=1)),
    (
        T,
        "labels must be floating for the loss 'squared_error', got int64 (6,): write labels.astype('float32')",
        lambda: bptt(loss="squared_error"),
    ),
    (
        V,
        "labels must be numbers, got nan for output 1 at step 2 of sequence 0",
        lambda: bptt(labels=changed(Y, (2, 1), np.nan), loss="squared_error"),
    ),
    (
        V,
        "labels must be in [0, 1], got 1.5 for output 0 at step 4 of sequence 0",
        lambda: bptt(labels=changed(np.zeros((6, 3)), (4, 0), 1.5), loss="binary_cross_entropy"),
    ),
    (
        V,
        "labels must be in [0, 1], got -1.0 for output 2 for sequence 1",
        lambda: bptt(GRID, changed(np.zeros((2, 3)), (1, 2), -1), loss="binary_cross_entropy"),
    ),
    (
        V,
        "labels must be in [0, 1], got nan for output 0 at step 1 of sequence 1",
        lambda: bptt([TOKENS, TOKENS], [Y * 0, changed(Y * 0, (1, 0), np.nan)], loss="binary_cross_entropy"),
    ),
    (V, "labels must be in [-1, V) = [-1, 3), got 3 for sequence 1", lambda: bptt(GRID, np.array([0, 3]))),
    (V, "labels must be in [-1, V) = [-1, 3), got 7 for sequence 0", lambda: bptt([TOKENS, TOKENS], [7, 0])),
    (
        V,
        "labels must sum to 1 at each step, within 4.8e-07, or be all zeros for no loss, "
        "got the sum 2.0 for sequence 1",
        lambda: bptt(GRID, np.array([[1, 0, 0], [1, 1, 0.0]])),
    ),
    (
        V,
        "labels must be (T, V) or (T, B, V) for the loss 'squared_error', got float64 (1, 2, 3, 4)",
        lambda: bptt(labels=np.zeros((1, 2, 3, 4)), loss="squared_error"),
    ),
    (
        V,
        "labels must have V = 3 numbers a step, got float64 (6, 2); they are (T, V) or (T, B, V) for the loss",
        lambda: bptt(labels=np.zeros((6, 2)), loss="squared_error"),
    ),
    (
        V,
        "labels of a list of sequences must be a list as well, or an array of one label for each of the 2 sequences",
        lambda: bptt([TOKENS, TOKENS], LABELS),
    ),
    (
        V,
        "inputs int64 (5, 5) and labels int64 (5,) may be tokens with one label a sequence, or vectors with one a step",
        lambda: bptt(np.zeros((5, 5), int), np.zeros(5, int)),
    ),
    (T, "weights must be floating, got int64 (6,): write weights.astype('float32')", lambda: bptt(weights=LABELS)),
    (T, "weights must be an array of integers or floating-point", lambda: bptt(weights=LABELS > 0)),
    (
        V,
        "weights must have the shape of the labels' steps, (6,), or one for each sequence, (), got float64 (5,)",
        lambda: bptt(weights=np.ones(5)),
    ),
    (
        V,
        "weights must have the shape of the labels' steps, (6, 2), or one for each sequence, (2,), got float64 (6,)",
        lambda: bptt(GRID, GRID % 3, weights=np.ones(6)),
    ),
    (
        V,
        "weights must have the shape of the labels' steps, (2,), got float64 (6, 2)",
        lambda: bptt(GRID, np.array([0, 1]), weights=np.ones((6, 2))),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got -1.0 at step 3 of sequence 0",
        lambda: bptt(weights=changed(np.ones(6), 3, -1)),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got nan at step 0 of sequence 0",
        lambda: bptt(weights=changed(np.ones(6), 0, np.nan)),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got inf for sequence 1",
        lambda: bptt([TOKENS, TOKENS], [LABELS, LABELS], weights=np.array([1, np.inf])),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got inf at step 1 of sequence 0",
        lambda: bptt(weights=changed(np.ones(6), 1, 1e300)),
    ),
    (
        V,
        "weights[1] must have shape (T_b,) = (6,), got float64 (5,)",
        lambda: bptt([TOKENS, TOKENS], [LABELS, LABELS], weights=[np.ones(6), np.ones(5)]),
    ),
    (
        V,
        "labels and weights must have as many sequences, got 2 and 1",
        lambda: bptt([TOKENS, TOKENS], [LABELS, LABELS], weights=[np.ones(6)]),
    ),
    (T, "loss must be a string, one of 'cross_entropy', 'squared_error'", lambda: bptt(loss=b"squared_error")),
    (T, "loss must be a string, one of 'cross_entropy', 'squared_error'", lambda: bptt(loss=1)),
    (
        V,
        "loss must be one of 'cross_entropy', 'squared_error', 'binary_cross_entropy', got 'crossentropy'",
        lambda: rnncore.verify(NET, TOKENS, LABELS, loss="crossentropy"),
    ),
    (
        T,
        "labels[1] must be floating for the loss 'squared_error', got int64 (6,): write labels[1].astype('float32')",
        lambda: bptt([TOKENS, TOKENS], [Y, LABELS], loss="squared_error"),
    ),
    (
        T,
        "labels must be floating for the loss 'squared_error', got int64 (6, 3): write labels.astype('float64')",
        lambda: squared_error(labels=Y.astype(int)),
    ),
    (
        V,
        "labels must be numbers, got nan for output 2 at step 1 of sequence 1",
        lambda: squared_error([Y, Y], [Y, changed(Y, (1, 2), np.nan)]),
    ),
    (
        V,
        "labels must be numbers, got nan for output 0 at step 3 of sequence 1",
        lambda: squared_error(np.zeros((6, 2, 3)), changed(np.zeros((6, 2, 3)), (slice(3, 6), 1, 0), np.nan), [3, 4]),
    ),
    (
        V,
        "labels must be numbers, got nan for output 2 for sequence 0",
        lambda: squared_error(Y[0], changed(Y[0], 2, np.nan)),
    ),
    (V, "labels must be in [0, 1], got 2.0 for output 1", lambda: binary_cross_entropy(labels=changed(Y, (5, 1), 2))),
    (V, "labels must be in [0, 1], got -inf", lambda: binary_cross_entropy(labels=changed(Y, (5, 1), -np.inf))),
    (
        V,
        "y and labels must have the same steps, got y float64 (6, 3) and labels float64 (6,)",
        lambda: binary_cross_entropy(labels=np.zeros(6)),
    ),
    (
        V,
        "inputs and labels must have the same steps, got inputs int64 (6,) and labels float64 (5, 3); there is one",
        lambda: bptt(labels=Y[:5], loss="squared_error"),
    ),
    (
        V,
        "labels[0] must have shape (T_b, V) = (6, 3), got float64 (6, 2)",
        lambda: bptt([TOKENS], [Y[:, :2]], loss="binary_cross_entropy"),
    ),
    (
        T,
        "weights[1] must be floating, got int64 (6,)",
        lambda: cross_entropy([Y, Y], [LABELS] * 2, weights=[Y[:, 0], LABELS]),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got -2.0 at step 1 of sequence 1",
        lambda: bptt([TOKENS] * 2, [LABELS] * 2, weights=[np.ones(6), changed(np.ones(6), 1, -2)]),
    ),
    (
        V,
        "weights must be finite in float64 and not negative, got nan at step 2 of sequence 1",
        lambda: cross_entropy(np.zeros((6, 2, 3)), GRID, [2, 4], weights=changed(np.ones((6, 2)), slice(2, 6), np.nan)),
    ),
    (
        V,
        "weights must be finite in float32 and not negative, got -1.0 for sequence 1",
        lambda: bptt(GRID, np.array([0, 1]), weights=np.array([1.0, -1.0])),
    ),
    (
        V,
        "weights must have the shape of the labels' steps, (2,), got float64 (3,)",
        lambda: bptt([TOKENS] * 2, [LABELS] * 2, weights=np.ones(3)),
    ),
    (
        V,
        "weights must have the shape of the labels' steps, (), got float64 (1,)",
        lambda: squared_error(Y[0], Y[0], weights=np.ones(1)),
    ),
    (T, "weights must be floating, got int64 (6, 2)", lambda: bptt(GRID, GRID, weights=GRID)),
    (V, "weights must have the shape of the labels' steps, (6,), or one", lambda: bptt(weights=[np.ones(6)])),
    (V, "y is a list, so that there must be one label a step", lambda: cross_entropy([Y, Y], [0, 1])),
    (V, "dy must have shape (V,) = (3,), got float64 (6, 3)", lambda: backward(forward(last=True), dy=Y)),
    (
        V,
        "dy must have shape (B, V) = (2, 3), got float64 (2, 4)",
        lambda: backward(forward([TOKENS, TOKENS], last=True), dy=np.ones((2, 4))),
    ),
    # shapes
    (
        V,
        "inputs and labels must have the same steps, got inputs int64 (6,) and labels int64 (5,); there is one",
        lambda: bptt(labels=LABELS[:5]),
    ),
    (
        V,
        "labels must be (T,) or (T, B) integers, classes, or (T, V) or (T, B, V) floating, distributions, got int64",
        lambda: bptt(labels=np.zeros((1, 2, 3), int)),
    ),
    (
        V,
        "labels must have V = 3 numbers a step, got float64 (6, 2); they are",
        lambda: bptt(labels=np.ones((6, 2))),
    ),
    (V, "inputs must have X = 5 numbers a step, got int64 (6, 2)", lambda: bptt(GRID)),
    (V, "inputs must have 1 to 3 axes, got int64 (1, 1, 1, 1)", lambda: forward(np.zeros((1, 1, 1, 1), int))),
    # what people bring from elsewhere: the message names the remedy
    (
        V,
        "to be classes, or have V = 3 numbers a step, got float64 (6,): write labels.astype(int)",
        lambda: bptt(labels=LABELS.astype(float)),
    ),
    (
        V,
        "got float64 (6,): real numbers need another loss, such as loss='squared_error'",
        lambda: bptt(labels=LABELS + 0.5),
    ),
    (V, "another loss, such as loss='squared_error'", lambda: bptt(labels=Y - 0.5)),
    (V, "another loss, such as loss='squared_error'", lambda: bptt(labels=Y + 0.5)),
    (V, "one-hot labels are written as classes, labels.argmax(-1)", lambda: bptt(labels=np.eye(3, dtype=int)[LABELS])),
    (V, "one-hot labels are written as classes", lambda: bptt(np.zeros((6, 2, 5)), np.eye(3, dtype=np.int8)[GRID])),
    (T, "got float64 (5,); one step of a vector is inputs[None]", lambda: bptt(np.zeros(5), 0)),
    (T, "got float64 (5,); one step of a vector is inputs[None]", lambda: forward(np.zeros(5))),
    (
        T,
        "a list of sequences, got a PackedSequence: write torch.nn.utils.rnn.unpack_sequence(inputs)",
        lambda: forward(PackedSequence(VECTORS, LABELS)),
    ),
    (
        V,
        "got -100 at step 2 of sequence 0: no label is -1 here, np.where(labels == -100, -1, labels)",
        lambda: bptt(labels=changed(LABELS, 2, -100)),
    ),
    (V, "time comes first, (T, B, ...): of (B, T, ...) write swapaxes(0, 1)", lambda: bptt(GRID.T, GRID)),
    (V, "time comes first, (T, B, ...)", lambda: bptt(np.zeros((2, 6, 5)), GRID)),
    (V, "lengths has one for each sequence, and time comes first", lambda: bptt(GRID.T, GRID.T, lengths=[6, 6])),
    (V, "inputs must be vectors, as params has tokens=False, got int64 (6,): ", lambda: forward(TOKENS, VECTOR_READER)),
    (V, "of one number a step, write inputs[:, None]", lambda: bptt(TOKENS, LABELS, VECTOR_READER)),
    (V, "of one number a step, write inputs[0][:, None]", lambda: forward([TOKENS], VECTOR_READER)),
    (
        T,
        "inputs must be tokens, integers, as params has tokens=True, got float64 (6, 5)",
        lambda: bptt(VECTORS, params=READER),
    ),
    (T, "inputs[0] must be tokens, integers, as params has tokens=True", lambda: forward([VECTORS], READER)),
    (
        V,
        "integers, got int64 (6, 2): say what the net reads, with tokens=True or tokens=False where it is",
        lambda: forward(GRID),
    ),
    # several layers and directions
    (
        V,
        "state must have shape (L*D, B, H) = (2, 2, 4), got float64 (2, 4)",
        lambda: bptt(GRID, GRID, DEEP, state=ZEROS),
    ),
    (V, "state must have shape (L*D, H) = (2, 4), got float64 (4,)", lambda: bptt(params=DEEP, state=ZERO)),
    (
        T,
        "dropout_masks must be a list of layers - 1 = 1 masks",
        lambda: bptt(params=DEEP, dropout_masks=np.ones((6, 4))),
    ),
    (V, "one for each layer but the first, got a list of 2", lambda: bptt(params=DEEP, dropout_masks=[ZERO, ZERO])),
    (
        V,
        "must be a list of layers - 1 = 0 masks, one for each layer but the first, got a list of 1",
        lambda: bptt(dropout_masks=[ZERO]),
    ),
    (
        V,
        "dropout_masks[0] must have shape (T, H) = (6, 4), or (H,) = (4,) for all steps, got float64 (6, 5)",
        lambda: bptt(params=DEEP, dropout_masks=[VECTORS]),
    ),
    (
        V,
        "dropout_masks[0] must have shape (T, B, H) = (6, 2, 4), or (B, H) = (2, 4) for all steps, got float64 (4,)",
        lambda: bptt(GRID, GRID, DEEP, dropout_masks=[ZERO]),
    ),
    (
        V,
        "dropout_masks[0] must have B = 1 sequences, got 2",
        lambda: bptt([TOKENS], [LABELS], DEEP, dropout_masks=[[Y, Y]]),
    ),
    (
        V,
        "dropout_masks[0][0] must have shape (T_b, H) = (6, 4)",
        lambda: bptt([TOKENS], [LABELS], DEEP, dropout_masks=[[Y]]),
    ),
    (V, "rate must be at least 0 and less than 1, got 1.0", lambda: rnncore.dropout_masks(DEEP, TOKENS, 1.0, 0)),
    (V, "seed must be at least 0, got -1", lambda: rnncore.dropout_masks(DEEP, TOKENS, 0.5, -1)),
    (V, "dh must have shape (T, 2H) = (6, 8), got float64 (6, 3)", lambda: backward(forward(params=BOTH), BOTH, dh=Y)),
    (V, "sample needs a net of one direction", lambda: rnncore.sample(BOTH, 0, np.zeros(2))),
    (
        V,
        "sample needs a net that reads tokens, got params with tokens=False",
        lambda: rnncore.sample(VECTOR_READER, 0, np.zeros(2)),
    ),
    (V, "layers must be at least 1, got 0", lambda: rnncore.init_params("rnn", 1, 1, 1, layers=0)),
    (T, "bidirectional must be True or False, got int 1", lambda: rnncore.init_params("rnn", 1, 1, 1, bidirectional=1)),  # type: ignore[arg-type]  # wrong on purpose
    (T, "tokens must be True or False, got int 1", lambda: rnncore.init_params("rnn", 1, 1, 1, tokens=1)),  # type: ignore[arg-type]  # wrong on purpose
    (
        V,
        "inputs, hidden, outputs and layers must fit into memory, got 1, 1, 1 and 100000",
        lambda: rnncore.init_params("rnn", 1, 1, 1, layers=10**5),
    ),
    (
        T,
        "layers must be a list of dicts of arrays, one for each layer, got int 2",
        lambda: rnncore.Params("rnn", layers=2),
    ),  # type: ignore[arg-type]  # wrong on purpose
    (T, "layers[0] must be a dict of arrays by name, got int 1", lambda: rnncore.Params("rnn", layers=[1])),  # type: ignore[list-item]  # wrong on purpose
    (
        T,
        "layers[1] must be a dict with a dict of arrays for each of 'forward' and 'reverse': all layers have both",
        lambda: rnncore.Params("rnn", layers=[{"forward": {}, "reverse": {}}, {"W_xh": Y}]),
    ),
    (
        V,
        "layers.1.W_xh must have shape (H, H) = (2, 2), got float64 (2, 3)",
        lambda: rnncore.Params("rnn", layers=[{"W_xh": np.ones((2, n)), "W_hh": np.ones((2, 2))} for n in (1, 3)]),
    ),
    (
        V,
        "W_hy must have shape (V, 2H) = (3, 8), got float64 (3, 4)",
        lambda: rnncore.Params("rnn", **{**BOTH, "W_hy": np.ones((3, 4))}),
    ),
    (V, "inputs must have at least one sequence, B >= 1, got int64 (6, 0)", lambda: bptt(GRID[:, :0], GRID[:, :0])),
    (V, "inputs must have at least one sequence, got an empty list", lambda: forward([])),
    (V, "labels must have at least one sequence, got an empty tuple", lambda: bptt([TOKENS], ())),
    (V, "inputs and labels must have as many sequences, got 1 and 2", lambda: bptt([TOKENS], [LABELS, LABELS])),
    (
        V,
        "inputs[1] and labels[1] must have as many steps, got inputs[1] int64 (6,) and labels[1] int64 (4,)",
        lambda: bptt([TOKENS, TOKENS], [LABELS, LABELS[:4]]),
    ),
    (
        V,
        "inputs[1] must be (T_b,) integers or (T_b, X) = (T_b, 5), and as inputs[0] is, got float64 (6, 5)",
        lambda: forward([TOKENS, VECTORS]),
    ),
    (
        V,
        "labels[0] must be (T_b,) integers or (T_b, V) = (T_b, 3), and as labels[0] is, got float64 (6, 4)",
        lambda: bptt([TOKENS], [np.zeros((6, 4))]),
    ),
    (V, "lengths must have shape (B,) = (2,), got int64 (3,)", lambda: forward(GRID, READER, lengths=[1, 2, 3])),
    (V, "lengths is for batches (T, B, ...): one sequence is as long as its array", lambda: bptt(lengths=[6])),
    (V, "lengths is for padded arrays (T, B, ...): a list", lambda: forward([TOKENS], lengths=[6])),
    (V, "lengths is for padded arrays (T, B, ...): a list", lambda: cross_entropy([Y], [LABELS], [6])),
    (V, "state must have shape (H,) = (4,), got float64 (1, 4)", lambda: bptt(state=np.zeros((1, 4)))),
    (V, "state must have shape (B, H) = (2, 4), got float64 (4,)", lambda: bptt(GRID, GRID, state=np.zeros(4))),
    (V, "bptt needs outputs, and params has outputs = 0", lambda: bptt(params=HEADLESS)),
    # states
    (
        V,
        "state must have shape (H,) = (4,), got float64 (2, 4)",
        lambda: bptt(params=GRU, state=(ZERO, ZERO)),
    ),
    (T, f"state {PAIR} (H,) = (4,), got ndarray float64 (4,)", lambda: bptt(params=LSTM, state=ZERO)),
    (T, f"state {PAIR} (H,) = (4,), got ndarray float64 (2, 4)", lambda: forward(params=LSTM, state=ZEROS)),
    (
        T,
        f"state {PAIR} (B, H) = (2, 4), got ndarray float64 (2, 2, 4)",
        lambda: bptt(GRID, GRID, LSTM, state=np.zeros((2, 2, 4))),
    ),
    (T, f"state {PAIR} (H,) = (4,), got dict {{}}", lambda: bptt(params=LSTM, state={})),
    (V, f"state {PAIR} (H,) = (4,), got a tuple of 1", lambda: bptt(params=LSTM, state=(ZERO,))),
    (V, f"state {PAIR} (B, H) = (2, 4), got a list of 3", lambda: bptt(GRID, GRID, LSTM, state=[ZEROS] * 3)),
    (V, f"state {PAIR} (H,) = (4,), got a tuple of 0", lambda: bptt(params=LSTM, state=())),
    (
        T,
        "h of state must be an array of integers or floating-point numbers, got None",
        lambda: bptt(params=LSTM, state=(None, ZERO)),
    ),
    (
        T,
        "c of state must be an array of integers or floating-point numbers, got str 'c'",
        lambda: forward(params=LSTM, state=[ZERO, "c"]),
    ),
    (
        V,
        "h of state must have shape (H,) = (4,), got float64 (5,)",
        lambda: bptt(params=LSTM, state=(np.ones(5), ZERO)),
    ),
    (V, "c of state must have shape (H,) = (4,), got float64 (1, 4)", lambda: bptt(params=LSTM, state=(ZERO, [ZERO]))),
    (
        V,
        "c of state must have shape (B, H) = (2, 4), got float64 (4,)",
        lambda: bptt(GRID, GRID, LSTM, state=(ZEROS, ZERO)),
    ),
    (
        V,
        "h of state must have shape (B, H) = (2, 4), got float64 (1, 4)",
        lambda: forward([TOKENS, TOKENS], LSTM, state=(ZEROS[:1], ZEROS)),
    ),
    # kinds
    (T, "inputs must be integers to be tokens, got float64 (6,); inputs are tokens", lambda: bptt(np.zeros(6))),
    (
        T,
        "inputs[1] must be integers to have one number a step, got float64 (6,)",
        lambda: forward([TOKENS, np.zeros(6)]),
    ),
    (
        T,
        "labels[0] must be floating to be distributions (T_b, V), got int64 (6, 3)",
        lambda: bptt([TOKENS], [np.zeros((6, 3), int)]),
    ),
    (T, "inputs must be a list of sequences, as labels is, got ndarray int64 (6,)", lambda: bptt(TOKENS, [LABELS])),
    (
        T,
        "inputs is a list, so a batch of sequences, and inputs[0] must be an array, got the number 1; for one",
        lambda: bptt([1, 2], [1, 2]),
    ),
    (T, "lengths must be integers, got float64 (2,)", lambda: bptt(GRID, GRID, lengths=[1.0, 2.0])),
    (T, "inputs must be an array of integers or floating-point numbers, got None", lambda: bptt(None)),
    (T, "inputs must be an array without a mask, got MaskedArray int64 (6,)", lambda: bptt(np.ma.array(TOKENS))),
    (
        T,
        "inputs[0] must be an array of integers or floating-point numbers, got list [[1], [1, 2]]",
        lambda: forward([[[1], [1, 2]]]),
    ),
    (T, "threads must be an integer, got bool True", lambda: bptt(threads=True)),
    (T, "threads must be an integer, got float 2.0", lambda: bptt(threads=2.0)),
    (T, "threads must be an integer, got ndarray int64 (2,)", lambda: bptt(threads=np.array([1, 2]))),
    (V, "threads must be at least 1, got 0", lambda: forward(threads=0)),
    (T, "need_dinputs must be True or False, got int 1", lambda: bptt(need_dinputs=1)),
    (V, "need_dinputs must be False for tokens", lambda: bptt(need_dinputs=True)),
    (T, "params must be a rnncore.Params, got dict {}", lambda: bptt(params={})),
    (T, "params must be a rnncore.Params, got None", lambda: forward(params=None)),
    # backward
    (T, "out must be what forward returned, got None", lambda: backward(None)),
    (V, "backward needs a gradient to go back from: dy, dh or dstate must be given, got None for each", backward),
    (
        V,
        "params must be of the net that forward ran, Params('rnn', inputs=5, hidden=4, outputs=3, dtype=float32), got "
        "Params('rnn', inputs=5, hidden=4, outputs=0, dtype=float32)",
        lambda: backward(params=HEADLESS),
    ),
    (V, "dy must have shape (T, V) = (6, 3), got float64 (6, 1, 3)", lambda: backward(dy=np.zeros((6, 1, 3)))),
    (V, "dh must have shape (T, H) = (6, 4), got float64 (5, 4)", lambda: backward(dh=np.zeros((5, 4)))),
    (
        V,
        "dh must have shape (T, B, H) = (6, 2, 4), got float64 (6, 4)",
        lambda: backward(forward(GRID, READER), dh=np.zeros((6, 4))),
    ),
    (V, "dstate must have shape (H,) = (4,), got float64 (3,)", lambda: backward(dstate=np.zeros(3))),
    (T, f"dstate {PAIR} (H,) = (4,), got ndarray float64 (4,)", lambda: backward(LSTM_OUT, LSTM, dstate=ZERO)),
    (V, f"dstate {PAIR} (H,) = (4,), got a list of 1", lambda: backward(LSTM_OUT, LSTM, dstate=[ZERO])),
    (
        T,
        "c of dstate must be an array of integers or floating-point numbers, got None",
        lambda: backward(LSTM_OUT, LSTM, dstate=(ZERO, None)),
    ),
    (
        V,
        "h of dstate must have shape (B, H) = (2, 4), got float64 (4,)",
        lambda: backward(LSTM_LIST_OUT, LSTM, dstate=(ZERO, ZERO)),
    ),
    (
        V,
        "params must be of the net that forward ran, Params('rnn', inputs=5, hidden=4, outputs=3, dtype=float32), got "
        "Params('gru', inputs=5, hidden=4, outputs=3, dtype=float32)",
        lambda: backward(params=GRU, dh=np.zeros((6, 4))),
    ),
    (V, "dy must be None: params has outputs = 0", lambda: backward(EMPTY_OUT, HEADLESS, dy=np.zeros((6, 0)))),
    (T, "dy must be a list of sequences, as inputs of forward is, got ndarray", lambda: backward(LIST_OUT, dy=Y)),
    (V, "dy must have B = 2 sequences, got 1", lambda: backward(LIST_OUT, dy=[Y])),
    (V, "dy[1] must have shape (T_b, V) = (2, 3), got float64 (6, 3)", lambda: backward(LIST_OUT, dy=[Y, Y])),
    # cross_entropy and softmax
    (V, "y must be (T, V) or (T, B, V), or (V,), got int64 ()", lambda: cross_entropy(0)),
    (V, "y and labels must have the same steps, got y int64 (6,) and labels int64 (6,)", lambda: cross_entropy(TOKENS)),
    (V, "y must have a last axis of V >= 1 outputs, got float64 (6, 0)", lambda: cross_entropy(Y[:, :0])),
    (
        V,
        "y must have at least one sequence, B >= 1, got float64 (6, 0, 3)",
        lambda: cross_entropy(np.zeros((6, 0, 3)), GRID[:, :0]),
    ),
    (
        V,
        "y and labels must have the same steps, got y float64 (6, 3) and labels int64 (5,)",
        lambda: cross_entropy(Y, LABELS[:5]),
    ),
    (V, "y and labels must have as many sequences, got 2 and 1", lambda: cross_entropy([Y, Y], [LABELS])),
    (V, "y must have a sequence (T_b, V) that tells V, got only empty ones", lambda: cross_entropy([[]], [[]])),
    (
        V,
        "y[0] and labels[0] must have as many steps, got y[0] float64 (6, 3)",
        lambda: cross_entropy([Y], [LABELS[:5]]),
    ),
    (
        V,
        "y[1] must have shape (T_b, V) = (6, 3), got float64 (6, 2)",
        lambda: cross_entropy([Y, Y[:, :2]], [LABELS] * 2),
    ),
    (V, "y must have a last axis of V >= 1 outputs, got float64 ()", lambda: rnncore.softmax(1.0)),
    # parameters; what mypy complains of is what is tested
    (V, f"cell must be one of {CELLS}, got 'lsmt'", lambda: rnncore.init_params("lsmt", 1, 1, 1)),
    (T, f"cell must be a string, one of {CELLS}, got int 3", lambda: rnncore.init_params(3, 1, 1, 1)),  # type: ignore[arg-type]  # wrong on purpose
    (V, "hidden must be at least 1, got 0", lambda: rnncore.init_params("rnn", 1, 0, 1)),
    (V, "outputs must be at least 0, got -1", lambda: rnncore.init_params("rnn", 1, 1, -1)),
    (
        V,
        "inputs, hidden and outputs must fit into memory, got 1, 1000000000000 and 1",
        lambda: rnncore.init_params("rnn", 1, 10**12, 1),
    ),
    (V, "seed must be at least 0, got -1", lambda: rnncore.init_params("rnn", 1, 1, 1, seed=-1)),
    (T, "seed must be an integer, got str '1'", lambda: rnncore.init_params("rnn", 1, 1, 1, seed="1")),  # type: ignore[arg-type]  # wrong on purpose
    (T, "dtype must be float32 or float64, got float16", lambda: rnncore.init_params("rnn", 1, 1, 1, dtype="float16")),
    (T, "dtype must be float32 or float64, got str 'real'", lambda: rnncore.init_params("rnn", 1, 1, 1, dtype="real")),
    (T, "dtype must be float32 or float64, got None", lambda: rnncore.init_params("rnn", 1, 1, 1, dtype=None)),
    (
        T,
        "Params of cell 'rnn' has the arrays W_xh, W_hh, W_hy, b_h, b_y, got 'W_hx'",
        lambda: rnncore.Params("rnn", W_hx=Y),
    ),
    (T, "W_hh must be an array, got None", lambda: rnncore.Params("rnn", W_xh=np.ones((2, 2)))),
    (
        V,
        "W_xh must have shape (H, X), got float64 (2,)",
        lambda: rnncore.Params("rnn", W_xh=np.ones(2), W_hh=np.ones((2, 2))),
    ),
    (
        V,
        "b_h must have shape (H,) = (1,), got float64 (2,)",
        lambda: rnncore.Params("rnn", W_xh=[[1.0]], W_hh=[[1.0]], b_h=[1.0, 2.0]),
    ),
    (
        T,
        "W_xh must be float32 or float64, got int64 (1, 1); dtype=",
        lambda: rnncore.Params("rnn", W_xh=[[1]], W_hh=[[1.0]]),
    ),
    (
        V,
        "b_x must have shape (3H,) = (6,), got float64 (2,)",
        lambda: rnncore.Params("gru", W_xh=np.ones((6, 1)), W_hh=np.ones((6, 2)), b_x=np.ones(2)),
    ),
    (
        V,
        "W_hh must have shape (4H, H) = (8, 2), got float64 (2, 2)",
        lambda: rnncore.Params("lstm", W_xh=np.ones((8, 1)), W_hh=np.ones((2, 2))),
    ),
    (
        T,
        "Params of cell 'lstm' has the arrays W_xh, W_hh, W_hy, b_h, b_y, got 'b_x'",
        lambda: rnncore.Params("lstm", W_xh=np.ones((8, 1)), W_hh=np.ones((8, 2)), b_x=np.ones(8)),
    ),
    (
        V,
        "flat must have shape (n,) = (5,), got float64 (4,)",
        lambda: rnncore.Params.from_flat("rnn", 1, 1, 1, np.ones(4)),
    ),
    (V, "W_hh must have shape (H, H) = (4, 4), got int64 ()", lambda: setattr(NET, "W_hh", 0)),
    (
        T,
        "b_y must be an array of integers or floating-point numbers, got complex128 (3,)",
        lambda: setattr(NET, "b_y", np.ones(3, complex)),
    ),
    (AttributeError, "Params of cell 'rnn' has the arrays W_xh, W_hh, W_hy, b_h, b_y, not 'W_hx'", lambda: NET.W_hx),
    (AttributeError, "Params of cell 'rnn' has the arrays", lambda: setattr(NET, "W_hx", 0)),
    (AttributeError, "hidden of a Params cannot be changed", lambda: setattr(NET, "hidden", 5)),
    (AttributeError, "y of a ForwardResult cannot be changed", lambda: setattr(OUT, "y", 5)),
    # backends
    (
        V,
        "backend must be one of 'cpp', 'numba', 'numpy', or 'cpp.' and an instruction set, got 'cuda'",
        lambda: bptt(backend="cuda"),
    ),
    (
        V,
        "backend must be one of 'cpp', 'numba', 'numpy', or 'cpp.' and an instruction set, got 'cpp.'",
        lambda: bptt(backend="cpp."),
    ),
    (T, "backend must be a string, one of 'cpp', 'numba', 'numpy', got int 1", lambda: bptt(backend=1)),
    (V, "got 'cpp.sse9'", lambda: bptt(backend="cpp.sse9")),
]


@pytest.mark.parametrize(("kind", "text", "call"), MESSAGES, ids=[text[:60] for _, text, _ in MESSAGES])
def test_message(kind: type[Exception], text: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        call()


class Unreadable:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no array today")


BAD: list[Any] = [
    None,
    True,
    "text",
    b"text",
    {},
    {"a": 1},
    set(),
    object(),
    Unreadable(),
    1j,
    float("nan"),
    10**30,
    -(10**30),
    [],
    (),
    [None],
    ["a"],
    [[1, 2], 3],
    [1, 2, 3],
    [[1.5], [2, 3]],
    [np.zeros((2, 2, 2, 2))],
    iter([1, 2]),
    range(0),
    np.array(None),
    np.array("a"),
    np.array([1, "a"], object),
    np.zeros(6, complex),
    np.zeros(6, bool),
    np.zeros(6, "M8[s]"),
    np.zeros(6, "m8[s]"),
    np.zeros(6, [("a", int)]),
    np.zeros(6, "S3"),
    np.zeros(()),
    np.zeros((), int),
    np.zeros((0,)),
    np.zeros((6, 0)),
    np.zeros((6, 0, 5)),
    np.zeros((6, 1, 1, 1)),
    np.zeros((2,) * 9, int),
    np.full(6, -(2**63)),
    np.full(6, 2**63 - 1),
    np.full(6, 2**64 - 1, np.uint64),
    np.full((6, 2), 2**31, np.uint32),
    np.full((6, 3), np.nan),
    np.full((6, 3), -np.inf),
    np.full((6, 3), 1e308),
    np.full(4, np.nan, np.float16),
    np.ma.masked_array(np.zeros(6, int), mask=True),
    lambda: None,
    rnncore,
]

CALLS: dict[str, Callable[[Any], Any]] = {
    "params": lambda bad: bptt(params=bad),
    "inputs": lambda bad: bptt(bad),
    "labels": lambda bad: bptt(labels=bad),
    "state": lambda bad: bptt(state=bad),
    "state of lstm": lambda bad: bptt(params=LSTM, state=bad),
    "state of lstm, c": lambda bad: bptt(params=LSTM, state=(ZERO, bad)),
    "lengths": lambda bad: bptt(GRID, GRID, lengths=bad),
    "offsets": lambda bad: bptt(offsets=bad),
    "resets": lambda bad: bptt(resets=bad),
    "resets of padded arrays": lambda bad: bptt(GRID, GRID, lengths=[2, 6], resets=bad),
    "resets of lists": lambda bad: bptt([TOKENS], [LABELS], resets=bad),
    "resets of lists, one": lambda bad: bptt([TOKENS], [LABELS], resets=[bad]),
    "resets of offsets": lambda bad: bptt(offsets=[0, 2, 6], resets=bad),
    "loss": lambda bad: bptt(loss=bad),
    "weights": lambda bad: bptt(weights=bad),
    "weights of lists": lambda bad: bptt([TOKENS], [LABELS], weights=bad),
    "labels of squared_error": lambda bad: bptt(labels=bad, loss="squared_error"),
    "labels of binary_cross_entropy": lambda bad: bptt(labels=bad, loss="binary_cross_entropy"),
    "weights of padded arrays": lambda bad: bptt(GRID, GRID, lengths=[2, 6], weights=bad),
    "squared_error(labels)": lambda bad: squared_error(labels=bad),
    "squared_error(weights)": lambda bad: squared_error(weights=bad),
    "binary_cross_entropy(labels)": lambda bad: binary_cross_entropy(labels=bad),
    "last": lambda bad: forward(last=bad),
    "need_dinputs": lambda bad: bptt(need_dinputs=bad),
    "threads": lambda bad: bptt(threads=bad),
    "backend": lambda bad: bptt(backend=bad),
    "forward(params)": lambda bad: forward(params=bad),
    "forward(inputs)": forward,
    "forward(inputs[1])": lambda bad: forward([TOKENS, bad]),
    "out": lambda bad: backward(bad, dy=Y),
    "dy": lambda bad: backward(dy=bad),
    "dh": lambda bad: backward(dh=bad),
    "dstate": lambda bad: backward(dstate=bad),
    "dstate of lstm": lambda bad: backward(LSTM_OUT, LSTM, dstate=bad),
    "dstate of lstm, h": lambda bad: backward(LSTM_OUT, LSTM, dstate=(bad, ZERO)),
    "dy of lists": lambda bad: backward(LIST_OUT, dy=[Y, bad]),
    "y": cross_entropy,
    "cross_entropy(labels)": lambda bad: cross_entropy(labels=bad),
    "cross_entropy(lengths)": lambda bad: cross_entropy(np.zeros((6, 2, 3)), GRID, bad),
    "softmax(y)": lambda bad: rnncore.softmax(bad, backend="numpy"),
    "cell": lambda bad: rnncore.init_params(bad, 2, 2, 2),
    "hidden": lambda bad: rnncore.init_params("rnn", 2, bad, 2),
    "seed": lambda bad: rnncore.init_params("rnn", 2, 2, 2, seed=bad),
    "dtype": lambda bad: rnncore.init_params("rnn", 2, 2, 2, dtype=bad),
    "W_xh": lambda bad: rnncore.Params("rnn", W_xh=bad, W_hh=np.ones((2, 2))),
    "flat": lambda bad: rnncore.Params.from_flat("rnn", 1, 1, 1, bad),
    "use_backend": lambda bad: rnncore.use_backend(bad).__enter__(),
}
# What is legal after all: no argument, or finite and infinite numbers where they flow through.
LEGAL = (rnncore.BpttResult, rnncore.ForwardResult, rnncore.BackwardResult, rnncore.Params, tuple, np.ndarray, list)


@pytest.mark.parametrize("argument", CALLS)
@pytest.mark.parametrize("n", range(len(BAD)), ids=[f"{n}-{type(bad).__name__}" for n, bad in enumerate(BAD)])
def test_nothing_but_a_result_or_an_error_that_names_the_argument(argument: str, n: int) -> None:
    try:
        result = CALLS[argument](BAD[n])
    except (ValueError, TypeError) as error:
        text, name = str(error), re.sub(r"^\w+\(|[\[)].*| of .*", "", argument).replace("use_backend", "backend")
    else:
        assert isinstance(result, LEGAL)
        return
    assert name in text or (name == "W_xh" and "inputs must" in text)  # the size that W_xh says
    assert "got" in text or "must be False for tokens" in text


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", ">i4", "uint32", "int64", ">i8", "uint64"])
def test_integers_of_every_size_are_tokens_and_labels(dtype: str) -> None:
    result = bptt(TOKENS.astype(dtype), LABELS.astype(dtype))
    assert result.loss == bptt().loss


@pytest.mark.parametrize("V", [1, 2, 3, 65, 5000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_distributions_that_were_divided_by_their_sum_sum_to_one(V: int, dtype: Any, real: Any) -> None:
    e = np.random.default_rng(V).exponential(size=(40, 1, V)).astype(dtype)
    s = np.add.accumulate(e, axis=2, dtype=dtype)[:, :, -1:]  # the worst order there is
    if not np.isfinite(s).all():
        pytest.skip("float16 has no such sums")
    labels = (e * (1 / s).astype(dtype)).astype(dtype)
    dtypes = np.dtype(dtype), np.dtype(real)
    ranges.require_distributions(labels.astype(real), ranges.sum_tolerance(V, *dtypes), None)


def test_padding_may_hold_anything() -> None:
    tokens, labels, lengths = GRID.copy(), GRID.copy(), np.array([2, 4])
    want = bptt(tokens, labels, lengths=lengths).loss
    tokens[2:, 0], labels[2:, 0] = 99, -99
    assert bptt(tokens, labels, lengths=lengths).loss == want
    distributions = np.zeros((6, 2, 3))
    distributions[2:, 0] = np.nan
    assert bptt(tokens, distributions, lengths=lengths).loss == 0


def test_nothing_is_computed_before_the_error() -> None:
    class Never:
        reads_raw = False

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("reached the engine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncore.api.current", lambda name: Never())
        with pytest.raises(ValueError, match="threads"):
            bptt(threads=0)
        with pytest.raises(AssertionError, match="engine"):
            bptt()

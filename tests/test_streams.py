"""``chunks`` yields the pieces of a stream: views, in order, with the states and losses of the whole."""

import re
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS


@pytest.mark.parametrize("steps", [1, 3, 5, 15, 16, 100])
def test_pieces_of_arrays_are_views_in_order(steps: int) -> None:
    inputs, labels = np.arange(30.0).reshape(15, 2, 1), np.arange(30).reshape(15, 2)
    pieces = list(rnncore.chunks(inputs, labels, steps))
    assert [len(x) for x, _ in pieces] == [min(steps, 15 - t) for t in range(0, 15, steps)]
    assert np.array_equal(np.concatenate([x for x, _ in pieces]), inputs)
    assert np.array_equal(np.concatenate([label for _, label in pieces]), labels)
    assert all(np.shares_memory(x, inputs) and np.shares_memory(label, labels) for x, label in pieces)


def test_pieces_of_lists_are_lists() -> None:
    """Of a sequence that has ended there are no steps."""
    inputs, labels = [np.arange(5), np.arange(0), np.arange(2)], [np.arange(5) > 2, np.arange(0), [0.5, 1.5]]
    pieces = list(rnncore.chunks(inputs, labels, 2))
    assert [[x.tolist() for x in xs] for xs, _ in pieces] == [[[0, 1], [], [0, 1]], [[2, 3], [], []], [[4], [], []]]
    assert [[label.tolist() for label in ls] for _, ls in pieces] == [
        [[False, False], [], [0.5, 1.5]],
        [[False, True], [], []],
        [[True], [], []],
    ]
    assert all(isinstance(piece, list) for pair in pieces for piece in pair)


def test_an_empty_stream_has_no_pieces() -> None:
    assert list(rnncore.chunks(np.zeros((0, 2)), np.zeros(0, int), 3)) == []
    assert list(rnncore.chunks([np.zeros((0, 2))], [np.zeros(0, int)], 3)) == []


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_losses_and_states_are_those_of_the_whole_stream(cell: str, as_list: bool) -> None:
    net = nets.make_net(23, 3, 4, 6, 5, cell=cell, layers=2)
    inputs: Any = net.inputs
    labels: Any = net.labels
    if as_list:
        inputs, labels = ([a[: 23 - 7 * b, b] for b in range(3)] for a in (net.inputs, net.labels))
    whole, state, losses = rnncore.bptt(net.params, inputs, labels), None, []
    for x, label in rnncore.chunks(inputs, labels, 5):
        piece = rnncore.bptt(net.params, x, label, state=state)
        state = piece.state
        losses.append(piece.losses)
    nets.assert_same_bits(nets.named_states("s", cell, whole.state), nets.named_states("s", cell, state))
    if as_list:
        found = [np.concatenate([piece[b] for piece in losses]) for b in range(3)]
        assert all(np.array_equal(*pair) for pair in zip(found, whole.losses, strict=True))
    else:
        assert np.array_equal(np.concatenate(losses), whole.losses)


WRONG: dict[str, tuple[tuple[Any, Any, Any], type[Exception], str]] = {
    "no steps": ((np.zeros(3, int), np.zeros(3, int), 0), ValueError, "steps must be at least 1, got 0"),
    "a float": ((np.zeros(3, int), np.zeros(3, int), 2.0), TypeError, "steps must be an integer, got float 2.0"),
    "fewer labels": (
        (np.zeros(3, int), np.zeros(2, int), 2),
        ValueError,
        "inputs and labels must have as many steps, got int64 (3,) and int64 (2,): a stream that is cut needs a label",
    ),
    "one label": ((np.zeros(3, int), 1, 2), ValueError, "labels must have an axis for steps, got the number 1"),
    "a list of tokens": (
        ([0, 1, 2], [1, 2, 0], 2),
        ValueError,
        "inputs[0] must have an axis for steps, got the number 0",
    ),
    "a list and an array": (([np.zeros(3, int)], np.zeros(3, int), 2), TypeError, "must both be arrays, or both lists"),
    "lists of other lengths": (([np.zeros(3, int)] * 2, [np.zeros(3, int)], 2), ValueError, "as many sequences, got 2"),
    "unequal sequences": (([np.zeros(3, int)], [np.zeros(2, int)], 2), ValueError, "inputs[0] and labels[0] must have"),
    "no sequence": (([], [], 2), ValueError, "inputs must have at least one sequence, got an empty list"),
    "words": (
        ("text", np.zeros(4, int), 2),
        TypeError,
        "inputs must be an array of integers or floating-point numbers",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_stream_is_refused_at_once(wrong: str) -> None:
    arguments, error, message = WRONG[wrong]
    with pytest.raises(error, match=re.escape(message)):
        rnncore.chunks(*arguments)

"""Few steps: weights are read where they lie, or laid out block by block, and sums have no padding. The same bits."""

from functools import lru_cache

import pytest
from nets import Net, Results, assert_same_bits, make_net, reference, run, run_bptt

from rnncore.cells import CELLS

BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])

FEW_STEPS = {
    "one step of one sequence": {"T": 1, "B": 1, "X": 65, "H": 160, "V": 33},
    "some steps of one sequence": {"T": 4, "B": 1, "X": 130, "H": 32, "V": 7},
    "blocks in turns": {"T": 1, "B": 1, "X": 270, "H": 272, "V": 16},
    "blocks in turns, two sequences": {"T": 1, "B": 2, "X": 130, "H": 256, "V": 16},
    "four sequences": {"T": 2, "B": 4, "X": 9, "H": 144, "V": 5, "lengths": "ragged"},
    "five sequences": {"T": 2, "B": 5, "X": 16, "H": 64, "V": 16},
    "many sequences": {"T": 1, "B": 70, "X": 32, "H": 48, "V": 20},
    "units that fill no vector": {"T": 2, "B": 2, "X": 20, "H": 137, "V": 40},
    "inputs that fill no vector": {"T": 9, "B": 7, "X": 65, "H": 37, "V": 21},
    "the same, ragged": {"T": 8, "B": 5, "X": 60, "H": 37, "V": 21, "lengths": "ragged"},
    "two directions": {"T": 2, "B": 3, "X": 20, "H": 32, "V": 9, "layers": 2, "bidirectional": True},
    "one label each": {"T": 3, "B": 2, "X": 20, "H": 32, "V": 9, "labels": "last"},
}


@lru_cache(maxsize=2)
def few_steps(name: str, cell: str, dtype: str) -> tuple[Net, Results]:
    net = make_net(dtype=dtype, cell=cell, **FEW_STEPS[name])
    return net, reference(net)


@BOTH
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", FEW_STEPS)
def test_few_steps(name: str, cell: str, dtype: str, fast_engine: str) -> None:
    net, expected = few_steps(name, cell, dtype)
    for threads in (1, 2):
        assert_same_bits(expected, run(net, fast_engine, threads), cell)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_few_steps_of_far_weights(cell: str, fast_engine: str) -> None:
    """These do not fit into the L2 cache, and are read where they lie for more steps."""
    sizes = {"T": 7, "B": 2, "X": 48, "H": 576, "V": 3}
    net = make_net(cell=cell, **sizes)
    expected = run_bptt(net, "numpy")
    for threads in (1, 2):
        assert_same_bits(expected, run_bptt(net, fast_engine, threads), cell)

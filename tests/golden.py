"""Nets of every cell, and what else there is, and the digests of their results: ``python tests/golden.py --write``
renews golden.json.

A digest is sha256 over the bytes of the results in the order in which ``nets.run`` names them: little-endian
numbers, every NaN the same. Renewing them is a change of the contract and belongs into the changelog.
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from nets import Array, Net, Numbers, Results, gradients, make_net, named_states, run, with_changes

import rnncore
from rnncore import optim
from rnncore.cells import CELLS
from rnncore.losses import LOSSES

FILE = Path(__file__).with_name("golden.json")

SIZES = {"T": 7, "B": 3, "X": 5, "H": 9, "V": 6}
NETS: dict[str, dict] = {
    "vectors": SIZES,
    "vectors float64": {**SIZES, "dtype": "float64"},
    "tokens": {**SIZES, "tokens": True, "T": 40},
    "tokens float64": {**SIZES, "tokens": True, "dtype": "float64"},
    "distributions": {**SIZES, "labels": "distributions", "T": 12},
    "ragged": {**SIZES, "lengths": "ragged", "labels": "some", "B": 10},
    "ragged float64": {**SIZES, "lengths": "ragged", "labels": "distributions", "dtype": "float64"},
    "blocks of rows": {"T": 3, "B": 130, "X": 2, "H": 3, "V": 2, "lengths": "ragged"},
    "blocks of terms": {"T": 2, "B": 2, "X": 131, "H": 258, "V": 130},
    "no outputs": {**SIZES, "V": 0, "own_loss": True},
    "saturated": {**SIZES, "scale": 50.0, "own_loss": True},
    "a character model": {"T": 16, "B": 2, "X": 65, "H": 100, "V": 65, "tokens": True},
    "NaN": {**SIZES, "dtype": "float64"},
    **{
        f"{cell}, {name}": {**arguments, "cell": cell}
        for cell in CELLS
        if cell != "rnn"
        for name, arguments in {
            "vectors": {**SIZES, "own_loss": True},
            "vectors float64": {**SIZES, "own_loss": True, "dtype": "float64"},
            "tokens": {**SIZES, "tokens": True, "T": 40},
            "tokens float64": {**SIZES, "tokens": True, "dtype": "float64"},
            "ragged": {**SIZES, "lengths": "ragged", "labels": "some", "B": 10},
            "ragged float64": {**SIZES, "lengths": "ragged", "labels": "distributions", "dtype": "float64"},
            "blocks": {"T": 3, "B": 130, "X": 2, "H": 3, "V": 2, "lengths": "ragged"},
            "blocks of terms float64": {"T": 2, "B": 1, "X": 9, "H": 130, "V": 3, "dtype": "float64"},
            "saturated": {**SIZES, "scale": 50.0, "own_loss": True},
        }.items()
    },
    **{
        f"{cell}, {name}": {**SIZES, **arguments, "cell": cell}
        for cell in CELLS
        for name, arguments in {
            "two layers": {"layers": 2, "own_loss": True},
            "two directions, ragged": {"bidirectional": True, "lengths": "ragged", "labels": "some", "B": 10},
            "three layers in two directions, tokens float64": {
                **{"layers": 3, "bidirectional": True, "tokens": True, "dropout": True, "dtype": "float64"},
            },
            "resets, ragged": {"lengths": "ragged", "resets": "some", "labels": "some", "own_loss": True, "B": 10},
            "two layers, resets, tokens float64": {"layers": 2, "resets": "some", "tokens": True, "dtype": "float64"},
        }.items()
    },
}


def golden_net(name: str) -> Net:
    net = make_net(**NETS[name], seed=99)
    if name != "NaN":
        return net
    inputs = net.inputs.copy()
    inputs[3, 1, 2] = np.nan
    return with_changes(net, inputs=inputs)


def of_net(name: str, engine: str) -> Results:
    return run(golden_net(name), engine)


OPTIMIZERS: dict[str, Callable[[np.ndarray], optim.Optimizer]] = {
    "sgd": optim.SGD,
    "momentum": lambda x: optim.SGD(x, momentum=0.9),
    "nesterov": lambda x: optim.SGD(x, momentum=0.9, nesterov=True),
    "adagrad": optim.Adagrad,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
}


def of_optimizers(engine: str) -> Results:
    """Each rule's vectors after four steps, of which all are scaled, two clipped by length and two by value."""
    results = {}
    for dtype in ("float32", "float64"):
        for rule, make in OPTIMIZERS.items():
            numbers = Numbers(99)
            x = numbers.symmetric(1.0, 1000).astype(dtype)
            optimizer = make(x)
            for step in range(4):
                dx = numbers.symmetric(2.0**step, 1000).astype(dtype)
                clip_norm, clip_value = (10.0, None, 10.0, None)[step], (None, 0.7, 0.7, None)[step]
                length = optimizer.step(x, dx, scale=1 / 3, clip_norm=clip_norm, clip_value=clip_value, backend=engine)
                results[f"{dtype} {rule} length {step}"] = np.array(np.nan if length is None else length)
            results[f"{dtype} {rule} x"] = x
            memory = {name: value for name, value in optimizer.state_dict().items() if isinstance(value, np.ndarray)}
            results |= {f"{dtype} {rule} {name}": vector for name, vector in memory.items()}
    return results


def of_sampling(engine: str) -> Results:
    """What each cell says, three texts side by side after a prime, at three temperatures; and its states."""
    results = {}
    for dtype in ("float32", "float64"):
        for cell in CELLS:
            net, numbers = make_net(1, 3, 11, 9, 11, dtype, seed=99, scale=3.0, cell=cell), Numbers(99)
            for temperature in (0.0, 0.7, 1.0):
                tokens, state = rnncore.sample(
                    rnncore.Params(cell, **net.params),  # which may read tokens
                    numbers.below(11, 3, 3),
                    numbers.fractions(16, 3),
                    state=net.state,
                    temperature=temperature,
                    backend=engine,
                )
                call = f"{dtype} {cell} {temperature}"
                results |= {f"{call} tokens": tokens} | named_states(f"{call} state", cell, state)
    return results


def of_unsorted(B: int, lists: bool, engine: str) -> Results:
    """Each cell on sequences that come neither longest nor shortest first: sums keep the order of this batch."""
    T, numbers, results = max(4, 60 // B), Numbers(99), {}
    for dtype in ("float32", "float64"):
        for cell in CELLS:
            net = make_net(T, B, 2, 5, 3, dtype, seed=99, labels="some", own_loss=True, cell=cell)
            lengths = numbers.below(T + 1, B)
            lengths[0], lengths[B // 2] = 0, T
            net = as_lists(net, lengths) if lists else with_changes(net, lengths=lengths)
            found = run(net, engine).items()
            results |= {f"{dtype} {cell} {n}": np.concatenate(a) if isinstance(a, list) else a for n, a in found}
    return results


def as_lists(net: Net, lengths: Array) -> Net:
    """The net with what has steps as lists of sequences (T_b, ...)."""
    arrays = {"inputs": net.inputs, "labels": net.labels, "dh": net.dh}
    return with_changes(net, **{n: [a[:T_b, b] for b, T_b in enumerate(lengths)] for n, a in arrays.items()})


def of_losses(last: bool, engine: str) -> Results:
    """Each loss with weights, some of them 0, on ragged sequences: a label a step, or one a sequence if ``last``."""
    results, (T, B, V) = {}, (9, 20, 10)
    for dtype in ("float32", "float64"):
        for cell, loss in zip(CELLS, itertools.cycle(LOSSES)):
            net, numbers = make_net(T, B, 3, 7, V, dtype, seed=99, lengths="ragged", cell=cell, scale=4.0), Numbers(99)
            shape = (B,) if last else (T, B)
            labels = numbers.below(V, *shape) if loss == "cross_entropy" else numbers.fractions(*shape, V).astype(dtype)
            weights = (numbers.fractions(*shape) * (numbers.below(3, *shape) > 0)).astype(dtype)
            result = rnncore.bptt(
                net.params, net.inputs, labels, lengths=net.lengths, loss=loss, weights=weights, backend=engine
            )
            call = f"{dtype} {cell} {loss}"
            results |= {f"{call} loss": np.array(result.loss), f"{call} losses": result.losses}
            results |= {f"{call} {name}": array for name, array in gradients("bptt", result).items()}
    return results


CASES: dict[str, Callable[[str], Results]] = {
    **{name: partial(of_net, name) for name in NETS},
    "optimizers": of_optimizers,
    "sampling": of_sampling,
    **{
        f"unsorted {'lists' if lists else 'lengths'}, B = {B}": partial(of_unsorted, B, lists)
        for B in (5, 33, 129, 300)
        for lists in (True, False)
    },
    "losses": partial(of_losses, False),
    "losses of last states": partial(of_losses, True),
}
"""What to digest the results of, each a function of the engine."""


def digest(results: Results) -> str:
    sha = hashlib.sha256()
    for array in results.values():
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
        sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew golden.json with the NumPy column's results")
    arguments = parser.parse_args()
    digests = {name: digest(results("numpy")) for name, results in CASES.items()}
    text = json.dumps(digests, indent=2) + "\n"
    if arguments.write:
        FILE.write_text(text, "utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()

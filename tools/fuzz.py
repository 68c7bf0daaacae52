"""Throw odd arguments at every public call, on every engine: equal bits, or the same TypeError or ValueError, on all.

    python tools/fuzz.py --inputs 100000 --seed 0     # what went wrong, each with its number
    python tools/fuzz.py --seed 0 --only 4711         # one of them again, in full

An input is a call of a random small net, of which some arguments are spoiled: other shapes, strides, byte orders,
dtypes, numbers out of range, objects of other kinds. A crash ends the program; the line before has its number. NumPy,
which is slow, sees every 50th input.
"""

from __future__ import annotations

import argparse
import copy
import decimal
import fractions
import os
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ["RNNCORE_THREADS_ALWAYS"] = "1"  # two threads are two, however little there is to do

import numpy as np

import rnncore
from rnncore.cells import CELLS
from rnncore.engines import engines
from rnncore.losses import LOSSES

ODD: tuple[Any, ...] = (
    *(10**400, -(10**400), 2**63, 2**64, -1, 0, 1, 3, -0.0, 0.5, 1e39, -1e300, float("inf"), float("nan"), 5e-324),
    *(True, False, np.True_, 1 + 0j, np.complex128(1), np.float16(1), np.int8(1), np.uint64(2**63), np.longdouble(1)),
    *(fractions.Fraction(1, 3), decimal.Decimal("1e999"), None, "", ",", "rnn", "float32", b"1", "\udcff", ..., int),
    *([], (), {}, [1], (1,), [[]], [None], [[1], [1, 2]], range(3), object(), np.ma.masked, np.dtype("V4")),
    *(np.array(1.0), np.array(1), np.zeros(0), np.zeros((0, 3)), np.ones(2), np.ones((1, 1, 1, 1)), np.array(["a"])),
    *(np.array([None]), np.array([np.nan, np.inf, 3.0]), np.ma.masked_array([1.0], [True]), np.zeros(3, "f4,f4")),
    *(
        np.array(["2020"], "M8[D]"),
        np.full(3, 2**62),
        np.full((3, 2), -(2**62)),
        np.broadcast_to(np.int64(0), (2**12,)),
    ),
)
DTYPES = ("i1", "u1", "i4", "u8", "i8", ">i8", "f2", "f4", "f8", ">f4", "g", "?", "c8", "O", "U4", "M8[s]")
OPTIMIZERS = (rnncore.optim.SGD, rnncore.optim.Adagrad, rnncore.optim.RMSprop, rnncore.optim.Adam)

Call = Callable[[str], Any]


def spoiled_array(rng: random.Random, array: np.ndarray[Any, Any]) -> Any:
    """Return an array like another, but for its layout, its dtype, its shape or a number."""
    way = rng.randrange(9) if array.ndim else 1
    if way == 0:
        return array[::-1]
    if way == 1:
        return array.astype(rng.choice(DTYPES))
    if way == 2:
        return np.asfortranarray(array)
    if way == 3:
        return array[..., None] if rng.random() < 0.5 else array[:-1]
    if way == 4:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if way == 5:
        return np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    if way == 6:
        return array.tolist()
    if way == 7 and array.size:
        changed = array.copy()
        odd = rng.choice(
            (-1, -2, 2**31, -(2**63), 2**63 - 1) if array.dtype.kind == "i" else (np.nan, np.inf, -1e30, 1e-45)
        )
        with np.errstate(all="ignore"):
            changed.reshape(-1)[rng.randrange(array.size)] = np.array(odd).astype(array.dtype)
        return changed
    return np.swapaxes(array, 0, -1)


def spoiled(rng: random.Random, value: Any) -> Any:
    """Return another value in the place of one."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and rng.random() < 0.7:
        return spoiled_array(rng, value)
    if isinstance(value, (list, tuple)) and value and rng.random() < 0.7:
        items = list(value)
        n = rng.randrange(len(items))
        items[n] = spoiled(rng, items[n])
        return type(value)(items) if rng.random() < 0.9 else items
    return rng.choice(ODD)


def numbers(rng: random.Random, *shape: int) -> np.ndarray[Any, Any]:
    """Return numbers around 0."""
    return np.random.default_rng(rng.getrandbits(32)).normal(size=shape).astype(rng.choice(("f4", "f8")))


def below(rng: random.Random, high: int, *shape: int) -> np.ndarray[Any, Any]:
    """Return integers in [0, high)."""
    return np.random.default_rng(rng.getrandbits(32)).integers(0, high, shape)


def random_params(rng: random.Random) -> rnncore.Params:
    """Return a small net."""
    X, H, V = rng.randint(1, 5), rng.randint(1, 6), rng.randint(0, 5)
    both, layers, dtype = rng.random() < 0.2, rng.choice((1, 1, 1, 2)), rng.choice(("float32", "float64"))
    tokens = rng.choice((None, True, False))
    more: dict[str, Any] = {"layers": layers, "bidirectional": both, "tokens": tokens, "dtype": dtype}
    return rnncore.init_params(rng.choice(list(CELLS)), X, H, V, seed=rng.randint(0, 9), **more)


class Batch(NamedTuple):
    """The axes that count steps, and sequences; how many steps each array of a list has, or None of one array."""

    lead: tuple[int, ...]
    sequences: tuple[int, ...]
    lengths: list[int] | None

    def of(self, array: np.ndarray[Any, Any]) -> Any:
        """Return an array of all steps, or, of a list of sequences, what each has of it."""
        return array if self.lengths is None else [array[:length, b] for b, length in enumerate(self.lengths)]


def random_batch(rng: random.Random, params: rnncore.Params) -> tuple[Batch, dict[str, Any]]:
    """Return a batch, its inputs and what else says which steps there are."""
    T, B, form = rng.randint(0, 6), rng.randint(1, 4), rng.choice(("one", "grid", "lengths", "list", "offsets"))
    more: dict[str, Any] = {}
    if form == "one":
        batch = Batch((T,), (), None)
    elif form == "offsets":
        offsets = np.sort(np.append(below(rng, T * B + 1, B - 1), (0, T * B)))
        batch, more["offsets"] = Batch((T * B,), (B,), None), offsets
    else:
        lengths = [rng.randint(0, T) for _ in range(B)] if form == "list" else None
        batch = Batch((T, B), (B,), lengths)
    if form == "lengths":
        more["lengths"] = below(rng, T + 1, B)
    tokens = params.tokens if params.tokens is not None else rng.random() < 0.5
    lead = batch.lead
    more["inputs"] = batch.of(below(rng, params.inputs, *lead) if tokens else numbers(rng, *lead, params.inputs))
    if rng.random() < 0.3 and (not params.bidirectional or rng.random() < 0.1):
        more["resets"] = batch.of(below(rng, rng.choice((1, 3, 20)), *lead) == 1)
    if len(params.layers) > 1 and rng.random() < 0.4:
        width = params.hidden * (1 + params.bidirectional)
        more["dropout_masks"] = [batch.of(numbers(rng, *lead, width)) for _ in params.layers[1:]]
    return batch, more


def random_labels(rng: random.Random, params: rnncore.Params, batch: Batch) -> dict[str, Any]:
    """Return labels of a random loss, and perhaps weights."""
    loss, V = rng.choice(list(LOSSES)), params.outputs
    last = rng.random() < 0.25
    shape = batch.sequences if last else batch.lead
    classes = loss == "cross_entropy" and rng.random() < 0.8
    labels: Any = below(rng, V + 1, *shape) - 1 if classes else abs(numbers(rng, *shape, V)) % 1
    weights: Any = abs(numbers(rng, *shape)) if rng.random() < 0.3 else None
    if not last:
        labels, weights = batch.of(labels), None if weights is None else batch.of(weights)
    return {"labels": labels, "loss": loss, **({} if weights is None else {"weights": weights})}


def random_options(rng: random.Random) -> dict[str, Any]:
    """Return options of bptt, at times some that do not go together."""
    found: dict[str, Any] = {"need_dinputs": rng.random() < 0.3}
    if rng.random() < 0.2:
        found["truncate"] = rng.randint(1, 7)
    if rng.random() < 0.2:
        found["checkpoint"] = rng.choice(("auto", 1, 2, 3))
    if rng.random() < 0.2:
        found["per_sequence"] = kind = rng.choice((True, "norms", "clipped"))
        if kind == "clipped":
            found["clip_norm"] = rng.choice((0.01, 1.0, 100.0))
    return found


def random_state(rng: random.Random, params: rnncore.Params, batch: Batch) -> Any:
    """Return an initial state."""
    parts = len(params.layers) * (1 + params.bidirectional)
    shape = (*((parts,) if parts > 1 else ()), *batch.sequences, params.hidden)
    states = tuple(numbers(rng, *shape) for _ in CELLS[params.cell].states)
    return states if len(states) > 1 else states[0]


def of_net(rng: random.Random, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return bptt, forward and backward, gradient_flow, or sample, with arguments."""
    params = random_params(rng)
    batch, more = random_batch(rng, params)
    if name == "sample":
        sequences = batch.sequences
        drawn = abs(numbers(rng, rng.randint(0, 5), *sequences)) % 1
        return rnncore.sample, {"params": params, "prime": below(rng, params.inputs, *sequences), "uniforms": drawn}
    arguments = {"params": params, "threads": rng.choice((None, 1, 2, 3)), **more}
    if rng.random() < 0.4:
        arguments["state"] = random_state(rng, params, batch)
    if name == "gradient_flow":
        return flow, {**arguments, **random_labels(rng, params, batch)}
    if name == "bptt":
        return rnncore.bptt, {**arguments, **random_labels(rng, params, batch), **random_options(rng)}
    dh = batch.of(numbers(rng, *batch.lead, params.hidden * (1 + params.bidirectional)))
    return there_and_back, {**arguments, "dh": dh, "need_dinputs": rng.random() < 0.3}


def flow(**arguments: Any) -> Any:
    """Return what a gradient flow holds."""
    found = rnncore.gradient_flow(**arguments)
    steps = range(found.by_step.shape[-1])
    return found.by_step, found.by_step_c, found.by_lag, [found.contribution(k) for k in steps]


def there_and_back(*, backend: str, dh: Any, need_dinputs: Any, **arguments: Any) -> Any:
    """Return what forward and backward give."""
    out = rnncore.forward(**arguments, backend=backend)
    return out.y, out.h, rnncore.backward(
        arguments["params"], out, dh=dh, need_dinputs=need_dinputs, backend=backend
    )  # fmt: skip


def of_loss(rng: random.Random, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a loss, softmax or norm, with arguments."""
    T, B, V = rng.randint(0, 5), rng.randint(1, 4), rng.randint(1, 5)
    y = numbers(rng, T, B, V)
    if name in ("softmax", "norm"):
        return (rnncore.softmax, {"y": y}) if name == "softmax" else (rnncore.optim.norm, {"x": y})
    labels = below(rng, V + 1, T, B) - 1 if name == "cross_entropy" else abs(numbers(rng, T, B, V)) % 1
    return getattr(rnncore, name), {"y": y, "labels": labels, "lengths": rng.choice((None, below(rng, T + 1, B)))}


def of_optimizer(rng: random.Random, name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a step of an optimizer, with arguments."""
    x = numbers(rng, rng.randint(0, 40))
    clip = {"clip_norm": rng.choice((None, 0.5))}
    arguments = {"x": x, "dx": numbers(rng, len(x)).astype(x.dtype), "scale": 0.5, "learning_rate": 0.1, **clip}
    return one_step, {"kind": rng.choice(OPTIMIZERS), **arguments}


def one_step(*, backend: str, kind: Any, x: Any, dx: Any, learning_rate: Any, **arguments: Any) -> Any:
    """Return the numbers after a step, and the optimizer's memory."""
    x = copy.deepcopy(x)
    optimizer = kind(x, learning_rate=learning_rate)
    length = optimizer.step(x, dx, **arguments, backend=backend)
    return x, length, optimizer.state_dict()


CALLS: tuple[tuple[str, Callable[[random.Random, str], tuple[Callable[..., Any], dict[str, Any]]]], ...] = (
    *((name, of_net) for name in ("bptt",) * 6 + ("backward", "backward", "gradient_flow", "sample")),
    *((name, of_loss) for name in ("softmax", "norm", *LOSSES)),
    ("step", of_optimizer),
)


def random_call(seed: int, number: int) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the call of a number: the same each time."""
    rng = random.Random(f"{seed} {number}")
    name, make = rng.choice(CALLS)
    function, arguments = make(rng, name)
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        argument = rng.choice([argument for argument in arguments if argument != "kind"])
        arguments[argument] = spoiled(rng, arguments[argument])
    return function, arguments


def as_bytes(result: Any) -> Any:
    """Return all that a result holds, such that equal bits are equal; any NaN is like another."""
    if isinstance(result, np.ndarray):
        if result.dtype.kind == "f":
            result = np.where(np.isnan(result), np.array(np.nan, result.dtype), result)
        return result.dtype.str, result.shape, result.tobytes()
    if isinstance(result, (list, tuple)):
        return tuple(map(as_bytes, result))
    if isinstance(result, dict):
        return tuple((name, as_bytes(value)) for name, value in result.items())
    if isinstance(result, rnncore.Params):
        return as_bytes(result.flat)
    if hasattr(type(result), "__slots__") and type(result).__module__.startswith("rnncore"):
        return tuple(as_bytes(getattr(result, name)) for name in type(result).__slots__)
    return repr(result)


def outcome(function: Callable[..., Any], arguments: dict[str, Any], engine: str) -> Any:
    """Return what a call gives, or its error."""
    try:
        return as_bytes(function(**arguments, backend=engine))
    except (ValueError, TypeError) as error:
        return type(error).__name__, str(error)
    except MemoryError:
        return ("MemoryError",)


def fault_of(seed: int, number: int, names: list[str]) -> str:
    """Return what is wrong with an input; "" if nothing is."""
    function, arguments = random_call(seed, number)
    found = {}
    for name in names:
        try:
            found[name] = outcome(function, arguments, name)
        except Exception:
            return f"on {name}: {traceback.format_exc()}"
    first = found[names[0]]
    differing = [name for name in names if found[name] != first]
    return (
        f"{names[0]} and {', '.join(differing)} differ: {first!r:.300} {found[differing[0]]!r:.300}"
        if differing
        else ""
    )


def main() -> int:
    """Try inputs; return 1 if any went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one input, shown in full")
    parser.add_argument("--engines", default=",".join(engines()), help="with commas between (default: %(default)s)")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    names = sorted(chosen.engines.split(","), key=lambda name: name == "numpy")
    fast = [name for name in names if name != "numpy"] or names
    if chosen.only is not None:
        function, arguments = random_call(chosen.seed, chosen.only)
        print(function.__name__, arguments)
        print(fault_of(chosen.seed, chosen.only, names) or "nothing is wrong")
        return 0
    counts: Counter[str] = Counter()
    start = time.monotonic()
    for number in range(chosen.inputs):
        if sys.stderr.isatty():  # before a crash, the number is the last word
            print(f"\r{number}", end="", file=sys.stderr, flush=True)
        elif number % 1000 == 0:
            print(number, file=sys.stderr, flush=True)
        fault = fault_of(chosen.seed, number, names if number % 50 == 0 else fast)
        counts["wrong" if fault else "right"] += 1
        if fault:
            print(f"\ninput {number}: {fault}", flush=True)
    seconds = time.monotonic() - start
    print(f"\n{counts['right']} inputs right, {counts['wrong']} wrong, on {', '.join(names)}, in {seconds:.0f} s")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())

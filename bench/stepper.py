"""One step at a time: rnncore.Stepper beside forward of one step and PyTorch's modules: python bench/stepper.py.

Usage: python bench/stepper.py [--quick] [--rounds N] [--cells rnn,lstm,gru] [--out DIR]
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program

if TYPE_CHECKING:
    import numpy.typing as npt

    import rnncore

STEPPER, FORWARD, MODULE, CELL = "rnncore.Stepper", "rnncore.forward", "torch module", "torch cell"
NUMPY = "numpy"
OURS = (STEPPER, FORWARD)
X, V, STEPS = 16, 4, 5
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


@dataclass(frozen=True)
class Acting:
    """A net that acts, and what it sees: inputs (T, B, X)."""

    params: "rnncore.Params"
    inputs: "npt.NDArray[Any]"


def acting(cell: str, H: int, B: int, others: tuple[int, int] = (X, V), dtype: str = "float32") -> Acting:
    """A net with small random weights. others: X and V."""
    import rnncore

    inputs = np.random.default_rng(0).standard_normal((STEPS, B, others[0])).astype(dtype)
    return Acting(rnncore.init_params(cell, others[0], H, others[1], seed=0, dtype=dtype), inputs)


Step = Callable[[Any], Any]
"""From the inputs (B, X) of a step to its outputs (B, V); the state goes on inside."""


def by_stepper(net: Acting) -> Step:
    """The one of this page."""
    import rnncore

    return rnncore.Stepper(net.params, net.inputs.shape[1], backend="cpp").step


def by_forward(net: Acting) -> Step:
    """A call of one step, whose state goes into the next."""
    import rnncore

    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        out = rnncore.forward(net.params, x[None], state=state, backend="cpp", threads=1)
        state = out.state
        return out.y[0]

    return step


def by_module(net: Acting) -> Step:
    """PyTorch's nn.RNN, nn.LSTM or nn.GRU over one step, and nn.Linear."""
    import torch

    recurrent, linear = net.params.to_torch()
    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        with torch.inference_mode():
            h, state = recurrent(torch.from_numpy(x)[None], state)
            return linear(h[0]).numpy()

    return step


def by_cell(net: Acting) -> Step:
    """PyTorch's nn.RNNCell, nn.LSTMCell or nn.GRUCell, and nn.Linear."""
    import torch

    recurrent, linear = net.params.to_torch()
    kind = {"rnn": torch.nn.RNNCell, "lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell}[net.params.cell]
    cell = kind(net.params.inputs, net.params.hidden).to(recurrent.weight_hh_l0.dtype)
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in recurrent.state_dict().items()})
    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        with torch.inference_mode():
            state = cell(torch.from_numpy(x), state)
            return linear(state[0] if isinstance(state, tuple) else state).numpy()

    return step


def by_numpy(net: Acting) -> Step:
    """A step of textbook.py's loop: products of BLAS, and a batch of one as a vector."""
    import textbook

    from rnncore.cells import CELLS

    params = net.params
    loop, bias = textbook.CELLS[params.cell][0], params.b_x if "b_x" in params.names() else params.b_h
    zeros = np.zeros((net.inputs.shape[1], params.hidden), net.inputs.dtype)
    states = [zeros for _ in CELLS[params.cell].states]

    def step(x: Any) -> Any:
        nonlocal states
        h, kept = loop((textbook.times(x, params.W_xh.T) + bias)[None], params, states)
        states = [h[1], kept[1][1]] if len(states) > 1 else [h[1]]
        return textbook.times(h[1], params.W_hy.T) + params.b_y

    return step


CONTENDERS = {STEPPER: by_stepper, FORWARD: by_forward, MODULE: by_module, CELL: by_cell, NUMPY: by_numpy}


def present() -> list[str]:
    """Whose libraries are here."""
    return [name for name in CONTENDERS if name not in (MODULE, CELL) or find_spec("torch")]


def require_same(net: Acting, name: str) -> None:
    """Raise unless a contender gives the outputs of ``forward`` over all steps: ours to the bit."""
    import rnncore

    expected = rnncore.forward(net.params, net.inputs).y
    step = CONTENDERS[name](net)
    found = np.stack([step(x) for x in net.inputs])
    wrong = float(np.abs(found - expected).max())
    if wrong > (0 if name in OURS else TOLERANCE[str(net.inputs.dtype)]):
        raise RuntimeError(f"the outputs of {name} differ by {wrong:.2g} for {net.params!r}")


def measure(net: Acting, rounds: int, seconds: float, rate: Callable[[int], float]) -> dict[str, Any]:
    """One row: medians and fastest calls of contenders that take turns, in seconds."""
    from timing import Contender, repeat, take_turns

    names = present()
    for name in names:
        require_same(net, name)
    x, steps = net.inputs[0], [CONTENDERS[name](net) for name in names]
    chosen = [
        Contender(name, 1, repeat(lambda step=step: step(x)), dict)  # type: ignore[misc]  # the default is bound early
        for name, step in zip(names, steps, strict=True)
    ]
    size, found = net.params.flat.nbytes, take_turns(chosen, rounds, seconds, math.inf)
    facts = {"cell": net.params.cell, "H": net.params.hidden, "B": len(x)}
    return facts | {"bytes": size, "read": rate(size), "seconds": found}


def markdown(results: dict[str, Any]) -> str:
    """The page: one table."""
    import report

    head = ["cell", "H", "B", "a step", "best", "weights/s", "of reading"]
    head += ["forward", "PyTorch's module", "its cell", "NumPy"]
    body = []
    for row in results["rows"]:
        middle, best = row["seconds"][STEPPER]
        others = [row["seconds"].get(name, (None, None))[0] for name in (FORWARD, MODULE, CELL, NUMPY)]
        rate = row["bytes"] / best
        body.append([
            row["cell"], str(row["H"]), str(row["B"]), report.seconds(middle), report.seconds(best),
            f"{rate / 1e9:.1f} GB/s", f"{rate / row['read']:.2f}" if row["read"] else "",
            *(report.ratio(other and other / middle) for other in others),
        ])  # fmt: skip
    facts = (
        program.fact(results, "float32", f"X = {X}", f"V = {V}", "one thread") + "\n"
        "- forward, PyTorch's module, its cell, NumPy: how many times as long they take, by medians\n"
        "- weights/s: the size of all parameters over the fastest step; of reading: over the rate at which a block of "
        "that size is read again and again"
    )
    return f"# One step at a time\n\n{facts}\n\n{report.table(head, body, left=1)}\n"


def reader() -> Callable[[int], float]:
    """How many bytes a second are read of a block of some size; 0 where our program cannot be compiled."""
    import native

    try:
        limits = native.limits()[0]
    except native.BuildError:
        return lambda size: 0.0
    return lambda size: limits.read(size, 0.05)


def run(cells: list[str], sizes: list[int], rounds: int, seconds: float) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("stepper", 1, "rows")
    rate, nets = reader(), [(cell, H, B) for cell in cells for H in sizes for B in (1, 16)]
    with program.interruptible():
        for cell, H, B in program.progress(nets):
            results["rows"].append(measure(acting(cell, H, B), rounds, seconds, rate))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes stepper-PROCESSOR.json and .md."""
    args = program.parser(__doc__, "one small size, three rounds", 15, "with commas between").parse_args(argv)
    environment.prepare()
    sizes, rounds = ([32], 3) if args.quick else ([32, 128, 256, 512, 1024], args.rounds)
    results = run(args.cells.split(","), sizes, rounds, 0.02 if args.quick else 0.05)
    return program.finish(results, markdown(results), args.out, "stepper")


if __name__ == "__main__":
    sys.exit(main())

"""One step at a time: rnncore.Stepper beside forward of one step and PyTorch's modules: python bench/stepper.py.

Usage: python bench/stepper.py [--quick] [--rounds N] [--cells rnn,lstm,gru] [--out DIR]
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    import rnncore

HERE = Path(__file__).resolve().parent
STEPPER, FORWARD, MODULE, CELL = "rnncore.Stepper", "rnncore.forward", "torch module", "torch cell"
X, V, STEPS = 16, 4, 5
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Acting:
    """A net that acts, and what it sees: inputs (T, B, X)."""

    params: "rnncore.Params"
    inputs: "npt.NDArray[np.float32]"


def acting(cell: str, H: int, B: int) -> Acting:
    """A net with small random weights."""
    import rnncore

    inputs = np.random.default_rng(0).standard_normal((STEPS, B, X)).astype("float32")
    return Acting(rnncore.init_params(cell, X, H, V, seed=0), inputs)


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
    cell = kind(X, net.params.hidden)
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in recurrent.state_dict().items()})
    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        with torch.inference_mode():
            state = cell(torch.from_numpy(x), state)
            return linear(state[0] if isinstance(state, tuple) else state).numpy()

    return step


CONTENDERS = {STEPPER: by_stepper, FORWARD: by_forward, MODULE: by_module, CELL: by_cell}


def require_same(net: Acting, name: str) -> None:
    """Raise unless a contender gives the outputs of ``forward`` over all steps: ours to the bit."""
    import rnncore

    expected = rnncore.forward(net.params, net.inputs).y
    step = CONTENDERS[name](net)
    found = np.stack([step(x) for x in net.inputs])
    wrong = float(np.abs(found - expected).max())
    if wrong > (TOLERANCE if name in (MODULE, CELL) else 0):
        raise RuntimeError(f"the outputs of {name} differ by {wrong:.2g} for {net.params!r}")


def measure(cell: str, H: int, B: int, rounds: int, seconds: float, rate: Callable[[int], float]) -> dict[str, Any]:
    """One row: medians and fastest calls of contenders that take turns, in seconds."""
    from timing import Contender, Times, interleave, repeat

    net = acting(cell, H, B)
    names = [name for name in CONTENDERS if name not in (MODULE, CELL) or find_spec("torch")]
    for name in names:
        require_same(net, name)
    steps = [CONTENDERS[name](net) for name in names]
    x = net.inputs[0]
    chosen = [
        Contender(name, 1, repeat(lambda step=step: step(x)), dict)  # type: ignore[misc]  # the default is bound early
        for name, step in zip(names, steps, strict=True)
    ]
    times = [Times() for _ in chosen]
    for _ in interleave(chosen, rounds, seconds, times):
        pass
    size = 4 * net.params.flat.size
    found = {c.name: [t.median, t.best] for c, t in zip(chosen, times, strict=True)}
    return {"cell": cell, "H": H, "B": B, "bytes": size, "read": rate(size), "seconds": found}


def markdown(results: dict[str, Any]) -> str:
    """The page: one table."""
    import report

    head = ["cell", "H", "B", "a step", "best", "weights/s", "of reading", "forward", "PyTorch's module", "its cell"]
    body = []
    for row in results["rows"]:
        middle, best = row["seconds"][STEPPER]
        others = [row["seconds"].get(name, (None, None))[0] for name in (FORWARD, MODULE, CELL)]
        rate = row["bytes"] / best
        body.append([
            row["cell"], str(row["H"]), str(row["B"]), report.seconds(middle), report.seconds(best),
            f"{rate / 1e9:.1f} GB/s", f"{rate / row['read']:.2f}" if row["read"] else "",
            *(report.ratio(other and other / middle) for other in others),
        ])  # fmt: skip
    machine = results["machine"]
    facts = (
        f"- {results['date']}, commit {results['commit']}, {machine['cpu']}, load {machine['load_average'][0]:.1f}, "
        f"float32, X = {X}, V = {V}, one thread\n"
        "- forward, PyTorch's module, its cell: how many times as long they take, by medians\n"
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
    from tqdm import tqdm

    results: dict[str, Any] = {"format": "rnncore stepper 1", **environment.describe(), "rows": []}
    rate, nets = reader(), [(cell, H, B) for cell in cells for H in sizes for B in (1, 16)]
    try:
        for cell, H, B in tqdm(nets, mininterval=0.1 if sys.stderr.isatty() else 10, dynamic_ncols=True):
            results["rows"].append(measure(cell, H, B, rounds, seconds, rate))
    except KeyboardInterrupt:
        print("interrupted: the files hold what was measured until then")
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes stepper.json and stepper.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one small size, three rounds")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", default="rnn,lstm,gru", help="with commas between")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args(argv)
    environment.prepare()
    import report

    sizes, rounds = ([32], 3) if args.quick else ([32, 128, 256, 512, 1024], args.rounds)
    results = run(args.cells.split(","), sizes, rounds, 0.02 if args.quick else 0.05)
    page = markdown(results)
    report.write_json(args.out / "stepper.json", results)
    report.write_whole(args.out / "stepper.md", page)
    print(page + f"\nwritten: {args.out / 'stepper'}.json, .md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

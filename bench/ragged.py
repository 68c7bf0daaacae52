"""What a step of a ragged batch costs, beside a full batch and PyTorch: python bench/ragged.py [--quick] [--out DIR].

The lengths are uniform in T/10 to T, as in a corpus. rnncore is given a list of sequences, PyTorch packs the same list.
"""

import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program
from shapes import Shape, cells

if TYPE_CHECKING:
    import numpy.typing as npt
    from problems import Problem
    from timing import Contender

BATCHES = (16, 32, 128)
STEPS = 640
LONGEST = 3.0  # seconds of turns at one row, after which a contender sits out
FULL, RAGGED, TORCH, PACKED = "rnncore", "rnncore, ragged", "torch", "torch, packed"


@dataclass(frozen=True)
class Ragged:
    """A problem (T, B) of which each sequence has its own length: inputs (T_b, X) and labels (T_b,) of each."""

    task: "Problem"
    lengths: "npt.NDArray[np.int64]"
    inputs: "list[npt.NDArray[Any]]"
    labels: "list[npt.NDArray[np.int64]]"


def ragged(shape: Shape) -> Ragged:
    """Sequences of a full batch, cut to their lengths, in no order."""
    from problems import problem

    task = problem(shape, "float32")
    lengths = np.random.default_rng(shape.B).integers(shape.T // 10, shape.T + 1, shape.B)
    cut = [(task.inputs[:T_b, b].copy(), task.labels[:T_b, b].copy()) for b, T_b in enumerate(lengths)]
    return Ragged(task, lengths, [x for x, _ in cut], [label for _, label in cut])


def contenders(net: Ragged, with_torch: bool) -> "list[Contender]":
    """The full batch and the ragged one, on one thread each."""
    import engines
    import peers

    own = [replace(engines.contender(net.task, "cpp", 1), name=FULL), by_rnncore(net)]
    return own + ([peers.by_torch(net.task, 1), by_torch(net)] if with_torch else [])


def by_rnncore(net: Ragged) -> "Contender":
    """The list as it is."""
    import engines
    from timing import Contender, repeat

    import rnncore

    def call() -> rnncore.BpttResult:
        return rnncore.bptt(net.task.params, net.inputs, net.labels, state=net.task.state, backend="cpp", threads=1)

    return Contender(RAGGED, 1, repeat(call), lambda: engines.named(call()))


def by_torch(net: Ragged) -> "Contender":
    """The list as a PackedSequence; outputs and losses of the steps that exist, and no others."""
    import peers
    import torch
    from torch.nn.utils.rnn import pack_sequence

    recurrent, linear, states = peers.torch_net(net.task)
    inputs, labels = ([torch.from_numpy(a) for a in arrays] for arrays in (net.inputs, net.labels))
    leaves = [*recurrent.parameters(), *linear.parameters(), *states]
    found: dict[str, Any] = {}

    def call() -> None:
        h, _ = recurrent(pack_sequence(inputs, enforce_sorted=False), peers.torch_state(states))
        label = pack_sequence(labels, enforce_sorted=False).data
        loss = torch.nn.functional.cross_entropy(linear(h.data), label, reduction="sum")
        found["last"] = (loss, torch.autograd.grad(loss, leaves))

    return peers.torch_contender(PACKED, call, lambda: found["last"])


def measure(shape: Shape, with_torch: bool, rounds: int) -> dict[str, Any]:
    """One row: medians and best of seconds per existing step, after PyTorch was shown to find the same gradient."""
    from peers import require_same
    from timing import take_turns

    net = ragged(shape)
    chosen = contenders(net, with_torch)
    for contender in chosen:
        contender.run(1)
    if with_torch:
        require_same(chosen[1], chosen[3], f"{shape.cell}, B = {shape.B}")
    seconds = take_turns(chosen, rounds, 0.1, LONGEST)
    existing = int(net.lengths.sum())
    steps = {FULL: shape.T * shape.B, RAGGED: existing, TORCH: shape.T * shape.B, PACKED: existing}
    per_step = {name: [time / steps[name] for time in times] for name, times in seconds.items()}
    return {"cell": shape.cell, "sizes": shape.sizes, "B": shape.B, "steps": existing, "per_step": per_step}


def markdown(results: dict[str, Any]) -> str:
    """The page: a table."""
    import report

    head = ["cell", "X,H,V,B,T", "steps", "full", "ragged", "ragged / full", "by fastest calls"]
    head += ["PyTorch full", "packed", "packed / full", "by fastest calls", "times PyTorch"]
    body = []
    for row in results["rows"]:
        cells_of: list[str] = []
        for full, part in ((FULL, RAGGED), (TORCH, PACKED)):
            if full not in row["per_step"]:
                cells_of += [""] * 4
                continue
            (middle, best), (own_middle, own_best) = row["per_step"][full], row["per_step"][part]
            cells_of += [report.seconds(middle), report.seconds(own_middle)]
            cells_of += [f"{own_middle / middle:.2f}", f"{own_best / best:.2f}"]
        packed = row["per_step"].get(PACKED)
        cells_of.append(report.ratio(packed and packed[0] / row["per_step"][RAGGED][0]))
        body.append([row["cell"], row["sizes"], f"{row['steps']:,}", *cells_of])
    facts = (
        program.fact(results, "float32", "one thread")
        + "\n- lengths uniform in T/10 to T, in no order; times are of one step that exists"
    )
    return f"# Ragged batches\n\n{facts}\n\n{report.table(head, body, left=2)}\n"


def run(shapes: list[Shape], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    with_torch = find_spec("torch") is not None
    results = program.begin("ragged", 1, "rows")
    with program.interruptible():
        for shape in program.progress(shapes):
            results["rows"].append(measure(shape, with_torch, rounds))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes ragged-PROCESSOR.json and .md."""
    about = "comma-separated; PyTorch has no gru_reset_before"
    args = program.parser(__doc__, "a tenth of the steps, three rounds", 7, about).parse_args(argv)
    environment.prepare()
    T, rounds = (STEPS // 10, 3) if args.quick else (STEPS, args.rounds)
    shapes = [Shape("ragged", 65, 128, 65, B, T, cell=cell) for cell in cells(args.cells) for B in BATCHES]
    results = run(shapes, rounds)
    return program.finish(results, markdown(results), args.out, "ragged")


if __name__ == "__main__":
    sys.exit(main())

"""What exact windows cost, ``truncate=k``: python bench/truncate.py [--quick] [--steps T] [--out DIR].

Beside the same windows in PyTorch, which detaches the state before each of them, and in NumPy as the double loop of
WildML's tutorial; beside the plain gradient; and for growing k. All are shown to find the same gradient first.
"""

import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program
from shapes import Shape, cells

if TYPE_CHECKING:
    from problems import Problem
    from timing import Contender

WINDOW = 20
GROWTH = (1, 2, 5, 10, 20, 50, 100)
LONGEST = 30.0  # seconds of turns at one row, after which a contender sits out
PLAIN, WINDOWS, TORCH, LOOP = "rnncore, plain", "rnncore, truncate", "torch, detach", "numpy, double loop"


def by_rnncore(task: "Problem", k: int | None) -> "Contender":
    """One call."""
    import engines
    from timing import Contender, repeat

    import rnncore

    def call() -> rnncore.BpttResult:
        options: dict[str, Any] = {"state": task.state, "truncate": k, "backend": "cpp", "threads": 1}
        return rnncore.bptt(task.params, task.inputs, task.labels, **options)

    return Contender(WINDOWS if k else PLAIN, 1, repeat(call), lambda: engines.named(call()))


def by_torch(task: "Problem", k: int) -> "Contender":
    """A window after the other: from the state before it, detached, over k steps to the loss of the last."""
    import peers
    import torch

    recurrent, linear, first = peers.torch_net(task)
    inputs, labels = torch.from_numpy(task.inputs), torch.from_numpy(task.labels)
    leaves = [*recurrent.parameters(), *linear.parameters(), *first]
    found: dict[str, Any] = {}

    def call() -> None:
        states, total = [peers.torch_state(first)], 0.0
        with torch.no_grad():
            for t in range(len(inputs)):
                states.append(recurrent(inputs[t : t + 1], states[t])[1])
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        for t in range(len(inputs)):
            begin = max(0, t - k + 1)
            h, _ = recurrent(inputs[begin : t + 1], states[begin])
            loss = torch.nn.functional.cross_entropy(linear(h[-1]), labels[t], reduction="sum")
            torch.autograd.backward(loss)
            total += float(loss.detach())
        found["last"] = (torch.tensor(total), [leaf.grad for leaf in leaves])

    return peers.torch_contender(TORCH, call, lambda: found["last"])


def by_double_loop(task: "Problem", k: int) -> "Contender":
    """WildML's ``bptt`` with ``bptt_truncate = k - 1``, for a batch of vectors and with biases; of the cell "rnn"."""
    import textbook
    from timing import Contender, repeat

    params, (x, labels) = task.params, (task.inputs, task.labels)
    found: dict[str, Any] = {}

    def call() -> None:
        h = [task.states[0]]
        for x_t in x:
            h.append(np.tanh(x_t @ params.W_xh.T + params.b_h + h[-1] @ params.W_hh.T))
        total = {name: np.zeros_like(getattr(params, name)) for name in params}
        loss, dstate = 0.0, np.zeros_like(h[0])
        for t in reversed(range(len(x))):
            own, dy = textbook.cross_entropy(h[t + 1] @ params.W_hy.T + params.b_y, labels[t])
            loss += own
            total["W_hy"] += dy.T @ h[t + 1]
            total["b_y"] += dy.sum(axis=0)
            dh = dy @ params.W_hy
            for step in range(t, max(-1, t - k), -1):
                dz = dh * (1 - h[step + 1] ** 2)
                total["W_hh"] += dz.T @ h[step]
                total["W_xh"] += dz.T @ x[step]
                total["b_h"] += dz.sum(axis=0)
                dh = dz @ params.W_hh
            dstate += dh if t < k else 0
        found["last"] = {"loss": np.array(loss), "dstate": dstate[None], **total}

    return Contender(LOOP, 1, repeat(call), lambda: found["last"])


def measure(shape: Shape, k: int, with_torch: bool, rounds: int) -> dict[str, Any]:
    """One row: medians and best of seconds a call, after all were shown to find the same gradient."""
    from peers import require_same
    from problems import problem
    from timing import take_turns

    task = problem(shape, "float32")
    chosen = [by_rnncore(task, None), by_rnncore(task, k)]
    chosen += [by_torch(task, k)] if with_torch else []
    chosen += [by_double_loop(task, k)] if shape.cell == "rnn" else []
    chosen[0].run(1)
    for contender in chosen[2:]:
        require_same(chosen[1], contender, f"{shape.cell}, k = {k}")
    seconds = take_turns(chosen, rounds, 0.1, LONGEST)
    return {"cell": shape.cell, "sizes": shape.sizes, "k": k, "seconds": seconds}


def grow(shape: Shape, windows: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Medians of seconds for each k."""
    from problems import problem
    from timing import take_turns

    task = problem(shape, "float32")
    chosen = [replace(by_rnncore(task, k), name=str(k)) for k in windows]
    medians = {name: middle for name, (middle, _) in take_turns(chosen, rounds, 0.05, LONGEST).items()}
    return {"cell": shape.cell, "sizes": shape.sizes, "seconds": medians}


def markdown(results: dict[str, Any]) -> str:
    """The page: two tables."""
    import report

    body = []
    for row in results["rows"]:
        middle = {name: median for name, (median, _) in row["seconds"].items()}
        others = [report.ratio(middle.get(name) and middle[name] / middle[WINDOWS]) for name in (TORCH, LOOP)]
        own = [
            report.seconds(middle[PLAIN]),
            report.seconds(middle[WINDOWS]),
            report.ratio(middle[WINDOWS] / middle[PLAIN]),
        ]
        body.append([row["cell"], row["sizes"], str(row["k"]), *own, *others])
    head = ["cell", "X,H,V,B,T", "k", "plain", "truncate", "times plain", "PyTorch, detach", "NumPy, double loop"]
    grown = [
        [row["cell"], row["sizes"], k, report.seconds(value), report.seconds(value / int(k))]
        for row in results["growth"]
        for k, value in row["seconds"].items()
    ]
    facts = (
        program.fact(results, "float32", "one thread")
        + "\n- the last two columns say how many times as long as rnncore's windows others take"
    )
    tables = (
        report.table(head, body, left=2),
        report.table(["cell", "X,H,V,B,T", "k", "time", "time / k"], grown, left=2),
    )
    return f"# Exact windows\n\n{facts}\n\n{tables[0]}\n\n## With k\n\n{tables[1]}\n"


def run(shapes: list[Shape], growth: Shape, windows: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    with_torch = find_spec("torch") is not None
    results = program.begin("truncate", 1, "rows", "growth")
    with program.interruptible():
        for shape in program.progress(shapes):
            results["rows"].append(measure(shape, min(WINDOW, shape.T // 2), with_torch, rounds))
            results["growth"].append(grow(replace(growth, cell=shape.cell), windows, rounds))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes truncate-PROCESSOR.json and .md."""
    parser = program.parser(__doc__, "few steps, small sizes", 3, "comma-separated; PyTorch has no gru_reset_before")
    parser.add_argument("--steps", type=int, default=1000, metavar="T", help="of the sizes of S4 (default: 1000)")
    args = parser.parse_args(argv)
    environment.prepare()
    windows: tuple[int, ...] = (1, 2, 4) if args.quick else GROWTH
    large = Shape("windows", 8, 16, 8, 4, 12) if args.quick else Shape("windows", 128, 256, 128, 32, args.steps)
    growth = replace(large, T=min(large.T, 200))
    results = run([replace(large, cell=cell) for cell in cells(args.cells)], growth, windows, args.rounds)
    return program.finish(results, markdown(results), args.out, "truncate")


if __name__ == "__main__":
    sys.exit(main())

"""What exact windows cost, ``truncate=k``: python bench/truncate.py [--quick] [--steps T] [--out DIR].

Beside the same windows in PyTorch, which detaches the state before each of them, and in NumPy as the double loop of
WildML's tutorial; beside the plain gradient; and for growing k. All are shown to find the same gradient first.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
from shapes import Shape, cells

if TYPE_CHECKING:
    from problems import Problem
    from timing import Contender

HERE = Path(__file__).resolve().parent
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
    from timing import Contender, repeat

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
            loss.backward()
            total += float(loss.detach())
        found["last"] = (torch.tensor(total), [leaf.grad for leaf in leaves])

    return Contender(
        TORCH, 1, repeat(call), lambda: peers.torch_results(*found["last"]), lambda: torch.set_num_threads(1)
    )


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
    from peers import TOLERANCE, error
    from problems import problem
    from timing import Times, interleave

    task = problem(shape, "float32")
    chosen = [by_rnncore(task, None), by_rnncore(task, k)]
    chosen += [by_torch(task, k)] if with_torch else []
    chosen += [by_double_loop(task, k)] if shape.cell == "rnn" else []
    for contender in chosen:
        contender.before()
        contender.run(1)
    for contender in chosen[2:]:
        wrong = error(chosen[1].results(), contender.results())
        if wrong > TOLERANCE["float32"]:
            raise RuntimeError(f"{shape.cell}, k = {k}: the gradient of {contender.name} differs by {wrong:.2g}")
    times = [Times() for _ in chosen]
    for _ in interleave(chosen, rounds, 0.1, times, LONGEST):
        pass
    seconds = {c.name: [t.median, t.best] for c, t in zip(chosen, times, strict=True)}
    return {"cell": shape.cell, "sizes": shape.sizes, "k": k, "seconds": seconds}


def grow(shape: Shape, windows: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Medians of seconds for each k."""
    from problems import problem
    from timing import Times, interleave

    task = problem(shape, "float32")
    chosen = [replace(by_rnncore(task, k), name=str(k)) for k in windows]
    times = [Times() for _ in chosen]
    for _ in interleave(chosen, rounds, 0.05, times, LONGEST):
        pass
    medians = {c.name: t.median for c, t in zip(chosen, times, strict=True)}
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
    machine = results["machine"]
    facts = (
        f"- {results['date']}, commit {results['commit']}, {machine['cpu']}, load {machine['load_average'][0]:.1f}, "
        "float32, one thread\n- the last two columns say how many times as long as rnncore's windows others take"
    )
    tables = (
        report.table(head, body, left=2),
        report.table(["cell", "X,H,V,B,T", "k", "time", "time / k"], grown, left=2),
    )
    return f"# Exact windows\n\n{facts}\n\n{tables[0]}\n\n## With k\n\n{tables[1]}\n"


def run(shapes: list[Shape], growth: Shape, windows: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    import importlib.util

    from tqdm import tqdm

    with_torch = importlib.util.find_spec("torch") is not None
    results: dict[str, Any] = {"format": "rnncore truncate 1", **environment.describe(), "rows": [], "growth": []}
    try:
        for shape in tqdm(shapes, mininterval=0.1 if sys.stderr.isatty() else 10, dynamic_ncols=True):
            results["rows"].append(measure(shape, min(WINDOW, shape.T // 2), with_torch, rounds))
            results["growth"].append(grow(replace(growth, cell=shape.cell), windows, rounds))
    except KeyboardInterrupt:
        print("interrupted: the files hold what was measured until then")
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes truncate.json and truncate.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", default="rnn,lstm,gru", help="comma-separated; PyTorch has no gru_reset_before")
    parser.add_argument("--quick", action="store_true", help="few steps, small sizes, three rounds")
    parser.add_argument("--steps", type=int, default=1000, metavar="T", help="of the sizes of S4 (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args(argv)
    environment.prepare()
    import report

    large = Shape("windows", 128, 256, 128, 32, args.steps)
    growth, windows = replace(large, T=min(args.steps, 200)), GROWTH
    if args.quick:
        large, windows = Shape("windows", 8, 16, 8, 4, 12), (1, 2, 4)
        growth = large
    shapes = [replace(large, cell=cell) for cell in cells(args.cells)]
    results = run(shapes, growth, windows, args.rounds)
    page = markdown(results)
    report.write_json(args.out / "truncate.json", results)
    report.write_whole(args.out / "truncate.md", page)
    print(page + f"\nwritten: {args.out / 'truncate'}.json, .md")
    return 0


if __name__ == "__main__":
    sys.exit(main())

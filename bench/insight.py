"""What it costs to look into gradients, by sequence and by step: python bench/insight.py [--quick] [--out DIR].

The gradient of each sequence by itself, ``per_sequence=``, beside the plain gradient, PyTorch's torch.func and loops
over the sequences; and ``gradient_flow`` beside the plain gradient. All are shown to find the same gradients first.
"""

import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program
from shapes import Shape, cells, named

if TYPE_CHECKING:
    from problems import Problem
    from timing import Contender

FLOW = Shape("flow", 65, 100, 65, 1, 200)
TURNS = 12  # of our own calls in each round; their times differ little, so that ratios need many turns
LONGEST = 10.0  # seconds of turns at one row, after which a contender sits out
PLAIN, NORMS, CLIPPED, ROWS, LOOP = "plain", "norms", "clipped", "rows", "rnncore, loop"
TORCH_FUNC, TORCH_LOOP = "torch.func", "torch, loop"
MATRICES = ("W_xh", "W_hh", "W_hy")


def by_rnncore(task: "Problem", name: str, clip_norm: float | None = None) -> "Contender":
    """One call of bptt."""
    from timing import Contender, repeat

    import rnncore

    kind: bool | str = {PLAIN: False, ROWS: True}.get(name, name)
    given: dict[str, Any] = {"state": task.state, "backend": "cpp", "threads": 1, "clip_norm": clip_norm}

    def call() -> rnncore.BpttResult:
        return rnncore.bptt(task.params, task.inputs, task.labels, per_sequence=kind, **given)

    def results() -> dict[str, Any]:
        each = call().per_sequence
        if each is None or each.grads is None:
            return {} if each is None else {"norms": each.norms}
        views = []
        for row in each.grads:
            views.append(task.params.zeros_like())
            views[-1].flat[:] = row
        norms = np.array([rnncore.optim.norm(row) for row in each.grads])
        return {"norms": norms} | {matrix: np.stack([view[matrix] for view in views]) for matrix in MATRICES}

    return Contender(name, 1, repeat(call), results)


def by_loop(task: "Problem") -> "Contender":
    """A call for each sequence, and the length of its gradient."""
    from timing import Contender, repeat

    import rnncore

    found: dict[str, Any] = {}

    def call() -> None:
        norms = np.empty(task.shape.B)
        for b in range(task.shape.B):
            state = tuple(array[b] for array in task.states)
            given: dict[str, Any] = {"state": state if len(state) > 1 else state[0], "backend": "cpp", "threads": 1}
            result = rnncore.bptt(task.params, task.inputs[:, b], task.labels[:, b], **given)
            norms[b] = rnncore.optim.norm(result.grads.flat)
        found["norms"] = norms

    return Contender(LOOP, 1, repeat(call), lambda: found)


def by_torch(task: "Problem", in_loop: bool) -> "Contender":
    """The gradient of each sequence with respect to the parameters, and its length: by vmap of grad, or in a loop."""
    import peers
    import torch
    from timing import Contender, repeat

    recurrent, linear, states_given = peers.torch_net(task)
    first = [state.detach() for state in states_given]
    inputs, labels = torch.from_numpy(task.inputs), torch.from_numpy(task.labels)
    weights = {f"0.{name}": weight.detach() for name, weight in recurrent.named_parameters()}
    weights |= {f"1.{name}": weight.detach() for name, weight in linear.named_parameters()}
    both = torch.nn.ModuleList([recurrent, linear])
    names = dict(zip(MATRICES, ("0.weight_ih_l0", "0.weight_hh_l0", "1.weight"), strict=True))
    found: dict[str, Any] = {}

    def loss(weights: Any, x: Any, label: Any, *state: Any) -> Any:
        own = [{name[2:]: weight for name, weight in weights.items() if name[0] == which} for which in "01"]
        first = peers.torch_state([each[:, None] for each in state])
        h, _ = torch.func.functional_call(both[0], own[0], (x[:, None], first))
        y = torch.func.functional_call(both[1], own[1], (h[:, 0],))
        return torch.nn.functional.cross_entropy(y, label, reduction="sum")

    gradient = torch.func.grad(loss)
    each = torch.func.vmap(gradient, in_dims=(None, 1, 1, *[1] * len(first)))

    def call() -> None:
        if in_loop:
            states = [[state[:, b] for state in first] for b in range(task.shape.B)]
            rows = [gradient(weights, inputs[:, b], labels[:, b], *state) for b, state in enumerate(states)]
            found["rows"] = {name: torch.stack([row[name] for row in rows]) for name in weights}
        else:
            found["rows"] = each(weights, inputs, labels, *first)
        found["norms"] = sum(row.square().flatten(1).sum(1) for row in found["rows"].values()).sqrt()

    def results() -> dict[str, Any]:
        return {matrix: found["rows"][name].numpy() for matrix, name in names.items()}

    def before() -> None:
        torch.set_num_threads(1)
        torch.backends.mkldnn.set_flags(in_loop)  # its lstm is one that vmap does not know

    return Contender(TORCH_LOOP if in_loop else TORCH_FUNC, 1, repeat(call), results, before)


def by_sequence(shape: Shape, with_torch: bool, rounds: int) -> dict[str, Any]:
    """One row: seconds a call, and of our own over the plain call, after all were shown to find the same gradients."""
    from peers import require_same
    from problems import problem
    from timing import by_turn, over_first, take_turns

    task = problem(shape, "float32")
    rows, norms = by_rnncore(task, ROWS), by_rnncore(task, NORMS)
    limit = float(np.median(rows.results()["norms"]))
    chosen = [norms, by_loop(task), *([by_torch(task, False), by_torch(task, True)] if with_torch else [])]
    for contender in chosen:
        require_same(rows, contender, f"{shape.cell} {shape.sizes}")
    plain, clipped = by_rnncore(task, PLAIN), by_rnncore(task, CLIPPED, limit)
    own = {NORMS: norms, CLIPPED: clipped, ROWS: rows}
    times = by_turn([partial(contender.run, 1) for contender in (plain, *own.values())], rounds * TURNS)
    ratios = dict(zip(own, zip(*over_first(times), strict=True), strict=True))
    seconds = take_turns([plain, clipped, rows, *chosen], rounds, 0.1, LONGEST)
    return {"cell": shape.cell, "sizes": shape.sizes, "ratios": ratios, "seconds": seconds}


def by_step(shape: Shape, dtype: str, rounds: int) -> dict[str, Any]:
    """One row: the plain gradient, and gradient_flow, whose contributions were shown to add up to it."""
    from problems import problem
    from timing import Contender, repeat, take_turns

    import rnncore

    task = problem(shape, dtype)
    given: dict[str, Any] = {"state": task.state, "backend": "cpp", "threads": 1}

    def call() -> rnncore.GradientFlow:
        flow = rnncore.gradient_flow(task.params, task.inputs, task.labels, **given)
        assert flow.by_step.size > 0
        return flow

    flow, plain = call(), by_rnncore(task, PLAIN)
    total = sum(np.asarray(flow.contribution(k).flat, np.float64) for k in range(shape.T))
    expected = rnncore.bptt(task.params, task.inputs, task.labels, **given).grads.flat
    if np.abs(total - expected).max() > 1e-4 * np.abs(expected).max():
        raise RuntimeError(f"{shape.cell}: the contributions of the steps do not add up to the gradient")
    chosen = [plain, Contender("flow", 1, repeat(call), dict)]
    seconds = take_turns(chosen, rounds, 0.1, LONGEST)
    return {"cell": shape.cell, "sizes": shape.sizes, "dtype": dtype, "seconds": seconds}


def markdown(results: dict[str, Any]) -> str:
    """The page: two tables."""
    import report

    body = []
    own, others = (NORMS, CLIPPED, ROWS), (LOOP, TORCH_FUNC, TORCH_LOOP)
    for row in results["sequences"]:
        middle = {name: median for name, (median, _) in row["seconds"].items()}
        ratios = [f"{row['ratios'][name][0]:.2f} x" for name in own]
        ratios += [report.ratio(middle.get(name) and middle[name] / middle[PLAIN]) for name in others]
        body.append([row["cell"], row["sizes"], report.seconds(middle[PLAIN]), *ratios])
    flows = []
    for row in results["steps"]:
        plain, flow = (row["seconds"][name][0] for name in (PLAIN, "flow"))
        times = report.seconds(plain), report.seconds(flow), report.ratio(flow / plain)
        flows.append([row["cell"], row["sizes"], row["dtype"], *times])
    facts = program.fact(results, "one thread", "medians")
    tables = (
        report.table(["cell", "X,H,V,B,T", "plain", *own, *others], body, left=2),
        report.table(["cell", "X,H,V,B,T", "dtype", "plain", "gradient_flow", "times plain"], flows, left=3),
    )
    return (
        f"# Looking into gradients\n\n{facts}\n\n## By sequence\n\n"
        "float32; how many times as long as the plain gradient. The first three are medians of the ratios of all turns:"
        f"\n\n{tables[0]}\n\n## By step\n\n{tables[1]}\n\n"
        "The gradients of these nets vanish. In float32 they become subnormal numbers, with which processors may be\n"
        "many times slower.\n"
    )


def run(shapes: list[Shape], flows: list[Shape], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    with_torch = find_spec("torch") is not None
    results = program.begin("insight", 1, "sequences", "steps")
    with program.interruptible():
        for shape in program.progress(shapes):
            results["sequences"].append(by_sequence(shape, with_torch, rounds))
        for shape in program.progress(flows):
            results["steps"] += [by_step(shape, dtype, rounds) for dtype in ("float32", "float64")]
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes insight-PROCESSOR.json and .md."""
    parser = program.parser(__doc__, "few steps, small sizes", 5, "comma-separated; PyTorch has no gru_reset_before")
    args = parser.parse_args(argv)
    environment.prepare()
    large, flow = (Shape("small", 8, 16, 8, 4, 12), replace(FLOW, T=12)) if args.quick else (named("S3")[0], FLOW)
    chosen = cells(args.cells)
    results = run(
        [replace(large, cell=cell) for cell in chosen], [replace(flow, cell=cell) for cell in chosen], args.rounds
    )
    return program.finish(results, markdown(results), args.out, "insight")


if __name__ == "__main__":
    sys.exit(main())

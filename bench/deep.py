"""What layers, directions and losses cost, beside their parts, PyTorch, JAX and oneDNN: python bench/deep.py.

Usage: python bench/deep.py [--quick] [--rounds N] [--out DIR]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program
from shapes import Shape, named

if TYPE_CHECKING:
    import numpy.typing as npt
    from timing import Contender, Results

    import rnncore

NETS = {"2-layer lstm": ("lstm", 2, False), "bidirectional gru": ("gru", 1, True)}
SHAPES = "S3,S4"
LONGEST = 3.0  # seconds of turns at one row, after which a contender sits out
WHOLE, PARTS, TORCH, JAX, ONEDNN = "rnncore", "its layers alone", "torch", "jax", "onednn"
LOSSES = ("cross_entropy", "squared_error", "binary_cross_entropy", "one label a sequence")


@dataclass(frozen=True)
class Deep:
    """A net of several layers or directions, and what it runs over: inputs (T, B, X), labels (T, B)."""

    name: str
    shape: Shape
    params: "rnncore.Params"
    inputs: "npt.NDArray[np.float32]"
    labels: "npt.NDArray[np.int64]"


def deep(name: str, shape: Shape) -> Deep:
    """A net with small random weights."""
    import rnncore

    cell, layers, bidirectional = NETS[name]
    rng = np.random.default_rng(0)
    params = rnncore.init_params(cell, shape.X, shape.H, shape.V, layers=layers, bidirectional=bidirectional)
    inputs = rng.standard_normal((shape.T, shape.B, shape.X)).astype("float32")
    return Deep(name, replace(shape, cell=cell), params, inputs, rng.integers(0, shape.V, (shape.T, shape.B)))


def by_rnncore(net: Deep, threads: int) -> "Contender":
    """One call."""
    import engines
    from timing import Contender, repeat

    import rnncore

    def call() -> rnncore.BpttResult:
        return rnncore.bptt(net.params, net.inputs, net.labels, backend="cpp", threads=threads)

    return Contender(WHOLE, threads, repeat(call), lambda: engines.named(call()))


def alone(net: Deep, threads: int) -> "Contender":
    """The layers one by one, and the directions.

    A layer by forward and backward, and the last one by bptt with need_dinputs. Directions by forward and backward,
    each with its half of W_hy, and the loss once: the same products in all.
    """
    from timing import Contender, repeat

    import rnncore

    options: dict[str, Any] = {"backend": "cpp", "threads": threads}
    own: Any = net.params.layers
    ways = [way for layer in own for way in (layer if net.params.bidirectional else (layer,))]
    W_hy, b_y = net.params.W_hy, net.params.b_y
    halves = np.split(W_hy, 2, axis=1) if net.params.bidirectional else []
    heads: list[dict[str, Any]] = [{"W_hy": half, "b_y": b_y} for half in halves] or [{}, {}]
    nets = [
        rnncore.Params(net.params.cell, **{name: getattr(way, name) for name in way.names()}, **head)
        for way, head in zip(ways, heads, strict=True)
    ]
    y = np.zeros((net.shape.T, net.shape.B, net.shape.V), "float32")
    _, dy = rnncore.cross_entropy(y, net.labels)

    def directions() -> None:
        for one in nets:
            rnncore.backward(one, rnncore.forward(one, net.inputs, **options), dy=dy, **options)
        rnncore.cross_entropy(y, net.labels)

    def layers() -> None:
        given: dict[str, Any] = dict(nets[-1]) | {"W_hy": W_hy, "b_y": b_y}
        last = rnncore.Params(net.params.cell, **given)
        out = rnncore.forward(nets[0], net.inputs, **options)
        result = rnncore.bptt(last, out.h, net.labels, need_dinputs=True, **options)
        rnncore.backward(nets[0], out, dh=result.dinputs, **options)

    return Contender(PARTS, threads, repeat(directions if net.params.bidirectional else layers), dict)


def by_torch(net: Deep, threads: int) -> "Contender":
    """Its own stacked or bidirectional module, Linear, cross_entropy with reduction="sum"."""
    import torch
    from timing import Contender, repeat

    recurrent, linear = net.params.to_torch()
    inputs, labels = torch.from_numpy(net.inputs), torch.from_numpy(net.labels.reshape(-1))
    leaves = [*recurrent.parameters(), *linear.parameters()]
    found: dict[str, Any] = {}

    def call() -> None:
        h, _ = recurrent(inputs)
        loss = torch.nn.functional.cross_entropy(linear(h.flatten(0, 1)), labels, reduction="sum")
        found["last"] = (loss, torch.autograd.grad(loss, leaves))

    def results() -> "Results":
        loss, gradients = found["last"]
        return {"loss": loss.detach().numpy(), "W_hy": gradients[-2].numpy(), "b_y": gradients[-1].numpy()}

    return Contender(TORCH, threads, repeat(call), results, lambda: torch.set_num_threads(threads))


def by_jax(net: Deep) -> "Contender":
    """One jit of the gradient: a lax.scan for each part, the reverse one with reverse=True."""
    import jax
    import jax.numpy as jnp
    from peers import jax_step
    from timing import Contender, repeat

    from rnncore.cells import CELLS

    params, cell = net.params, net.params.cell
    structure: Any = params.layers
    names = [[layer] if not params.bidirectional else list(layer) for layer in structure]
    weights = {
        "layers": [
            [{name: jax.device_put(getattr(way, name)) for name in way.names()} for way in ways] for ways in names
        ],
        "W_hy": jax.device_put(params.W_hy),
        "b_y": jax.device_put(params.b_y),
    }
    inputs, labels = jax.device_put(net.inputs), jax.device_put(net.labels)
    zeros = tuple(jnp.zeros((net.shape.B, net.shape.H), "float32") for _ in CELLS[cell].states)

    def run(own: Any, x: Any, reverse: bool) -> Any:
        part, step = x @ own["W_xh"].T + own.get("b_x", own["b_h"]), jax_step(cell, own)
        return jax.lax.scan(lambda s, a: (found := step(s, a), found[0]), zeros, part, reverse=reverse)[1]

    def loss(weights: Any) -> Any:
        h = inputs
        for ways in weights["layers"]:
            h = jnp.concatenate([run(own, h, d == 1) for d, own in enumerate(ways)], axis=-1)
        y = h @ weights["W_hy"].T + weights["b_y"]
        return -jnp.take_along_axis(jax.nn.log_softmax(y), labels[..., None], axis=-1).sum()

    gradient, found = jax.jit(jax.value_and_grad(loss)), {}

    def call() -> None:
        found["last"] = jax.block_until_ready(gradient(weights))

    def results() -> "Results":
        value, grads = found["last"]
        return {"loss": np.asarray(value), "W_hy": np.asarray(grads["W_hy"]), "b_y": np.asarray(grads["b_y"])}

    return Contender(JAX, 1, repeat(call), results)


def by_onednn(net: Deep, threads: int) -> "Contender | None":
    """A primitive for each layer, of both directions at once; None without oneDNN."""
    import peers

    from rnncore.cells import CELLS

    library, shape = peers.onednn_library(), net.shape
    if isinstance(library, str):
        return None
    library.library.onednn_threads(threads)
    sizes = [shape.T, shape.B, shape.X, shape.H, shape.V, peers.ONEDNN_CELLS.index(net.params.cell)]
    parts = len(net.params.layers) * (1 + net.params.bidirectional)
    states = np.zeros((len(CELLS[net.params.cell].states), parts, shape.B, shape.H), "float32")
    return peers.onednn_contender(library, net.params, sizes, (net.inputs, states, net.labels), threads)


def measure(name: str, shape: Shape, threads: int, rounds: int) -> dict[str, Any]:
    """One row of the first table."""
    from peers import require_same
    from timing import take_turns

    net = deep(name, shape)
    chosen = [by_rnncore(net, threads), alone(net, threads)]
    peers = [by_torch(net, threads)] if find_spec("torch") else []
    peers += [by_jax(net)] if find_spec("jax") and threads == 1 else []  # XLA is held to one thread
    onednn = by_onednn(net, threads)
    peers += [] if onednn is None else [onednn]
    for peer in peers:
        require_same(chosen[0], peer, f"{name} {shape.name}")
    chosen += peers
    chosen[1].run(1)
    facts = {"net": name, "shape": shape.name, "sizes": shape.sizes, "threads": threads}
    return facts | {"seconds": take_turns(chosen, rounds, 0.1, LONGEST)}


def measure_losses(cell: str, shape: Shape, rounds: int) -> dict[str, Any]:
    """One row of the second table: every loss of one net."""
    from timing import Contender, repeat, take_turns

    import rnncore

    rng = np.random.default_rng(0)
    params = rnncore.init_params(cell, shape.X, shape.H, shape.V)
    inputs = rng.standard_normal((shape.T, shape.B, shape.X)).astype("float32")
    classes = rng.integers(0, shape.V, (shape.T, shape.B))
    reals = rng.random((shape.T, shape.B, shape.V)).astype("float32")
    labels = dict(zip(LOSSES, (classes, reals, reals, classes[0]), strict=True))

    def call_of(name: str) -> Callable[[], object]:
        loss, given = (name if name in LOSSES[:3] else LOSSES[0]), labels[name]
        return lambda: rnncore.bptt(params, inputs, given, loss=loss, backend="cpp", threads=1)

    chosen = [Contender(name, 1, repeat(call_of(name)), dict) for name in LOSSES]
    for contender in chosen:
        contender.run(1)
    seconds = take_turns(chosen, rounds, 0.1, LONGEST)
    return {"cell": cell, "shape": shape.name, "sizes": shape.sizes, "seconds": seconds}


def markdown(results: dict[str, Any]) -> str:
    """The page: two tables."""
    import report

    head = [
        "net",
        "shape",
        "X,H,V,B,T",
        "threads",
        "time",
        "/ its layers alone",
        "by fastest",
        "times PyTorch",
        "by fastest",
        "times JAX",
        "by fastest",
        "times oneDNN",
        "by fastest",
    ]
    body = []
    for row in results["rows"]:
        (middle, best), (parts, best_parts) = row["seconds"][WHOLE], row["seconds"][PARTS]
        peers = [row["seconds"].get(peer, (None, None)) for peer in (TORCH, JAX, ONEDNN)]
        ratios = [time and time / own for peer in peers for time, own in zip(peer, (middle, best), strict=True)]
        body.append([
            row["net"], row["shape"], row["sizes"], str(row["threads"]), report.seconds(middle),
            f"{middle / parts:.2f}", f"{best / best_parts:.2f}",
            *map(report.ratio, ratios),
        ])  # fmt: skip
    head_of_losses = ["cell", "shape", "X,H,V,B,T", LOSSES[0], *(f"{name}, over it" for name in LOSSES[1:])]
    losses = []
    for row in results["losses"]:
        usual = row["seconds"][LOSSES[0]][0]
        others = [f"{row['seconds'][name][0] / usual:.2f}" for name in LOSSES[1:]]
        losses.append([row["cell"], row["shape"], row["sizes"], report.seconds(usual), *others])
    facts = (
        program.fact(results, "float32") + "\n"
        "- layers alone: forward and backward of one, bptt with need_dinputs of the other; directions: forward and "
        "backward of each with its half of W_hy, and the loss"
    )
    return (
        f"# Layers, directions and losses\n\n{facts}\n\n{report.table(head, body, left=3)}\n\n"
        f"{report.table(head_of_losses, losses, left=3)}\n"
    )


def run(shapes: list[Shape], rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("deep", 1, "rows", "losses")
    nets = [(name, shape, threads) for name in NETS for shape in shapes for threads in (1, environment.cores())]
    with program.interruptible():
        for name, shape, threads in program.progress(nets):
            results["rows"].append(measure(name, shape, threads, rounds))
        for cell in ("rnn", "gru"):
            results["losses"].append(measure_losses(cell, shapes[0], rounds))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes deep-PROCESSOR.json and .md."""
    args = program.parser(__doc__, "one tiny shape, three rounds", 9).parse_args(argv)
    environment.prepare()
    results = run(named("tiny" if args.quick else SHAPES), 3 if args.quick else args.rounds)
    return program.finish(results, markdown(results), args.out, "deep")


if __name__ == "__main__":
    sys.exit(main())

"""What a call through rnncore.jax costs, beside the same call without JAX: python bench/jax_bridge.py.

Usage: python bench/jax_bridge.py [--shapes S1,S2,S3] [--rounds N]
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import environment
import numpy as np
from shapes import Shape, named

CELLS = ("rnn", "lstm", "gru")


def contenders(cell: str, shape: Shape) -> list[Any]:
    """One gradient by rnncore, by the bridge in one pass, by rnn with the rest in JAX, and by a lax.scan; and, for what
    JAX takes itself, a compiled program that does next to nothing with the same arrays.
    """
    import jax
    import jax.numpy as jnp
    from peers import jax_gradient
    from timing import Contender, repeat

    import rnncore
    import rnncore.jax

    rng = np.random.default_rng(0)
    params = rnncore.init_params(cell, shape.X, shape.H, shape.V, dtype="float32")
    inputs = rng.standard_normal((shape.T, shape.B, shape.X)).astype("float32")
    labels = rng.integers(0, shape.V, (shape.T, shape.B))
    flat, x, classes = map(jax.device_put, (params.flat, inputs, labels.astype("int32")))
    zeros = tuple(jnp.zeros((shape.B, shape.H), "float32") for _ in range(1 + (cell == "lstm")))
    weights = {name: jax.device_put(params[name]) for name in params.names()}
    by_scan = jax_gradient(cell, False)

    def one_pass(flat: Any, x: Any, labels: Any) -> Any:
        return rnncore.jax.bptt_loss(params.net, flat, x, labels, threads=1)

    def own_loss(flat: Any, x: Any, labels: Any) -> Any:
        h, _ = rnncore.jax.rnn(params.net, flat, x, threads=1)
        W_hy, b_y = params.net.head(flat)
        log_p = jax.nn.log_softmax(h @ W_hy.T + b_y)
        return -jnp.take_along_axis(log_p, labels[..., None], axis=-1).sum()

    def call(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
        return lambda: jax.block_until_ready(function(*arguments))

    calls = {
        "bptt": lambda: rnncore.bptt(params, inputs, labels, backend="cpp", threads=1),
        "bptt_loss": call(jax.jit(jax.value_and_grad(one_pass)), flat, x, classes),
        "rnn": call(jax.jit(jax.value_and_grad(own_loss)), flat, x, classes),
        "lax.scan": call(by_scan, weights, zeros, x, classes),
        "next to nothing": call(
            jax.jit(lambda flat, x, labels: (x[0, 0, 0] + labels[0, 0], 2 * flat)), flat, x, classes
        ),
    }
    return [Contender(name, 1, repeat(run), dict) for name, run in calls.items()]


def main(argv: list[str] | None = None) -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shapes", default="S1,S2,S3")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    environment.prepare()
    import report
    from deep import LONGEST
    from timing import take_turns

    rows, head = [], []
    for shape in named(args.shapes):
        for cell in CELLS:
            chosen = contenders(cell, shape)
            for contender in chosen:
                contender.run(1)  # JAX compiles
            times = take_turns(chosen, args.rounds, 0.1, LONGEST)
            head = ["shape", "cell", *times]
            rows.append([shape.name, cell, *(report.seconds(median) for median, _ in times.values())])
    print(report.table(head, rows, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

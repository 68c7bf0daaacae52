"""What numbers of outputs cost that do not fill vectors: python bench/outputs.py [--quick] [--out DIR].

One gradient of a small rnn, on one thread, for each loss. The times of V outputs stand beside that of the next multiple
of 16, whose rows have no padding. A processor that is slow with subnormal numbers shows here if padding makes them.
"""

import sys
from collections.abc import Callable
from typing import Any

import environment
import numpy as np
import program

T, B, X, H = 64, 32, 8, 16
OUTPUTS = (1, 4, 8, 9, 15, 16, 17, 31, 32, 33, 48)
LOSSES = ("classes", "distributions", "binary_cross_entropy", "squared_error")


def call_of(loss: str, V: int, backend: str = "cpp", steps: int = T) -> Callable[[], Any]:
    """A gradient of a net of V outputs, as a call without arguments."""
    import rnncore

    random = np.random.default_rng(V)
    params = rnncore.init_params("rnn", X, H, V, seed=0, tokens=False)
    inputs = random.normal(size=(steps, B, X)).astype(np.float32)
    labels: Any = random.random((steps, B, V)).astype(np.float32)
    if loss == "classes":
        labels = random.integers(0, V, (steps, B))
    elif loss == "distributions":
        labels /= labels.sum(-1, keepdims=True)
    given: dict[str, Any] = {} if loss in LOSSES[:2] else {"loss": loss}
    return lambda: rnncore.bptt(params, inputs, labels, backend=backend, threads=1, **given)


def verify(loss: str, V: int) -> None:
    """Raise unless C++ and NumPy agree to the bit on the first steps."""
    found, wanted = (call_of(loss, V, backend, 5)().grads.flat.tobytes() for backend in ("cpp", "numpy"))
    if found != wanted:
        raise RuntimeError(f"{loss}, V = {V}: the gradients of C++ and NumPy differ")


def measure(loss: str, rounds: int) -> dict[str, Any]:
    """One row: the median and the best time for each number of outputs."""
    from timing import Contender, repeat, take_turns

    for V in OUTPUTS:
        verify(loss, V)
    contenders = [Contender(str(V), 1, repeat(call_of(loss, V)), dict) for V in OUTPUTS]
    for contender in contenders:
        contender.run(1)
    return {"loss": loss, "seconds": take_turns(contenders, rounds, 0.01, 1.0)}


def markdown(results: dict[str, Any]) -> str:
    """The page: a table, each number of outputs beside the next multiple of 16."""
    import report

    head = ["loss", *(f"V = {V}" if V % 16 == 0 else f"{V} / {whole(V)}" for V in OUTPUTS)]
    body = []
    for row in results["rows"]:
        best = {int(V): times[1] for V, times in row["seconds"].items()}
        body.append(
            [
                row["loss"],
                *(report.seconds(best[V]) if V % 16 == 0 else f"{best[V] / best[whole(V)]:.2f}" for V in OUTPUTS),
            ]
        )
    facts = program.fact(results, f"T = {T}", f"B = {B}", f"X = {X}", f"H = {H}", "rnn", "float32", "the fastest calls")
    return f"# Numbers of outputs that do not fill vectors\n\n{facts}\n\n{report.table(head, body, left=1)}\n"


def whole(V: int) -> int:
    """The next multiple of 16."""
    return -(-V // 16) * 16


def run(rounds: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("outputs", 1, "rows")
    with program.interruptible():
        for loss in program.progress(list(LOSSES)):
            results["rows"].append(measure(loss, rounds))
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes outputs-PROCESSOR.json and .md."""
    args = program.parser(__doc__, "three rounds", 25).parse_args(argv)
    environment.prepare()
    results = run(3 if args.quick else args.rounds)
    return program.finish(results, markdown(results), args.out, "outputs")


if __name__ == "__main__":
    sys.exit(main())

"""What resets cost: python bench/resets.py [--quick] [--cells rnn,lstm,gru] [--out DIR].

A rollout of an agent, T = 128 steps of B = 16 environments, with resets at random places, beside the same rollout
without. Both are timed in turn on one thread, by the processor's time of this thread, which other programs disturb
less than the clock. A ratio is the median of the ratios of all turns.
"""

import sys
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import environment
import numpy as np
import program
from shapes import cells

if TYPE_CHECKING:
    import numpy.typing as npt

    import rnncore

T, B, X, V = 128, 16, 10, 4
HIDDEN = (32, 64, 128)
SHARES = (0.01, 0.05)  # of the steps that are reset
PASSES = ("bptt", "forward and backward")
TURN = 4e-3  # seconds of calls in a turn, at least


@dataclass(frozen=True)
class Rollout:
    """A net and what it saw: inputs (T, B, X), labels (T, B), dy (T, B, V)."""

    params: "rnncore.Params"
    inputs: "npt.NDArray[Any]"
    labels: "npt.NDArray[np.int64]"
    dy: "npt.NDArray[Any]"

    def call(self, which: str, resets: "npt.NDArray[np.bool_] | None", backend: str = "cpp") -> "rnncore.Params":
        """The gradient, by one call of bptt, or by forward and backward, as for a policy gradient."""
        import rnncore

        given: dict[str, Any] = {"backend": backend, "threads": 1}
        if which == "bptt":
            return rnncore.bptt(self.params, self.inputs, self.labels, resets=resets, **given).grads
        out = rnncore.forward(self.params, self.inputs, resets=resets, **given)
        return rnncore.backward(self.params, out, dy=self.dy, **given).grads


def rollout(cell: str, H: int, steps: int = T) -> Rollout:
    """Numbers by chance."""
    import rnncore

    random = np.random.default_rng(H)
    shape = (steps, B)
    return Rollout(
        rnncore.init_params(cell, inputs=X, hidden=H, outputs=V, seed=0, tokens=False),
        random.normal(size=(*shape, X)).astype(np.float32),
        random.integers(0, V, shape),
        random.normal(size=(*shape, V)).astype(np.float32),
    )


def some(share: float, steps: int = T) -> "npt.NDArray[np.bool_]":
    """Resets of a share of the steps, at random places."""
    return np.random.default_rng(round(1000 * share)).random((steps, B)) < share


def verify(cell: str, H: int) -> None:
    """Raise unless C++ and NumPy agree to the bit on the beginning of the rollout."""
    short = rollout(cell, H, 12)
    for which in PASSES:
        found, wanted = (short.call(which, some(0.05, 12), backend) for backend in ("cpp", "numpy"))
        if found.flat.tobytes() != wanted.flat.tobytes():
            raise RuntimeError(f"{cell}, H = {H}: the gradients of C++ and NumPy differ")


def measure(cell: str, H: int, which: str, turns: int) -> dict[str, Any]:
    """One row: the time without resets, and the ratios of the times with and without for each share."""
    from timing import by_turn, over_first

    net = rollout(cell, H)
    all_resets = (None, *(some(share) for share in SHARES))
    calls = [partial(net.call, which, resets) for resets in all_resets]
    for call in calls:
        call()
    each = max(1, round(TURN / max(by_turn(calls[:1], 1, 3)[0, 0], 1e-6)))
    times = by_turn(calls, turns, each)
    ratios, best = over_first(times)
    return {"cell": cell, "H": H, "pass": which, "seconds": median(times[:, 0]), "ratios": ratios, "best": best}


def markdown(results: dict[str, Any]) -> str:
    """The page: a table."""
    import report

    head = ["cell", "H", "pass", "without"]
    head += [text for share in SHARES for text in (f"{share:.0%} reset", "by fastest turns")]
    body = []
    for row in results["rows"]:
        figures = [f"{x:.3f}" for pair in zip(row["ratios"], row["best"], strict=True) for x in pair]
        body.append([row["cell"], str(row["H"]), row["pass"], report.seconds(row["seconds"]), *figures])
    facts = program.fact(results, f"T = {T}", f"B = {B}", f"X = {X}", f"V = {V}", "float32", "one thread")
    return f"# What resets cost\n\n{facts}\n\n{report.table(head, body, left=3)}\n"


def run(chosen: list[str], turns: int) -> dict[str, Any]:
    """All rows; an interruption keeps what there is."""
    results = program.begin("resets", 1, "rows")
    with program.interruptible():
        for cell, H in program.progress([(cell, H) for cell in chosen for H in HIDDEN]):
            verify(cell, H)
            results["rows"] += [measure(cell, H, which, turns) for which in PASSES]
    return results


def main(argv: list[str] | None = None) -> int:
    """Writes resets-PROCESSOR.json and .md."""
    args = program.parser(__doc__, "few turns: rough figures", 201, "comma-separated").parse_args(argv)
    environment.prepare()
    results = run(cells(args.cells), 15 if args.quick else args.rounds)
    return program.finish(results, markdown(results), args.out, "resets")


if __name__ == "__main__":
    sys.exit(main())

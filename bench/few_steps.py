"""Few steps of a large layer: where weights are used once or twice, what a call does beside the products shows.

Usage: python bench/few_steps.py [--quick] [--cells rnn,lstm,gru] [--dtypes float32] [--peers torch,onednn] [--out DIR]

Gradients, and one step of ``forward`` that is given its state and hands it on; one thread. Everything is shown right
before it is timed, as in run.py.
"""

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import environment
import program
from shapes import DTYPES, Shape, cells

if TYPE_CHECKING:
    from session import Session

STEPS, BATCHES = (1, 2, 4, 8), (1, 16, 64)
SIZES = [(256, 1024, 256, B, T) for B in BATCHES for T in STEPS] + [(64, 512, 50, 20, T) for T in STEPS]
HIDDEN = (128, 256, 512, 1024)  # of the steps forward, with X = V = H / 4
QUICK_SIZES, QUICK_HIDDEN = [(16, 64, 16, 1, 1), (16, 64, 16, 4, 2)], (64,)
PEERS = ("torch", "onednn", "numpy")
NAMES = {"torch": "PyTorch", "onednn": "oneDNN", "numpy": "NumPy"}


def gradients(sizes: list[tuple[int, int, int, int, int]]) -> list[Shape]:
    """The shapes of the first table, each called by its sizes."""
    shapes = [Shape("", *numbers) for numbers in sizes]
    return [replace(shape, name=shape.sizes) for shape in shapes]


def measure_steps(session: "Session", hidden: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """The rows of the second table."""
    import stepper

    settings, rate = session.settings, stepper.reader()
    for cell, H, dtype in product(settings.cells, hidden, settings.dtypes):
        session.say(f"a step, {cell} {H} {dtype}")
        net = stepper.acting(cell, H, 1, (H // 4, H // 4), dtype)
        yield {"dtype": dtype, **stepper.measure(net, settings.rounds, settings.seconds, rate)}


def gradient_table(results: dict[str, Any], cell: str, dtype: str) -> str:
    """A row per shape: our time and share, and how many times as long each of the others takes."""
    import report

    rows = [row for row in results["rows"] if (row["cell"], row["dtype"]) == (cell, dtype)]
    peers = [name for name in PEERS if any(row["contender"] == name for row in rows)]
    head = ["X,H,V,B,T", "bptt", "of peak", "best"]
    head += [text for name in peers for text in (NAMES[name], "by fastest")]
    body = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        found = {row["contender"]: row for row in rows if row["shape"] == shape}
        if (own := found.pop("rnncore cpp", None)) is None:
            continue
        pairs = [(found.get(name), key) for name in peers for key in ("median", "best")]
        ratios = [report.ratio(peer and peer[key] / own[key]) for peer, key in pairs]
        times = [report.seconds(own["median"]), report.percent(own["share"]), report.seconds(own["best"])]
        body.append([shape, *times, *ratios])
    return report.table(head, body)


def step_table(steps: list[dict[str, Any]]) -> str:
    """A row per net: a call of ``forward``, what reading its weights once takes, and the others."""
    import report
    import stepper

    others = [name for name in stepper.CONTENDERS if name != stepper.FORWARD]
    head = ["cell", "dtype", "H", "forward", "best", "reading the weights", "best / reading", *others]
    body = []
    for row in steps:
        middle, best = row["seconds"][stepper.FORWARD]
        reading = row["bytes"] / row["read"] if row["read"] else None
        texts = [row["cell"], row["dtype"], str(row["H"]), report.seconds(middle), report.seconds(best)]
        texts += ["", ""] if reading is None else [report.seconds(reading), f"{best / reading:.2f}"]
        times = [row["seconds"].get(name, (None, None))[0] for name in others]
        body.append([*texts, *(report.ratio(time and time / middle) for time in times)])
    return report.table(head, body, left=2)


def ahead(results: dict[str, Any]) -> list[str]:
    """Who is faster than ``bptt`` or ``forward``, by medians and by the fastest calls."""
    import report
    import stepper

    found = []
    for place, (key, name) in enumerate((("median", "medians"), ("best", "the fastest calls"))):
        late = report.behind(results, key)
        for row in results["steps"]:
            own = row["seconds"][stepper.FORWARD][place]
            peers = {peer: times[place] for peer, times in row["seconds"].items() if peer not in stepper.OURS}
            title = f"a step of {row['cell']} {row['H']} {row['dtype']}"
            late += [f"{title}: {peer} ({own / time:.2f} x)" for peer, time in peers.items() if time < own]
        found.append(f"Peers ahead of rnncore, by {name}: {'; '.join(late) or 'none'}.")
    return found


def markdown(results: dict[str, Any]) -> str:
    """The page."""
    import report

    tables = list(dict.fromkeys((row["cell"], row["dtype"]) for row in results["rows"]))
    facts = [
        *report.provenance(results),
        *ahead(results),
        "One thread. What stands under a peer is how many times as long it takes, by medians.",
        "A step is `forward` with a batch of one, its state given and handed on, X = V = H / 4; reading the weights is "
        "the size of all parameters over the rate at which a block of that size is read again and again.",
    ]
    parts = ["# Few steps of a large layer", "\n".join(f"- {fact}" for fact in facts)]
    parts += [f"## Gradients, {cell}, {dtype}\n\n{gradient_table(results, cell, dtype)}" for cell, dtype in tables]
    parts.append(f"## One step forward\n\n{step_table(results['steps'])}")
    return "\n\n".join([*parts, f"## Limits of the machine in this run\n\n{report.limits(results)}"]) + "\n"


def run(session: "Session", hidden: tuple[int, ...]) -> None:
    """Gradients, then steps; an interruption keeps what there is."""
    with program.interruptible():
        session.begin()
        session.results |= {"format": "rnncore few steps 1", "steps": []}
        session.blocks()
        for row in measure_steps(session, hidden):
            session.results["steps"].append(row)
            session.bar.update()
        session.end()


def main(argv: list[str] | None = None) -> int:
    """Writes few_steps-PROCESSOR.json and .md; 1 if anything was found wrong, 130 if nothing was measured."""
    parser = program.parser(__doc__, "small sizes, two rounds", 7, "comma-separated")
    parser.add_argument("--dtypes", default=",".join(DTYPES), help="float32, float64, or both with a comma between")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; or none")
    args = parser.parse_args(argv)
    environment.prepare()
    import peers
    import report
    from session import Session, Settings
    from tqdm import tqdm

    sizes, hidden = (QUICK_SIZES, QUICK_HIDDEN) if args.quick else (SIZES, HIDDEN)
    rounds, seconds = (2, 0.02) if args.quick else (args.rounds, 0.05)
    settings = Settings(
        cells(args.cells), gradients(sizes), args.dtypes.split(","), peers.chosen(args.peers), rounds, seconds,
        longest=3.0, definition_flops=2e7, loops=[], limit_seconds=0.03 if args.quick else 0.3, alone=True,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    total = len(settings.cells) * len(settings.dtypes) * (len(sizes) + len(hidden))
    often = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=total, mininterval=often, dynamic_ncols=True) as bar:
        session = Session(settings, bar)
        run(session, hidden)
    results = session.results
    if "steps" not in results:
        return 130
    report.finish(results)
    program.finish(results, markdown(results), args.out, "few_steps")
    return 1 if report.wrong(results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Check that all engines give the same bits, then time them side by side with others; writes JSON, Markdown, a plot.

Usage: python bench/run.py [--quick] [--cells rnn,lstm] [--shapes S0,S1] [--dtypes float32] [--peers torch,jax|all|none]
                           [--out DIR]
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import environment
from shapes import DTYPES, GATES, cells, named

HERE = Path(__file__).resolve().parent
QUICK: dict[str, Any] = {
    "shapes": "S0,S1,S3",
    "dtypes": "float32",
    "rounds": 2,
    "seconds": 0.03,
    "longest": 1.0,
    "flops": 4e6,
    "limits": 0.03,
    "loops": ("S1",),
}
FULL: dict[str, Any] = {
    "shapes": "S0,S1,S1t,S2,S3,S3t,S4,S5,S6,S7",
    "dtypes": "float32,float64",
    "rounds": 5,
    "seconds": 0.05,
    "longest": 3.0,
    "flops": 2e7,
    "limits": 0.3,
    "loops": ("S1", "S3"),
}


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds: under a minute, and rough")
    parser.add_argument("--cells", default="rnn,lstm,gru", help=f"comma-separated, of {', '.join(GATES)}")
    parser.add_argument("--shapes", help=f"comma-separated, of {FULL['shapes']}, tiny")
    parser.add_argument("--dtypes", help="float32, float64, or both with a comma between")
    parser.add_argument("--peers", default="all", help="comma-separated, of numpy, torch, jax, onednn; or all; or none")
    parser.add_argument("--rounds", type=int, help="turns of each contender at each shape, fewer where they are long")
    parser.add_argument("--no-loops", action="store_true", help="leave out the whole training steps")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="directory for the results")
    parser.add_argument("--name", help="of the files; the date and the CPU if not given")
    return parser.parse_args(argv)


def settings(args: argparse.Namespace) -> Any:
    """What the command line asks for, with the rest from QUICK or FULL."""
    import peers
    from session import Settings

    chosen = QUICK if args.quick else FULL
    shapes = named(args.shapes or chosen["shapes"])
    dtypes = (args.dtypes or chosen["dtypes"]).split(",")
    if not set(dtypes) <= set(DTYPES):
        raise ValueError(f"dtypes are {', '.join(DTYPES)}, got {', '.join(dtypes)}")
    names = {shape.name for shape in shapes}
    rounds = args.rounds or chosen["rounds"]
    return Settings(
        cells=cells(args.cells),
        shapes=shapes,
        dtypes=dtypes,
        peers=peers.chosen(args.peers),
        rounds=rounds,
        seconds=chosen["seconds"],
        longest=chosen["longest"] * rounds / chosen["rounds"],
        definition_flops=chosen["flops"],
        loops=[] if args.no_loops else [f"{name}t" for name in chosen["loops"] if names & {name, f"{name}t"}],
        limit_seconds=chosen["limits"],
    )


def main(argv: list[str] | None = None) -> int:
    """Runs, and writes what there is, also when interrupted. 1 if anything was found wrong, 130 if interrupted."""
    args = arguments(argv)
    environment.prepare()
    import report
    from session import Session
    from tqdm import tqdm

    try:
        chosen = settings(args)
    except ValueError as wrong:
        print(f"run.py: {wrong}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    blocks = len(chosen.cells) * (len(chosen.shapes) * len(chosen.dtypes) + len(chosen.loops))
    interrupted = False
    often = 0.1 if sys.stderr.isatty() else 10
    with tqdm(total=blocks, mininterval=often, dynamic_ncols=True, bar_format="{l_bar}{bar}| {elapsed}") as bar:
        session = Session(chosen, bar)
        try:
            session.run()
        except KeyboardInterrupt:
            interrupted = True
    if "rows" not in session.results:
        print("interrupted: nothing was measured yet")
        return 130
    report.finish(session.results)
    paths = report.write(session.results, args.out, args.name)
    print(report.terminal(session.results))
    print("\nwritten: " + ", ".join(str(path) for path in paths))
    if interrupted:
        print("interrupted: the files hold what was measured until then")
    return 130 if interrupted else 1 if report.wrong(session.results) else 0


if __name__ == "__main__":
    sys.exit(main())

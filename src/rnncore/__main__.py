"""``python -m rnncore``: info, verify, train, sample."""

import argparse
import os
import platform
import sys
import warnings

import numpy as np

from . import __version__
from .charmodel import cli
from .engines import backends, current, engines, not_working
from .examples import examples
from .verify.report import Report


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rnncore", description="Recurrent networks on the CPU, to the bit.")
    parser.add_argument("--version", action="version", version=f"rnncore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{info,verify,train,sample}")
    commands.add_parser("info", help="version, backends, instruction set, cores").set_defaults(run=run_info)
    commands.add_parser(
        "verify", help="compare the backends, bit for bit, and the gradients with central differences"
    ).set_defaults(run=run_verify)
    learn = commands.add_parser("train", help="learn a character-level language model from a text")
    cli.add_train_arguments(learn)
    learn.set_defaults(run=cli.run_train)
    speak = commands.add_parser("sample", help="write text with a saved model")
    cli.add_sample_arguments(speak)
    speak.set_defaults(run=cli.run_sample)
    open_closed_streams()
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (ValueError, ImportError) as error:  # such as RNNCORE_BACKEND or RNNCORE_ISA naming what is not there
        print(f"rnncore: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def open_closed_streams() -> None:
    """Discard what is printed to a stream that was closed before the program began, as for a daemon."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the end of the program


def run_info(chosen: argparse.Namespace) -> int:
    """Print version, backends, instruction set and cores."""
    lines = {
        "rnncore": __version__,
        "python": f"{platform.python_version()} ({platform.machine()})",
        "numpy": np.__version__,
        "backends": ", ".join(backends()),
        "engines": ", ".join(engines()),
        "default": default(),
        "cores": str(cores()),
    }
    for name, value in lines.items():
        print(f"{name:9} {value}")
    for name, why in not_working().items():
        print(f"{name} does not work here: {why}")
    return 0


def default() -> str:
    """Return the name of the default engine, without the warning that it is not the fastest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return current(None).name


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_verify(chosen: argparse.Namespace) -> int:
    """Verify the built-in nets, one line each, and print the whole table of those that fail; return 1 if any did."""
    names = [name for name in engines() if name != "numpy"]
    print("bits in which loss, losses, states and gradients differ from numpy's, and the gradients' verdict")
    print(f"{'net':62}", *(f"{name:>13}" for name in names), " central differences")
    failed: list[Report] = []
    for example in examples():
        print(f"{example.why:62}", end="", flush=True)
        report = example.verify()
        if not report.ok:
            failed.append(report)
        verdict = "ok" if all(row.ok for row in report.differences) else "WRONG"
        print("", *(f"{report.bits(name):13}" for name in names), f" {verdict}", flush=True)
    for report in failed:
        print(f"\n{report}")
    print("\nverified" if not failed else f"\nWRONG: {len(failed)} nets")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Draw the pictures of docs/gradient-flow.md, and print its table. Needs matplotlib.

    python tools/draw_gradient_flow.py --models DIR    trains three character models into DIR, some minutes, if they
                                                       are not there yet

The models are those of ``python -m rnncore train`` with the options below, on Python's own documentation, so that
another version of Python has a somewhat different table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

import rnncore
from rnncore.charmodel.text import Vocabulary, python_documentation
from rnncore.types import Array, Indices

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
SCALES = {"vanishing: 0.7": 0.7, "healthy: 1": 1.0, "exploding: 2": 2.0}
CELLS = ("rnn", "gru", "lstm")
OPTIONS = ("--hidden", "128", "--iterations", "2500", "--sample-every", "0", "--threads", "1")
STEPS, PIECES = 200, 32
FLOORS = (0.5, 0.1, 0.01)


def three_nets() -> dict[str, rnncore.GradientFlow]:
    """Return the flow of three nets that differ in the scale of W_hh, an orthogonal matrix."""
    random = np.random.Generator(np.random.PCG64(0))
    x, labels = random.integers(0, 16, (2, 60))
    flows = {}
    for name, scale in SCALES.items():
        params = rnncore.init_params("rnn", 16, 64, 16, weights="orthogonal", tokens=True, seed=0)
        params.W_xh *= 0.1
        params.W_hh *= scale
        flows[name] = rnncore.gradient_flow(params, x, labels)
    return flows


def draw_nets(flows: dict[str, rnncore.GradientFlow]) -> Any:
    """Return the figure of the three nets: by_step of each, with one scale of colours."""
    figure = Figure(figsize=(9.5, 3.3), layout="constrained")
    panels, norm = figure.subplots(1, 3, sharey=True), LogNorm(1e-6, 1e6)
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        shown = np.where(flow.by_step > 0, np.clip(flow.by_step, norm.vmin, norm.vmax), np.nan)
        image = axes.imshow(shown, norm=norm, cmap="coolwarm", interpolation="nearest")
        axes.set(title=name, xlabel="k, the step of the state")
    panels[0].set_ylabel("t, the step of the loss")
    figure.colorbar(image, ax=list(panels), label="|dJ_t / dh_k|")
    return figure


def trained(folder: Path, cell: str) -> rnncore.Saved:
    """Return a character model, trained unless it is there."""
    path = folder / f"{cell}.npz"
    if not path.exists():
        command = [sys.executable, "-m", "rnncore", "train", "--cell", cell, "--save", str(path), *OPTIONS]
        subprocess.run(command, check=True)
    return rnncore.load(path)


def pieces(vocabulary: str) -> Indices:
    """Return tokens (STEPS + 1, PIECES) of the end of the text, which models do not learn from."""
    tokens = Vocabulary.of(vocabulary).encode(python_documentation())[-STEPS * PIECES - 1 :]
    starts = np.arange(PIECES) * STEPS
    return np.ascontiguousarray(tokens[starts + np.arange(STEPS + 1)[:, None]])


def reach(params: rnncore.Params, tokens: Indices) -> tuple[dict[str, Array], float]:
    """Return the mean over pieces of by_lag, of h and where there is one of c; and the loss of a character in nats."""
    x, labels = tokens[:-1], tokens[1:]
    flow = rnncore.gradient_flow(params, x, labels)
    found = {"h": flow.by_lag.mean(axis=0)}
    if flow.by_step_c is not None:
        lags = [np.diagonal(flow.by_step_c, -lag, 1, 2).mean() for lag in range(STEPS)]
        found["c"] = np.array(lags)
    return found, rnncore.bptt(params, x, labels).mean


def draw_models(found: dict[str, dict[str, Array]]) -> Any:
    """Return the figure of the models: by_lag, as a share of that of h at lag 0."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colours = dict(zip(CELLS, ("tab:blue", "tab:green", "tab:red"), strict=True))
    for axes, when in zip(panels, ("untrained", "trained"), strict=True):
        for cell in CELLS:
            for state, by_lag in found[f"{when} {cell}"].items():
                name, style = (cell, "-") if state == "h" else (f"{cell}, state c", "--")
                lags = np.flatnonzero(by_lag > 0)
                axes.plot(
                    lags,
                    by_lag[lags] / found[f"{when} {cell}"]["h"][0],
                    style,
                    color=colours[cell],
                    label=name,
                    linewidth=1.5,
                )
        axes.set(title=when, xlabel="lag, t - k", yscale="log", ylim=(1e-8, 3))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("|dJ_t / dh_k|, share of that at lag 0")
    panels[1].legend()
    return figure


def row(name: str, by_lag: Array, loss: float) -> str:
    """Return a row of the table: the loss, and at which lag by_lag falls below each floor."""
    below = [np.flatnonzero(by_lag < floor * by_lag[0]) for floor in FLOORS]
    lags = [str(lag[0]) if len(lag) else f"> {STEPS - 1}" for lag in below]
    return f"| {name} | {loss:.2f} | {' | '.join(lags)} |"


def main() -> None:
    """Write both pictures, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", type=Path, required=True, metavar="DIR", help="where the models are, or go")
    parser.add_argument("--out", type=Path, default=PICTURES, metavar="DIR", help="where the pictures go")
    args = parser.parse_args()
    args.models.mkdir(parents=True, exist_ok=True)
    draw_nets(three_nets()).savefig(args.out / "gradient-flow-nets.png", dpi=90)
    found, rows = {}, []
    for cell in CELLS:
        model = trained(args.models, cell)
        assert model.vocabulary is not None
        tokens, V = pieces(model.vocabulary), len(model.vocabulary)
        untrained = rnncore.init_params(cell, V, model.params.hidden, V, tokens=True, seed=0)
        for when, params in (("untrained", untrained), ("trained", model.params)):
            found[f"{when} {cell}"], loss = reach(params, tokens)
            rows.append(row(f"{cell}, {when}", found[f"{when} {cell}"]["h"], loss))
    draw_models(found).savefig(args.out / "gradient-flow-models.png", dpi=90)
    print("\n".join(rows))


if __name__ == "__main__":
    main()

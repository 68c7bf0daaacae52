"""The picture of a gradient's flow. Imported when one is drawn, as matplotlib is."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
except ImportError as why:
    raise ImportError("plot needs matplotlib: pip install 'rnncore[plot]'") from why

from .types import Array

DECADES = 8
"""How many powers of ten below the largest value are shown."""


def figure(by_step: Array, by_lag: dict[str, Array]) -> Any:
    """Return a figure: by_step (T, T) as an image, and the curves of by_lag (T,) by name."""
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = drawn.subplots(1, 2)
    show_steps(drawn, left, by_step)
    show_lags(right, by_lag)
    return drawn


def show_steps(drawn: Any, axes: Any, by_step: Array) -> None:
    """Draw by_step as an image, white where it is 0."""
    good = np.isfinite(by_step) & (by_step > 0)
    highest = float(by_step[good].max()) if good.any() else 1.0
    lowest = max(highest * 10.0**-DECADES, float(np.finfo(float).tiny))
    shown = np.where(good, np.maximum(by_step, lowest), np.nan)
    image = axes.imshow(shown, norm=LogNorm(lowest, highest), interpolation="nearest")
    drawn.colorbar(image, ax=axes, label="|dJ_t / dh_k|")
    axes.set(xlabel="k, the step of the state", ylabel="t, the step of the loss")


def show_lags(axes: Any, by_lag: dict[str, Array]) -> None:
    """Draw the curves of by_lag."""
    for name, values in by_lag.items():
        good = np.isfinite(values) & (values > 0)
        axes.plot(np.flatnonzero(good), values[good], label=name)
    axes.set(xlabel="lag, t - k", ylabel="mean of |dJ_t / dh_k|", yscale="log")
    axes.grid(alpha=0.3)
    if len(by_lag) > 1:
        axes.legend()

"""The kinds of values that options take: each converts what stands on the command line, or says what is wrong."""

from __future__ import annotations

import argparse
import codecs
import io
import math
from collections.abc import Callable


def number(text: str) -> float:
    """Return a number; NaN is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def positive_or_inf(text: str) -> float:
    """Return a number greater than 0, infinity included."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be greater than 0, got {text}")
    return value


def positive(text: str) -> float:
    """Return a finite number greater than 0."""
    value = positive_or_inf(text)
    if value == math.inf:
        raise argparse.ArgumentTypeError(f"must be finite, got {text}")
    return value


def not_negative(text: str) -> float:
    """Return a finite number of at least 0."""
    value = number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, got {text}")
    return value


def share(text: str) -> float:
    """Return a number in [0, 1)."""
    value = number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, got {text}")
    return value


def natural(text: str) -> int:
    """Return an integer of at least 0."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def encoding(text: str) -> str:
    """Return the name of an encoding of texts."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=text)
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an encoding that Python knows, such as latin-1") from None
    return codecs.lookup(text).name


def count(most: int | None = None) -> Callable[[str], int]:
    """Return a converter to an integer of at least 1, and of at most ``most``."""

    def convert(text: str) -> int:
        value = natural(text)
        if value == 0 or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be at least 1{f' and at most {most}' if most else ''}, got {text}")
        return value

    return convert

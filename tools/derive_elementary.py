"""Derive every constant of exp, tanh, sigmoid and log, and check that the three columns hold just these.

    python tools/derive_elementary.py            prints the constants of both dtypes, as hex floats
    python tools/derive_elementary.py --check    compares them with the columns; exit status 1 if one differs

All arithmetic is mpmath's, in 60 digits. A polynomial is the minimax polynomial of its function on a dense grid of
Chebyshev points, found by Remez's exchange; its coefficients are then rounded to the dtype one after the other from
the lowest, the rest being fitted anew each time, so that later coefficients make up for the rounding of earlier ones.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mpmath import atanh, ceil, cos, exp, floor, log, lu_solve, matrix, mp, mpf, pi, sqrt, tanh

mp.dps = 60
GRID = 300  # points of the grid on which a polynomial is fitted
ROOT = Path(__file__).resolve().parent.parent
Numbers = list[mpf]


class Format(NamedTuple):
    """A binary floating-point format, and the polynomials' degrees that suit it: errors below 1/16 of a last place."""

    bits: int  # of the significand, the hidden one included
    lowest: int  # exponent of the smallest normal number
    highest: int  # exponent of the largest binade
    exp_degree: int
    tanh_degrees: tuple[int, int]
    log_degree: int


FORMATS = {
    "float32": Format(24, -126, 127, 4, (1, 2), 2),
    "float64": Format(53, -1022, 1023, 9, (3, 3), 6),
}
# Chosen by measuring, in both dtypes. Below the split tanh is a rational function: with a larger one its quotient,
# with a smaller one 2 / (e^2x + 1) is large enough for its roundings to show. Scaling P and Q makes Q end just below
# 2 at the split, where a rounding is relatively smallest.
TANH_SPLIT = mpf("0.9375")
TANH_SCALE = mpf("1.375")


def rounded(x: mpf, bits: int) -> mpf:
    """x to the nearest number of so many significant bits."""
    with mp.workprec(bits):
        return +x


def horner(coefficients: Sequence[mpf], x: mpf) -> mpf:
    """The polynomial with these coefficients, lowest first, at x."""
    y = mpf(0)
    for c in reversed(coefficients):
        y = y * x + c
    return y


def chebyshev(low: mpf, high: mpf) -> Numbers:
    """The grid: Chebyshev points of [low, high], ascending and open, so that a limit at an end is never asked for."""
    return [(low + high) / 2 - (high - low) / 2 * cos(pi * (2 * i + 1) / (2 * GRID)) for i in range(GRID)]


def alternation(error: Numbers, count: int) -> list[int]:
    """Indices of `count` extrema of the error with alternating signs, the largest of each run of one sign."""
    runs: list[int] = []
    for i, value in enumerate(error):
        if runs and (error[runs[-1]] > 0) == (value > 0):
            if abs(value) > abs(error[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > count:
        runs.pop(0 if abs(error[runs[0]]) < abs(error[runs[-1]]) else -1)
    return runs


def remez(x: Numbers, f: Numbers, w: Numbers, degrees: tuple[int, int]) -> tuple[Numbers, Numbers, mpf]:
    """P and Q of these degrees, Q(0) = 1, with the least max |w (P/Q - f)| over the grid x, and that maximum.

    Each round solves P(x_i) - (f_i + s_i E / w_i) Q(x_i) = 0, s_i = +-1 by turns, with E in the product E Q taken
    from the round before (so it is linear), then exchanges the x_i for the extrema of the error.
    """
    m, n = degrees
    count = m + n + 2
    chosen = [round((len(x) - 1) * (1 - float(cos(pi * i / (count - 1)))) / 2) for i in range(count)]
    level = mpf(0)
    for _ in range(40):
        rows, right = [], []
        for sign, i in zip(itertools.cycle([1, -1]), chosen, strict=False):
            target = f[i] + sign * level / w[i]
            numerator = [x[i] ** j for j in range(m + 1)]
            denominator = [-target * x[i] ** j for j in range(1, n + 1)]
            rows.append([*numerator, *denominator, -sign / w[i]])
            right.append(f[i])
        solution = list(lu_solve(matrix(rows), matrix(right)))
        p, q = solution[: m + 1], [mpf(1), *solution[m + 1 : -1]]
        previous, level = level, solution[-1]
        error = [w[i] * (horner(p, x[i]) / horner(q, x[i]) - f[i]) for i in range(len(x))]
        best = alternation(error, count)
        if len(best) == count:
            settled = best == chosen
            chosen = best
            if settled and abs(level - previous) <= abs(level) * mpf(10) ** -6:
                break
    return p, q, max(abs(value) for value in error)


def fit(x: Numbers, f: Numbers, w: Numbers, degree: int, bits: int) -> Numbers:
    """The minimax polynomial of f with weight w, its coefficients rounded from the lowest up, the rest refitted."""
    coefficients: Numbers = []
    for left in range(degree, -1, -1):
        p, _, _ = remez(x, f, w, (left, 0))
        coefficients.append(rounded(p[0], bits))
        f = [(value - coefficients[-1]) / at for value, at in zip(f, x, strict=True)]
        w = [weight * at for weight, at in zip(w, x, strict=True)]
    return coefficients


def derive_exp(form: Format) -> Numbers:
    """q of exp(r) = 1 + r + r r q(r) for |r| <= log(2) / 2, by the relative error of exp."""
    half = log(2) / 2 * (1 + mpf(2) ** (4 - form.bits))  # n is rounded from a rounded product: a little beyond
    r = chebyshev(-half, half)
    f = [(exp(v) - 1 - v) / v**2 for v in r]
    return fit(r, f, [v**2 / exp(v) for v in r], form.exp_degree, form.bits)


def derive_tanh(form: Format) -> tuple[Numbers, Numbers]:
    """P and Q of tanh(x) = x (1 + u P(u) / Q(u)), u = x x, for |x| < split, by the relative error of tanh."""
    u = chebyshev(mpf(0), TANH_SPLIT**2)
    over = [tanh(sqrt(v)) / sqrt(v) for v in u]
    f = [(value - 1) / v for value, v in zip(over, u, strict=True)]
    _, q, _ = remez(u, f, [v / value for value, v in zip(over, u, strict=True)], form.tanh_degrees)
    q = [rounded(c * TANH_SCALE, form.bits) for c in q]
    bottom = [horner(q, v) for v in u]
    p = fit(
        u,
        [a * b for a, b in zip(f, bottom, strict=True)],
        [v / (a * b) for v, a, b in zip(u, over, bottom, strict=True)],
        form.tanh_degrees[0],
        form.bits,
    )
    return p, q


def derive_log(form: Format) -> Numbers:
    """c of log(1 + f) = 2 s + s z c(z), s = f / (2 + f), z = s s, for 1 + f in [sqrt(1/2), sqrt(2)], relatively."""
    z = chebyshev(mpf(0), ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2)
    f = [(2 * atanh(sqrt(v)) / sqrt(v) - 2) / v for v in z]
    return fit(z, f, [v * sqrt(v) / (2 * atanh(sqrt(v))) for v in z], form.log_degree, form.bits)


def constants(name: str) -> dict[str, Numbers]:
    """Every constant of a dtype under the name it has in the columns, in the order it has there."""
    form = FORMATS[name]
    bits = form.bits
    ln2, smallest = rounded(log(2), bits), mpf(2) ** (form.lowest - bits + 1)
    tanh_p, tanh_q = derive_tanh(form)
    return {
        "shift": [3 * mpf(2) ** (bits - 2)],
        "log2_e": [rounded(1 / log(2), bits)],
        "ln2": [ln2],
        "ln2_rest": [rounded(log(2) - ln2, bits)],
        "exp_highest": [ceil(log(mpf(2) ** (form.highest + 1)))],
        "exp_lowest": [floor(log(smallest / 2))],
        "exp_q": derive_exp(form),
        "tanh_highest": [floor(log(mpf(2) ** form.highest) / 2)],
        "tanh_split": [TANH_SPLIT],
        "tanh_p": tanh_p,
        "tanh_q": tanh_q,
        "tanh_scale": [mpf(2) ** (form.highest - bits - 7)],  # so that 1 + what is kept at tanh_highest is 1
        "smallest_normal": [mpf(2) ** form.lowest],
        "log_scale": [mpf(2) ** bits],
        "sqrt_half": [rounded(sqrt(mpf(1) / 2), bits)],
        "log_c": derive_log(form),
    }


COLUMNS = ["src/rnncore/_numpy/elementary.py", "src/rnncore/_numba/elementary.py", "cpp/column/elementary.hpp"]
NAME = r"(\w+)(?:\[\])? ?="
HEX = r"(-?0x[0-9a-f.]+p[+-]\d+)"


def written(text: str, names: Sequence[str]) -> list[tuple[str, list[float]]]:
    """The constants of a column as (name, values), in the order of the text: hex floats after `name =`."""
    found: list[tuple[str, list[float]]] = []
    for name, value in re.findall(f"{NAME}|{HEX}", text):
        if value:
            found[-1][1].append(float.fromhex(value))
        else:
            found.append((name, []))
    return [(name, values) for name, values in found if name in names and values]


def check(derived: list[tuple[str, list[float]]]) -> int:
    """Compare every column with the derived constants; print what differs and return how many columns do."""
    wrong = 0
    for column in COLUMNS:
        found = written((ROOT / column).read_text(), [name for name, _ in derived])
        wrong += found != derived
        print(f"{column}: {'differs' if found != derived else 'ok'}")
        for want, have in zip(derived, found, strict=False):
            if want != have:
                print("  derived", want[0], *map(shortest, want[1]))
                print("  written", have[0], *map(shortest, have[1]))
    return wrong


def shortest(value: float) -> str:
    """A hex float without the zeros at its end."""
    return re.sub(r"\.?0*p", "p", value.hex())


def main(arguments: list[str]) -> int:
    """Print the constants, or with --check compare the columns with them."""
    derived = [(name, [float(v) for v in values]) for dtype in FORMATS for name, values in constants(dtype).items()]
    if arguments == ["--check"]:
        return int(check(derived) > 0)
    for name, values in derived:
        print(name, "=", *map(shortest, values))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

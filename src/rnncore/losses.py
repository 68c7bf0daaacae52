"""The registry of losses: what the rest of the package must know of each, one row a loss."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """Describes a loss to the rest of the package; its equations are in the files of its name, one in each column.

    classes: whether a label may be a class, an integer in [0, V), with -1 for none; and, if not, a distribution, with a
    row of zeros for none. integers: whether other labels, V numbers a step, may be integers or booleans. highest: the
    largest number that a label may be; the least is then 0.
    """

    classes: bool = False
    integers: bool = False
    highest: float | None = None


LOSSES = {
    "cross_entropy": Loss(classes=True),
    "squared_error": Loss(),
    "binary_cross_entropy": Loss(integers=True, highest=1.0),
}
NUMBERS = {name: number for number, name in enumerate(LOSSES)}
"""How compiled code knows a loss."""

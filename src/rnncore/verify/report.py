"""What :func:`rnncore.verify` found: its rows, and how they print."""

from __future__ import annotations

from typing import NamedTuple


class Agreement(NamedTuple):
    """Compares a tensor of all engines with numpy's: how many bits differ, the largest difference, and where it is."""

    tensor: str
    bits: dict[str, int]
    largest: float
    where: str

    @property
    def ok(self) -> bool:
        """Return whether all bits are the same."""
        return not any(self.bits.values())


class Difference(NamedTuple):
    """Compares a tensor with central differences, or else what it should be: the element furthest from it, beside how
    far that may be.
    """

    tensor: str
    largest: float
    allowed: float
    where: str

    @property
    def ok(self) -> bool:
        """Return whether no element is further from what it should be than it may be."""
        return self.largest <= self.allowed


class Report:
    """Holds what :func:`verify` found: ``ok`` for all, and the rows in ``agreements`` and ``differences``.

    Printing it shows a table.
    """

    __slots__ = ("agreements", "differences", "net")

    def __init__(self, net: str, agreements: list[Agreement], differences: list[Difference]) -> None:
        self.net = net
        self.agreements = agreements
        self.differences = differences

    @property
    def ok(self) -> bool:
        """Return whether every row is."""
        return all(row.ok for row in self.agreements) and all(row.ok for row in self.differences)

    def bits(self, name: str) -> int:
        """Return in how many bits, in all tensors, an engine differs from numpy."""
        return sum(row.bits[name] for row in self.agreements)

    def __str__(self) -> str:
        return "\n".join([self.net, "", *self._agreement_lines(), "", *self._difference_lines()])

    def _agreement_lines(self) -> list[str]:
        names = list(self.agreements[0].bits)
        head = ["differing bits", *names, "largest difference", "where", "verdict"]
        rows = [
            [row.tensor, *(str(row.bits[name]) for name in names), f"{row.largest:.2g}", row.where, _verdict(row.ok)]
            for row in self.agreements
        ]
        return _table([head, *rows])

    def _difference_lines(self) -> list[str]:
        if not self.differences:
            return ["central differences: none, the loss is not finite"]
        head = ["central differences", "largest difference", "allowed", "where", "verdict"]
        rows = [
            [row.tensor, f"{row.largest:.2g}", f"{row.allowed:.2g}", row.where, _verdict(row.ok)]
            for row in self.differences
        ]
        return _table([head, *rows])

    def __repr__(self) -> str:
        return f"Report({self.net}, ok={self.ok})"


def _verdict(ok: bool) -> str:
    return "ok" if ok else "WRONG"


def _table(rows: list[list[str]]) -> list[str]:
    """Return lines of aligned columns: the first, and the last two, to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    left = {0, len(widths) - 1, len(widths) - 2}
    return [
        "  ".join(
            cell.ljust(width) if n in left else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

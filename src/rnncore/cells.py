"""The registry of cells: what the rest of the package must know of each, one row a cell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """gates: how many products of H rows each a step needs, stacked in W_xh, W_hh and b_h."""

    gates: int


CELLS = {
    "rnn": Cell(gates=1),
}


def shapes(cell: str, inputs: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a cell and their shapes, in the order in which they lie in ``Params.flat``."""
    rows = CELLS[cell].gates * hidden
    return {
        "W_xh": (rows, inputs),
        "W_hh": (rows, hidden),
        "W_hy": (outputs, hidden),
        "b_h": (rows,),
        "b_y": (outputs,),
    }

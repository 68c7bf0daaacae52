"""The registry of cells: what the rest of the package must know of each, one row a cell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """What is general in a cell; its equations are in the files of its name, one in each column.

    gates: a letter for each product of H rows that a step needs, in the order in which they are stacked in W_xh and
    W_hh. states: what a step hands to the next, h, which the outputs see, first. saved: what it keeps beside its
    states for the way back. apart: whether the recurrent part is more than one term of a sum; then it starts from a
    bias of its own, b_h, and the input part from b_x. late: how many gates, the last ones, read in place of h_{t-1}
    what the others make of it, which is the last of what is saved.
    """

    gates: str
    states: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ()
    apart: bool = False
    late: int = 0


CELLS = {
    "rnn": Cell(gates="z"),
    "rnn_relu": Cell(gates="z"),
    "lstm": Cell(gates="ifgo", states=("h", "c"), saved=("i", "f", "g", "o", "tanh_c")),
    "gru": Cell(gates="rzn", saved=("r", "z", "n", "u_n"), apart=True),
    "gru_reset_before": Cell(gates="rzn", saved=("r", "z", "n", "q"), apart=True, late=1),
}


def shapes(cell: str, inputs: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a cell and their shapes, in the order in which they lie in ``Params.flat``."""
    rows = len(CELLS[cell].gates) * hidden
    return {
        "W_xh": (rows, inputs),
        "W_hh": (rows, hidden),
        "W_hy": (outputs, hidden),
        **({"b_x": (rows,)} if CELLS[cell].apart else {}),
        "b_h": (rows,),
        "b_y": (outputs,),
    }


def rows_in_letters(cell: str) -> str:
    """G*H, the rows of W_xh and W_hh, as messages say it: H, 3H, 4H."""
    gates = len(CELLS[cell].gates)
    return "H" if gates == 1 else f"{gates}H"


def tape_shape(cell: str, steps: int, sequences: int, hidden: int) -> tuple[int, int, int, int]:
    """The tape, which keeps for the way back what h does not tell: (T, B, K, H rounded up to whole sixteens).

    Its K rows a step are the cell's states but h, then what it saves.
    """
    kept = len(CELLS[cell].states) - 1 + len(CELLS[cell].saved)
    return steps, sequences, kept, -(-hidden // 16) * 16

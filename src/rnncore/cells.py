"""The registry of cells: what the rest of the package must know of each, one row a cell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Describes a cell to the rest of the package; its equations are in the files of its name, one in each column.

    gates: a letter for each product of H rows that a step needs, in the order in which they are stacked in W_xh and
    W_hh. states: what a step hands to the next; h, which the outputs read, comes first. saved: what a step keeps for
    the way back, beside its states. own_recurrent_bias: whether the recurrent part is more than one term of a sum; it
    then starts from a bias of its own, b_h, and the input part starts from b_x. gates_after_reset: how many gates, the
    last ones, read q in place of h_{t-1}; the other gates make q first, and q is the last of what is saved.
    """

    gates: str
    states: tuple[str, ...] = ("h",)
    saved: tuple[str, ...] = ()
    own_recurrent_bias: bool = False
    gates_after_reset: int = 0

    @property
    def kept(self) -> int:
        """How many rows of the tape a step needs: its states but h, then what it saves."""
        return len(self.states) - 1 + len(self.saved)

    @property
    def splits(self) -> bool:
        """Whether the gradients with respect to the input part and to the recurrent part of a step differ."""
        return self.own_recurrent_bias and not self.gates_after_reset


CELLS = {
    "rnn": Cell(gates="z"),
    "rnn_relu": Cell(gates="z"),
    "lstm": Cell(gates="ifgo", states=("h", "c"), saved=("i", "f", "g", "o", "tanh_c")),
    "gru": Cell(gates="rzn", saved=("r", "z", "n", "u_n"), own_recurrent_bias=True),
    "gru_reset_before": Cell(gates="rzn", saved=("r", "z", "n", "q"), own_recurrent_bias=True, gates_after_reset=1),
}


def parts(layers: int, bidirectional: bool) -> list[str]:
    """Return what the names of the arrays of each part begin with.

    A part is one layer in one direction. They are counted in the order of use: layer by layer, forward before reverse.
    A net of one part needs no such names.
    """
    if layers == 1 and not bidirectional:
        return [""]
    ways = ("forward.", "reverse.") if bidirectional else ("",)
    return [f"layers.{layer}.{way}" for layer in range(layers) for way in ways]


def shapes(
    cell: str, inputs: int, hidden: int, outputs: int, layers: int = 1, bidirectional: bool = False
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a net's parameters by name, in the order in which they lie in ``Params.flat``.

    All matrices come first, in the order of use, then all biases.
    """
    rows, directions, prefixes = len(CELLS[cell].gates) * hidden, 1 + bidirectional, parts(layers, bidirectional)
    matrices, biases = {}, {}
    for part, prefix in enumerate(prefixes):
        matrices[f"{prefix}W_xh"] = rows, inputs if part < directions else directions * hidden
        matrices[f"{prefix}W_hh"] = rows, hidden
        if CELLS[cell].own_recurrent_bias:
            biases[f"{prefix}b_x"] = (rows,)
        biases[f"{prefix}b_h"] = (rows,)
    return {**matrices, "W_hy": (outputs, directions * hidden), **biases, "b_y": (outputs,)}


def rows_in_letters(cell: str) -> str:
    """Return G*H, the number of rows of W_xh and W_hh, as messages write it: H, 3H, 4H."""
    gates = len(CELLS[cell].gates)
    return "H" if gates == 1 else f"{gates}H"


def tape_shape(cell: str, steps: int, hidden: int) -> tuple[int, int, int]:
    """Return the shape of the tape: (N steps that exist, K, H rounded up to whole sixteens)."""
    return steps, CELLS[cell].kept, -(-hidden // 16) * 16

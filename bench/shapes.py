"""The cells and sizes that are timed, and what they cost.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

GATES = {"rnn": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}
"""How many products of H rows a step of each cell needs."""
SAME_COST = "rnncore rnn of the same cost"
TWO_CALLS = "rnncore forward, backward"
WITH_DINPUTS = "rnncore with dinputs"
SMALLEST = 16  # the sizes of a net of the same cost are multiples of that


@dataclass(frozen=True)
class Shape:
    """Sizes, in the order in which they are written, and a cell; with tokens, inputs are class numbers, not vectors."""

    name: str
    X: int
    H: int
    V: int
    B: int
    T: int
    tokens: bool = False
    about: str = ""
    cell: str = "rnn"

    @property
    def flops(self) -> int:
        """What a gradient computes in products, ``T B (g H (4 X + 6 H) + 6 H V)``; a multiply-add counts twice.

        g is how many gates the cell has. The hidden and the output part have three products: forward, back, and for the
        gradient of the weights. The input part has no way back. Tokens pick a column of W_xh where vectors have a
        product, so there X counts nothing.
        """
        return self.T * self.B * self.H * (GATES[self.cell] * (4 * self.columns + 6 * self.H) + 6 * self.V)

    @property
    def flops_of_dinputs(self) -> int:
        """``2 T B g H X``: what the gradient of the inputs costs beyond that, for who asks for it."""
        return 2 * self.T * self.B * GATES[self.cell] * self.H * self.columns

    @property
    def columns(self) -> int:
        """X, or with tokens nothing."""
        return 0 if self.tokens else self.X

    @property
    def sizes(self) -> str:
        """X,H,V,B,T."""
        return f"{self.X},{self.H},{self.V},{self.B},{self.T}"


STANDARD = (
    Shape("S0", 3, 4, 3, 1, 5, about="a tutorial's toy"),
    Shape("S1", 65, 100, 65, 1, 25, about="min-char-rnn"),
    Shape("S1t", 65, 100, 65, 1, 25, True, about="min-char-rnn, tokens"),
    Shape("S2", 10, 32, 4, 16, 50, about="small control task"),
    Shape("S3", 65, 128, 65, 32, 64, about="character model, batched"),
    Shape("S3t", 65, 128, 65, 32, 64, True, about="character model, batched, tokens"),
    Shape("S4", 128, 256, 128, 32, 100, about="medium"),
    Shape("S5", 256, 1024, 256, 64, 50, about="large"),
    Shape("S6", 256, 1024, 256, 1, 100, about="batch 1, memory-bound"),
    Shape("S7", 1, 64, 2, 256, 200, about="long time series"),
)
DTYPES = ("float32", "float64")


def named(names: str) -> list[Shape]:
    """The shapes of a comma-separated list; "tiny" is one for trying the programs out."""
    known = {shape.name: shape for shape in (*STANDARD, Shape("tiny", 3, 5, 4, 2, 3, about="to try the programs out"))}
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"shapes are {', '.join(known)}, got {', '.join(unknown)}")
    return [known[name] for name in wanted]


def cells(names: str) -> list[str]:
    """The cells of a comma-separated list."""
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in GATES]
    if unknown:
        raise ValueError(f"cells are {', '.join(GATES)}, got {', '.join(unknown)}")
    return wanted


def cell_of(row: dict[str, Any]) -> str:
    """Which cell a row of results is about; the oldest files know one only."""
    return str(row.get("cell", "rnn"))


def same_cost(shape: Shape) -> Shape:
    """A net of the cell "rnn" whose products cost as much: what one product can reach, several gates can be held to."""
    others = 4 * shape.columns + 6 * shape.V
    cost = shape.flops / (shape.T * shape.B)
    H = (math.sqrt(others**2 + 24 * cost) - others) / 12
    return replace(shape, cell="rnn", H=max(SMALLEST, SMALLEST * round(H / SMALLEST)))


def reduced(shape: Shape, flops: float) -> Shape:
    """The same net on fewer steps and then fewer sequences, for what is too slow for all of it."""
    T = max(min(shape.T, 2), int(shape.T * min(1.0, flops / shape.flops)))
    smaller = replace(shape, T=T)
    return replace(smaller, B=max(1, int(shape.B * min(1.0, flops / smaller.flops))))

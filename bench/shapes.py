"""The sizes that are timed, and what they cost.

T steps, B sequences, X inputs, H hidden units, V outputs.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Shape:
    """Sizes, in the order in which they are written; with tokens, the inputs are class numbers and not vectors."""

    name: str
    X: int
    H: int
    V: int
    B: int
    T: int
    tokens: bool = False
    about: str = ""

    @property
    def flops(self) -> int:
        """``6 T B (H (X + H) + H V)``: forward, backward and weight gradients, a multiplication and an addition each.

        Tokens pick a column of W_xh where vectors have a product, so there X counts nothing.
        """
        return 6 * self.T * self.B * self.H * ((0 if self.tokens else self.X) + self.H + self.V)

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


def reduced(shape: Shape, flops: float) -> Shape:
    """The same net on fewer steps and then fewer sequences, for what is too slow for all of it."""
    T = max(min(shape.T, 2), int(shape.T * min(1.0, flops / shape.flops)))
    smaller = replace(shape, T=T)
    return replace(smaller, B=max(1, int(shape.B * min(1.0, flops / smaller.flops))))

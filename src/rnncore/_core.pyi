"""What cpp/python/module.cpp binds. Arrays are those of problem.py.

forward, backward and bptt read arguments as the user gave them, and return None, before any work, where these are not
canonical.
"""

from typing import Any

from .types import Addresses, Array, Indices, Inputs, Labels, Mask, States

STANDARD_ROUNDING: int

class Net:
    """A net: the number of its cell, its sizes, and whether it reads tokens, 1, or vectors, 0; -1 is either."""

    def __init__(self, cell: int, X: int, H: int, V: int, layers: int, directions: int, tokens: int, /) -> None: ...

class Steps:
    """The steps of a batch whose sequences differ in length, or are reset; order: of arrays by rows, else None."""

    def __init__(
        self, lengths: Indices, T: int, packed: bool, one: bool, resets: Mask | None, order: Indices | None, /
    ) -> None: ...

class Options:
    """What is asked of a call; loss is a number, and threads as problem.hpp has it."""

    def __init__(self, need_dinputs: bool, last: bool, loss: int, threads: int, /) -> None: ...

class Stepper:
    """A net that is held from step to step; B is -1 of one sequence without an axis for it.

    step reads arguments as the user gave them, and returns None where they are not canonical.
    """

    def __init__(self, isa: int, net: Net, flat: Array, B: int, /) -> None: ...
    def step(self, x: Any, reset: Any, /) -> Array | None: ...
    def state(self) -> States: ...
    def put_state(self, state: States, /) -> None: ...
    def load(self, flat: Array, /) -> None: ...

def instruction_sets() -> list[tuple[str, int]]: ...
def compiled_sets() -> list[str]: ...
def cells() -> list[tuple[str, int, int, int, bool, int]]: ...
def set_rounding_mode(mode: int, /) -> int: ...
def looks() -> int: ...
def release_memory() -> int: ...
def tuning() -> tuple[int, int]: ...
def usable_cores() -> int: ...
def cores_of_quota(root: str, /) -> int: ...
def forward(
    isa: int,
    net: Net,
    flat: Array,
    inputs: Inputs,
    state: States,
    steps: Steps | Mask | None,
    options: Options,
    /,
) -> tuple[Array, Array, Array, States, Inputs, States, Mask | None] | None:
    """steps: or resets. Return y, h, the tape, the last states, and copies of the inputs, the states and the resets."""

def backward(
    isa: int,
    net: Net,
    flat: Array,
    kept: tuple[Inputs, States, Steps | None, Array, Array],
    given: tuple[Array | None, Array | None, States],
    options: Options,
    later: Array | None,
    /,
) -> tuple[Array, States, Array | None] | None:
    """kept: inputs, state, steps, h, the tape. given: dy, dh, dstate. later: of the steps after, the gradients with
    respect to flat."""

def module_forward(
    isa: int,
    net: Net,
    is_double: bool,
    shape: tuple[int, ...],
    at: Addresses,
    steps: Steps | None,
    options: Options,
    /,
) -> tuple[Array, ...]:
    """See _cpp.py."""

def module_backward(
    isa: int,
    net: Net,
    is_double: bool,
    shape: tuple[int, ...],
    at: Addresses,
    steps: Steps | None,
    options: Options,
    /,
) -> tuple[Any, ...]:
    """See _cpp.py."""

def gates(
    isa: int,
    net: Net,
    flat: Array,
    kept: tuple[Inputs, States, Steps | None, Array, Array],
    given: tuple[Array | None, Array | None, States],
    options: Options,
    states: bool,
    /,
) -> tuple[Array, States, Array | None]:
    """kept and given as in backward. The arguments are canonical, also in sums."""

def sums(
    isa: int,
    net: Net,
    flat: Array,
    kept: tuple[Inputs, States, Steps | None, Array, Array],
    given: tuple[Array | None, None, None],
    gates: Array,
    options: Options,
    first: int,
    end: int,
    /,
) -> tuple[Array, Array | None]:
    """first, end: of which sequences the gradients of each are wanted, as if it were the only one; -1: of all."""

def bptt(
    isa: int,
    net: Net,
    flat: Array,
    problem: tuple[Inputs, States, Steps | Mask | None],
    labels: Labels,
    checked: bool,
    options: Options,
    after: tuple[States, Array | None] | None,
    /,
) -> tuple[float, Array, int, Array, States, States, Array | None] | None:
    """problem: inputs, state, steps or resets. checked: whether labels but classes, and weights, have been. after: of
    the steps after these, the gradients with respect to the last states here, and to flat."""

def each(
    isa: int,
    net: Net,
    flat: Array,
    problem: tuple[Inputs, States, Steps | None],
    labels: Labels,
    options: Options,
    longest: float,
    /,
) -> tuple[float, Array, int, Array, States, States, Array | None, Array] | None:
    """As bptt, with the sum of the shortened gradients of sequences; and their lengths. The arguments are canonical."""

def outputs(
    isa: int, flat: Array, h: Array, labels: Labels, steps: Steps | None, options: Options, later: Array | None, /
) -> tuple[Array, int, Array, Array]:
    """flat: W_hy and b_y. later as in backward. The arguments are canonical."""

def loss(isa: int, number: int, y: Array, labels: Labels, steps: Steps | None, /) -> tuple[Array, Array]: ...
def softmax(isa: int, y: Array, /) -> Array: ...
def sample(
    isa: int, net: Net, flat: Array, first: Indices, state: States, uniforms: Array, temperature: float, /
) -> tuple[Indices, States]: ...
def norm(isa: int, x: Array, /) -> float: ...
def clip(isa: int, dx: Array, longest: float, limit: float, /) -> float: ...
def add_shortened(isa: int, total: Array, rows: Array, longest: float, /) -> Array: ...
def step(
    isa: int,
    rule: int,
    x: Array,
    dx: Array,
    memory: tuple[Array, ...],
    numbers: tuple[float, ...],
    scale: float,
    longest: float,
    limit: float,
    /,
) -> float: ...
def elementary(isa: int, name: str, x: Array, /) -> Array: ...

"""What cpp/module.cpp binds. Arrays are canonical: see backends.Engine."""

from .types import Array, Indices, Steps

STANDARD_ROUNDING: int

def instruction_sets() -> list[tuple[str, int]]: ...
def cells() -> list[tuple[str, int, int, int, bool, int]]: ...
def set_rounding_mode(mode: int, /) -> int: ...
def forward(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    inputs: Steps,
    state: Array,
    lengths: Indices | None,
    threads: int,
    /,
) -> tuple[Array, Array, Array, Array]: ...
def backward(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    inputs: Steps,
    h: Array,
    tape: Array,
    state: Array,
    lengths: Indices | None,
    dy: Array | None,
    dh: Array | None,
    dstate: Array | None,
    need_dinputs: bool,
    threads: int,
    /,
) -> tuple[Array, Array, Array | None]: ...
def bptt(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    inputs: Steps,
    labels: Steps,
    state: Array,
    lengths: Indices | None,
    need_dinputs: bool,
    threads: int,
    /,
) -> tuple[float, Array, Array, Array, Array, Array | None]: ...
def bptt_at_once(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    inputs: object,
    labels: object,
    state: object,
    need_dinputs: bool,
    threads: int,
    /,
) -> tuple[float, Array, Array, Array, Array, Array | None] | None: ...
def forward_at_once(
    isa: int, cell: int, X: int, H: int, V: int, flat: Array, inputs: object, state: object, threads: int, /
) -> tuple[Array, Array, Array, Array, Steps, Array] | None: ...
def backward_at_once(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    inputs: Steps,
    h: Array,
    tape: Array,
    state: Array,
    one: bool,
    dy: object,
    dh: object,
    dstate: object,
    need_dinputs: bool,
    threads: int,
    /,
) -> tuple[Array, Array, Array | None] | None: ...
def cross_entropy(isa: int, y: Array, labels: Steps, lengths: Indices | None, /) -> tuple[Array, Array]: ...
def softmax(isa: int, y: Array, /) -> Array: ...
def sample(
    isa: int,
    cell: int,
    X: int,
    H: int,
    V: int,
    flat: Array,
    first: Indices,
    state: Array,
    uniforms: Array,
    temperature: float,
    /,
) -> tuple[Indices, Array]: ...
def norm(isa: int, wide: bool, n: int, x: Array, /) -> float: ...
def clip(isa: int, wide: bool, n: int, dx: Array, longest: float, limit: float, /) -> float: ...
def step(
    isa: int,
    wide: bool,
    n: int,
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

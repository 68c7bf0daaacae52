"""Modules to try: every variant of a constructor, and every kind of input, as PyTorch's own samples have them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from nets import Array, Numbers

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, unpack_sequence  # noqa: E402

MODES = {
    "RNN_TANH": ("RNN", {}),
    "RNN_RELU": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
}
"""By PyTorch's ``mode``: the name of the class, and its arguments."""

CONSTRUCTORS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "two layers": {"num_layers": 2},
    "two directions": {"bidirectional": True},
    "all": {"num_layers": 2, "bidirectional": True, "batch_first": True},
    "all but bias": {"num_layers": 2, "bidirectional": True, "bias": False},
}
INPUTS = ("batch", "one", "sorted", "unsorted")
T, B, X, H = 5, 3, 2, 4
LENGTHS = {"sorted": [5, 5, 2], "unsorted": [2, 5, 4]}


@dataclass
class Case:
    """A call of a module, and dJ with respect to what it gives."""

    module: Any
    input: Any
    leaf: Any
    """The tensor that the input is made of."""
    states: tuple[Any, ...]
    by: list[Any]

    @property
    def hx(self) -> Any:
        if not self.states:
            return None
        return self.states if self.module.mode == "LSTM" else self.states[0]

    def call(self, module: Any = None) -> list[Any]:
        """The output, as a tensor, and the last states."""
        output, last = (module or self.module)(self.input, self.hx)
        output = output.data if isinstance(output, PackedSequence) else output
        return [output, *(last if isinstance(last, tuple) else (last,))]

    def results(self, module: Any = None) -> dict[str, Any]:
        """What the module gives, and all gradients, as float64 arrays by name."""
        module = module or self.module
        found = self.call(module)
        leaves = {"x": self.leaf, **dict(zip("hc", self.states, strict=False)), **dict(module.named_parameters())}
        loss = sum((tensor * gradient).sum() for tensor, gradient in zip(found, self.by, strict=True))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        named = dict(zip(("output", "h_n", "c_n"), found, strict=False))
        named |= {f"d{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
        return {name: tensor.detach().double().numpy() for name, tensor in named.items()}


def module_of(package: Any, mode: str, dtype: Any, **arguments: Any) -> Any:
    """A module with weights by ``Numbers``; biases are multiples of 2^-10, all positive, so that sums are exact."""
    name, own = MODES[mode]
    module, numbers = getattr(package, name)(X, H, dtype=dtype, **own, **arguments), Numbers(7)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            new = numbers.symmetric(0.6, *parameter.shape)
            new = np.ceil(abs(new) * 512) / 1024 if name.startswith("bias") else new
            parameter.copy_(torch.tensor(new.astype(np.float32)))
    return module


def case_of(module: Any, kind: str, states: bool = True) -> Case:
    """A call of a module with a kind of input."""
    numbers, dtype = Numbers(11), module.weight_ih_l0.dtype
    batch = () if kind == "one" else (B,)

    def tensor(*shape: int) -> Any:
        return torch.tensor(numbers.symmetric(1.0, *shape).astype(np.float32), dtype=dtype)

    first = module.batch_first and kind != "one"
    leaf = tensor(*((B, T) if first else (T, *batch)), X).requires_grad_()
    parts = module.num_layers * (1 + module.bidirectional)
    names = "hc" if module.mode == "LSTM" else "h"
    first_states = tuple(tensor(parts, *batch, H).requires_grad_() for _ in names) if states else ()
    input = leaf
    if kind in LENGTHS:
        input = pack_padded_sequence(leaf, torch.tensor(LENGTHS[kind]), module.batch_first, kind == "sorted")
    lead = (len(input.data),) if kind in LENGTHS else leaf.shape[:-1]
    by = [tensor(*lead, H * (1 + module.bidirectional)), *(tensor(parts, *batch, H) for _ in names)]
    return Case(module, input, leaf, first_states, by)


def sequences(case: Case, tensor: Any) -> list[Array]:
    """Numbers of each step, in the form of the output or of the input, by sequence (T_b, ...)."""
    array = tensor if isinstance(tensor, np.ndarray) else tensor.detach().double().numpy()
    if isinstance(case.input, PackedSequence):
        if len(array) == len(case.input.data) and array.ndim == 2:
            packed = case.input._replace(data=torch.tensor(array))
            return [one.numpy() for one in unpack_sequence(packed)]
        lengths = LENGTHS["sorted" if case.input.sorted_indices is None else "unsorted"]
    else:
        lengths = [T] * (1 if array.ndim == 2 else B)
    array = array[:, None] if array.ndim == 2 else array.swapaxes(0, 1) if case.module.batch_first else array
    return [array[:length, b] for b, length in enumerate(lengths)]

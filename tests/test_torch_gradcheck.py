"""Central differences agree with the gradients of rnncore.torch, and with the gradients of its gradients."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch_cases import MODES, case_of, module_of  # noqa: E402

import rnncore.torch as rt  # noqa: E402

VARIANTS = {
    "batch": ("batch", {}),
    "one": ("one", {"bias": False}),
    "sorted": ("sorted", {"bidirectional": True}),
    "unsorted": ("unsorted", {"num_layers": 2, "bidirectional": True}),
    "dropout": ("batch", {"num_layers": 2, "dropout": 0.5}),
}


def function_of(mode: str, variant: str) -> tuple[Any, tuple[Any, ...]]:
    """What a module gives, as a function of all that it reads."""
    kind, arguments = VARIANTS[variant]
    case = case_of(module_of(rt, mode, torch.float64, **arguments), kind)
    names = [name for name, _ in case.module.named_parameters()]

    def function(leaf: Any, *rest: Any) -> tuple[Any, ...]:
        states, weights = rest[: len(case.states)], rest[len(case.states) :]
        input = case.input
        if input is not case.leaf:
            lengths = {"sorted": [5, 5, 2], "unsorted": [2, 5, 4]}[kind]
            pack = torch.nn.utils.rnn.pack_padded_sequence
            input = pack(leaf, torch.tensor(lengths), case.module.batch_first, kind == "sorted")
        else:
            input = leaf
        torch.manual_seed(5)
        hx = states if mode == "LSTM" else states[0]
        output, last = torch.func.functional_call(case.module, dict(zip(names, weights, strict=True)), (input, hx))
        return (output.data if kind.endswith("sorted") else output, *(last if mode == "LSTM" else (last,)))

    weights = [parameter.detach().clone().requires_grad_() for parameter in case.module.parameters()]
    return function, (case.leaf, *case.states, *weights)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", MODES)
def test_gradients_and_their_gradients(mode: str, variant: str) -> None:
    function, leaves = function_of(mode, variant)
    assert torch.autograd.gradcheck(function, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def test_the_gradient_of_a_gradient_in_float32() -> None:
    """PyTorch's own LSTM has none here, since oneDNN computes it."""
    module = module_of(rt, "LSTM", torch.float32)
    x = torch.randn(4, 2, 2, requires_grad=True)
    (first,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    first.square().sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in module.parameters())


def test_the_third_gradient() -> None:
    module = module_of(rt, "GRU", torch.float64)

    def second(x: Any) -> Any:
        (first,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, (torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True),))

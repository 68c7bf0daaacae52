"""torch.compile takes the modules of rnncore.torch as one operator, without a break where PyTorch lets it, and with the
same bits."""

from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch_cases import MODES, Case, case_of, module_of  # noqa: E402

import rnncore.torch as rt  # noqa: E402

VARIANTS = {
    "plain": ("batch", {}),
    "all": ("batch", {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}),
    "one": ("one", {"num_layers": 2, "bias": False}),
}


@pytest.fixture
def dynamo() -> Any:
    dynamo = pytest.importorskip("torch._dynamo", reason="torch.compile does not work here")
    dynamo.reset()
    return dynamo


@pytest.fixture
def allow_rnn(dynamo: Any) -> Iterator[None]:
    if not hasattr(dynamo.config, "allow_rnn"):
        pytest.skip("this PyTorch always breaks the graph at an RNN")
    with dynamo.config.patch(allow_rnn=True):
        yield


def results(case: Case, call: Any) -> list[Any]:
    torch.manual_seed(2)
    output, last = call(case.leaf, case.hx)
    loss = sum(tensor.square().sum() for tensor in (output, *(last if isinstance(last, tuple) else (last,))))
    return [output, *torch.autograd.grad(loss, [case.leaf, *case.states, *case.module.parameters()])]


def around(module: Any) -> Any:
    """A model with something before the module and after it."""

    def call(x: Any, hx: Any) -> Any:
        output, last = module(2 * x, hx)
        return output.sin(), last

    return call


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mode", MODES)
def test_no_break(mode: str, variant: str, allow_rnn: None) -> None:
    """``fullgraph`` raises where there is one."""
    kind, arguments = VARIANTS[variant]
    case = case_of(module_of(rt, mode, torch.float32, **arguments), kind)
    model = around(case.module)
    expected = results(case, model)
    found = results(case, torch.compile(model, backend="aot_eager", fullgraph=True))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_gradients_do_not_share_memory(allow_rnn: None) -> None:
    """Those of two biases are equal, and what changes one in place leaves the other as it is."""
    module = module_of(rt, "LSTM", torch.float32)
    torch.compile(module, backend="aot_eager")(torch.ones(4, 3, 2))[0].sum().backward()
    before = module.bias_ih_l0.grad.clone()
    module.bias_hh_l0.grad.zero_()
    assert torch.equal(module.bias_ih_l0.grad, before)


@pytest.mark.parametrize("mode", MODES)
def test_otherwise_as_pytorchs(mode: str, dynamo: Any) -> None:
    """By default PyTorch leaves out its own modules and those derived from them: as many graphs, and our bits."""
    assert not getattr(dynamo.config, "allow_rnn", False)
    counts = []
    for package in (torch.nn, rt):
        dynamo.reset()
        case = case_of(module_of(package, mode, torch.float32), "batch")
        explained = dynamo.explain(around(case.module))(case.leaf, case.hx)
        counts.append((explained.graph_count, explained.graph_break_count))
    assert counts[0] == counts[1]
    dynamo.reset()
    model = around(case.module)
    expected = results(case, model)
    found = results(case, torch.compile(model, backend="aot_eager"))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_other_lengths(allow_rnn: None) -> None:
    """Of which PyTorch makes a graph for any length."""
    module = module_of(rt, "LSTM", torch.float32)
    compiled = torch.compile(around(module), backend="aot_eager", fullgraph=True)
    for length in (5, 7, 9):
        x = torch.randn(length, 3, 2)
        assert torch.equal(compiled(x, None)[0], around(module)(x, None)[0])


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch.compile looks at it after a break
@pytest.mark.parametrize("mode", MODES)
def test_packed_sequences_stay_outside(mode: str, allow_rnn: None) -> None:
    """With the bits of rnncore, not of PyTorch's own code."""
    case = case_of(module_of(rt, mode, torch.float32), "unsorted")
    packed = case.input._replace(data=case.input.data.detach())
    compiled = torch.compile(lambda packed, hx: case.module(packed, hx)[0].data * 2, backend="aot_eager")
    assert torch.equal(compiled(packed, case.hx), 2 * case.call()[0])


def test_the_operators(dynamo: Any) -> None:
    """PyTorch's own test of operators: schema, fake kernel, gradient."""
    case = case_of(module_of(rt, "LSTM", torch.float32, num_layers=2), "batch")
    arguments = (case.leaf, list(case.states), [], list(case.module.parameters()), "LSTM", 2, False, False)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.rnncore.forward.default, arguments, test_utils=tests)


@pytest.mark.parametrize(
    "weights",
    [
        [torch.zeros(12, 2), torch.zeros(9, 4)],
        [torch.zeros(12, 2), torch.zeros(12, 4, dtype=torch.float64)],
        [torch.zeros(12, 2, dtype=torch.float64), torch.zeros(12, 4, dtype=torch.float64)],
    ],
    ids=["shape", "dtype of one", "dtype of all"],
)
def test_weights_of_another_module_are_an_error(weights: list[torch.Tensor]) -> None:
    with pytest.raises(RuntimeError, match=r"weights of a GRU must have the shapes .* and the dtype torch.float32"):
        torch.ops.rnncore.forward(torch.zeros(4, 3, 2), [], [], weights, "GRU", 1, False, False)


def test_importing_sets_nothing(dynamo: Any) -> None:
    assert not getattr(dynamo.config, "allow_rnn", False)

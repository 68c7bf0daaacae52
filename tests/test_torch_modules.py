"""The modules of rnncore.torch are PyTorch's in all that is not arithmetic: what holds them notices no difference."""

import copy
import gc
import io
import pickle
import re
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils.rnn import PackedSequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402
from torch_cases import INPUTS, MODES, case_of, module_of  # noqa: E402

import rnncore  # noqa: E402
import rnncore.torch as rt  # noqa: E402
from rnncore.torch import modules  # noqa: E402

NAMES = ("RNN", "LSTM", "GRU")


@pytest.fixture
def lstm() -> Any:
    return module_of(rt, "LSTM", torch.float32)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch's threads take turns where other programs run, and cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def x() -> Any:
    return torch.linspace(-1, 1, 24).reshape(4, 3, 2)


def gradients(module: Any, x: Any) -> list[Any]:
    return list(torch.autograd.grad(module(x)[0].square().sum(), list(module.parameters())))


def same(found: Any, expected: Any) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_the_same_kind_of_module(mode: str) -> None:
    arguments = {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.1, "bidirectional": True}
    ours, own = (module_of(package, mode, torch.float64, **arguments) for package in (rt, torch.nn))
    assert isinstance(ours, type(own))
    assert repr(ours) == repr(own)
    assert ours.state_dict().keys() == own.state_dict().keys()
    ours.load_state_dict(own.state_dict())
    torch.manual_seed(1)
    ours.reset_parameters()
    torch.manual_seed(1)
    own.reset_parameters()
    assert same(ours.parameters(), own.parameters())


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_the_form_of_results(mode: str, kind: str) -> None:
    """Shapes, strides where they are PyTorch's, and PackedSequences with the same parts."""
    ours, own = (case_of(module_of(package, mode, torch.float32, batch_first=True), kind) for package in (rt, torch.nn))
    (output, last), (expected, last_expected) = ours.module(ours.input, ours.hx), own.module(own.input, own.hx)
    assert type(output) is type(expected)
    assert type(last) is type(last_expected)
    for a, b in zip(ours.call(), own.call(), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
    if isinstance(output, PackedSequence):
        assert all(a is b or torch.equal(a, b) for a, b in zip(output[1:], ours.input[1:], strict=True))


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("backend", ["cpp", "numpy"])
@pytest.mark.parametrize("mode", MODES)
def test_batch_first(mode: str, backend: str, B: int) -> None:
    """A module gives the same bits with the batch first as with the steps first, and its output is contiguous."""
    arguments = {"num_layers": 2, "bidirectional": True, "dropout": 0.5}
    found = []
    for first in (False, True):
        module = module_of(rt, mode, torch.float32, batch_first=first, **arguments)
        leaf = torch.linspace(-1, 1, 10 * B).reshape(5, B, 2)
        leaf = (leaf.transpose(0, 1).contiguous() if first else leaf).requires_grad_()
        torch.manual_seed(3)
        with rnncore.use_backend(backend):
            output, _ = module(leaf)
            by = torch.linspace(0, 1, output.numel()).reshape(5, B, -1)
            output.backward(by.transpose(0, 1) if first else by)
        assert output.is_contiguous()
        steps = [tensor.transpose(0, 1) if first else tensor for tensor in (output, leaf.grad)]
        found.append([*steps, *(weight.grad for weight in module.parameters())])
    assert same(*found)


def wrong(change: Callable[[Any], Any], kind: type[Exception], words: str) -> Any:
    return pytest.param(change, kind, words, id=words)


ERRORS = [
    wrong(lambda m: m(torch.zeros(2)), ValueError, "2D or 3D"),
    wrong(lambda m: m(torch.zeros(4, 3, 5)), RuntimeError, "input_size"),
    wrong(lambda m: m(torch.zeros(4, 3, 2, dtype=torch.float64)), ValueError, "dtype"),
    wrong(lambda m: m(torch.zeros(0, 3, 2)), RuntimeError, "larger than 0"),
    wrong(lambda m: m(torch.zeros(4, 3, 2), torch.zeros(1, 2, 4)), (RuntimeError, ValueError), ""),
    wrong(lambda m: m(torch.zeros(4, 2), torch.zeros(1, 1, 4)), (RuntimeError, ValueError), ""),
    wrong(lambda m: m(torch.zeros(4, 3, 2), torch.zeros(1, 3, 4, dtype=torch.float64)), RuntimeError, ""),
    wrong(lambda m: m("text"), AttributeError, ""),
]


@pytest.mark.parametrize(("call", "kind", "words"), ERRORS)
@pytest.mark.parametrize("mode", MODES)
def test_errors_are_those_of_pytorch(mode: str, call: Callable[[Any], Any], kind: Any, words: str) -> None:
    """The same type and the same words."""
    raised = []
    for package in (rt, torch.nn):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call(module_of(package, mode, torch.float32))
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]
    if mode != "LSTM":  # whose states are two
        assert issubclass(raised[0][0], kind)
        assert words in raised[0][1]


@pytest.mark.parametrize("name", NAMES)
def test_constructors_raise_as_pytorch_does(name: str) -> None:
    for arguments in ({"hidden_size": 0}, {"dropout": 2.0}, {"bias": 1}, {"num_layers": 0}, {"proj_size": 9}):
        raised = []
        for package in (rt, torch.nn):
            with pytest.raises((ValueError, TypeError)) as caught:
                getattr(package, name)(**{"input_size": 2, "hidden_size": 4, **arguments})
            raised.append((caught.type, str(caught.value)))
        assert raised[0] == raised[1]


def test_a_damaged_packed_sequence_is_an_error(lstm: Any) -> None:
    for sizes in ([3, 4], [2, 2], [3]):
        with pytest.raises((RuntimeError, ValueError)):
            lstm(PackedSequence(torch.zeros(5, 2), torch.tensor(sizes)))


@pytest.mark.parametrize("mode", MODES)
def test_no_sequences(mode: str) -> None:
    module = module_of(rt, mode, torch.float32)
    output, last = module(torch.zeros(4, 0, 2))
    assert output.shape == (4, 0, 4)
    assert (last[0] if mode == "LSTM" else last).shape == (1, 0, 4)


OTHERS = {
    "proj_size": lambda: rt.LSTM(2, 4, proj_size=3)(torch.zeros(4, 3, 2)),
    "the dtype torch.bfloat16": lambda: rt.GRU(2, 4, dtype=torch.bfloat16)(torch.zeros(4, 3, 2, dtype=torch.bfloat16)),
    "the device 'meta'": lambda: rt.RNN(2, 4, device="meta")(torch.zeros(4, 3, 2, device="meta")),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("reason", OTHERS)
def test_what_is_not_computed_here_pytorch_computes_with_one_warning(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "_warned", set())
    with pytest.warns(UserWarning, match=re.escape(f"does not compute {reason}")):
        OTHERS[reason]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OTHERS[reason]()


def test_autocast_and_forward_mode_are_pytorchs(x: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "_warned", set())
    module = module_of(rt, "GRU", torch.float32)
    with torch.autocast("cpu", torch.bfloat16), pytest.warns(UserWarning, match="autocast"):
        module(x)
    with torch.autograd.forward_ad.dual_level(), pytest.warns(UserWarning, match="forward-mode"):
        module(x)


def test_functional_gradients(lstm: Any, x: Any) -> None:
    def loss(weights: Any) -> Any:
        return torch.func.functional_call(lstm, weights, (x,))[0].square().sum()

    found = torch.func.grad(loss)(dict(lstm.named_parameters()))
    assert same(found.values(), gradients(lstm, x))


def test_copies(lstm: Any, x: Any) -> None:
    """By pickle, deepcopy and torch.save; of results, too."""
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    for other in (pickle.loads(pickle.dumps(lstm)), copy.deepcopy(lstm), torch.load(file, weights_only=False)):
        assert type(other) is rt.LSTM
        assert same(other(x)[0], lstm(x)[0])
        assert not set(map(id, other.parameters())) & set(map(id, lstm.parameters()))
    assert b"rnncore.torch" in pickle.dumps(lstm)
    assert b"rnncore.torch.modules" not in pickle.dumps(lstm)


@pytest.mark.parametrize("what", ["output", "weight"])
def test_what_was_changed_in_place_is_an_error(lstm: Any, x: Any, what: str) -> None:
    output, _ = lstm(x)
    if what == "output":
        output.mul_(2)
    else:
        with torch.no_grad():
            lstm.weight_ih_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_gradients_may_be_changed_in_place(lstm: Any, x: Any) -> None:
    """Those of two biases are equal, and lie apart."""
    lstm(x)[0].square().sum().backward()
    before = [parameter.grad.clone() for parameter in lstm.parameters()]
    for parameter in lstm.parameters():
        parameter.grad.mul_(2)
    assert same([parameter.grad for parameter in lstm.parameters()], [2 * gradient for gradient in before])
    lstm(x)[0].square().sum().backward()
    assert same([parameter.grad for parameter in lstm.parameters()], [3 * gradient for gradient in before])


def test_the_tape_is_freed(lstm: Any, x: Any) -> None:
    """With the graph's saved tensors: by backward, even if the loss lives on; and there is none without gradients."""
    saved = []

    def pack(tensor: Any) -> Any:
        saved.append(weakref.ref(tensor))
        return tensor

    def tapes() -> list[Any]:
        alive = [ref() for ref in saved if ref() is not None]
        return [tuple(tensor.shape) for tensor in alive if tensor.shape[-1:] == (16,) and tensor.dim() == 3]

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = lstm(x)[0].square().sum()
    assert tapes() == [(12, 6, 16)]  # H rounded up
    loss.backward()
    gc.collect()
    assert tapes() == []
    count = len(saved)
    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        assert lstm(x)[0].grad_fn is None
    assert len(saved) == count


def test_frozen_weights(lstm: Any, x: Any) -> None:
    expected = gradients(lstm, x)
    lstm.weight_hh_l0.requires_grad_(False)
    lstm(x)[0].square().sum().backward()
    assert lstm.weight_hh_l0.grad is None
    assert same([lstm.weight_ih_l0.grad, lstm.bias_hh_l0.grad], [expected[0], expected[3]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backend", ["cpp", "numpy"])
@pytest.mark.parametrize("kind", [lambda w: w.T.contiguous().T if w.dim() == 2 else w, lambda w: torch._neg_view(-w)])
def test_weights_that_lie_otherwise(mode: str, backend: str, kind: Callable[[Any], Any], x: Any) -> None:
    """Transposed, or with a sign that PyTorch only notes."""
    module = module_of(rt, mode, torch.float32)
    leaves = {name: kind(weight.detach()).requires_grad_() for name, weight in module.named_parameters()}
    with rnncore.use_backend(backend):
        output, _ = torch.func.functional_call(module, leaves, (x,))
    assert same([output], [module(x)[0]])
    assert same(torch.autograd.grad(output.square().sum(), list(leaves.values())), gradients(module, x))


def test_a_weight_may_lie_elsewhere_in_backward(lstm: Any, x: Any) -> None:
    expected = gradients(lstm, x)
    output, _ = lstm(x)
    for parameter in lstm.parameters():
        parameter.data = parameter.data.clone()
    gc.collect()
    assert same(torch.autograd.grad(output.square().sum(), list(lstm.parameters())), expected)


def test_hooks(lstm: Any, x: Any) -> None:
    seen = []
    lstm.register_forward_hook(lambda module, inputs, output: seen.append("forward"))
    lstm.weight_ih_l0.register_hook(lambda gradient: seen.append("weight"))
    output, _ = lstm(x)
    output.register_hook(lambda gradient: seen.append("output"))
    output.sum().backward()
    assert seen == ["forward", "output", "weight"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(lstm: Any, reentrant: bool) -> None:
    found = []
    for call in (lambda z: lstm(z)[0], lambda z: checkpoint(lambda y: lstm(y)[0], z, use_reentrant=reentrant)):
        leaf = torch.linspace(-1, 1, 24).reshape(4, 3, 2).requires_grad_()
        call(leaf).square().sum().backward()
        found.append(leaf.grad)
    assert same(found[:1], found[1:])


def test_weight_norm(x: Any) -> None:
    """It puts computed weights in the place of parameters, before or after ``replace_``."""
    made = []
    for replace in ("before", "after", "never"):
        module = module_of(torch.nn, "LSTM", torch.float64)
        if replace == "before":
            assert rt.replace_(module) == 1
        torch.nn.utils.parametrizations.weight_norm(module, "weight_hh_l0")
        if replace == "after":
            assert rt.replace_(module) == 1
        assert isinstance(module, rt.LSTM) == (replace != "never")
        made.append(gradients(module, x.double()))
    assert same(made[0], made[1])
    assert max(float((a - b).abs().max()) for a, b in zip(made[0], made[2], strict=True)) < 1e-13  # eight steps


def test_scripts_and_traces_are_pytorchs(lstm: Any, x: Any) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = lstm

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.lstm(x)[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are deprecated
        scripted, traced = torch.jit.script(Model()), torch.jit.trace(Model(), (x,))
    own = module_of(torch.nn, "LSTM", torch.float32)(x)[0]
    assert same([scripted(x), traced(x)], [own, own])


def test_a_class_of_the_users_own(x: Any) -> None:
    """Derived from a module of rnncore.torch."""

    class Own(rt.LSTM):
        def forward(self, input: Any, hx: Any = None) -> Any:
            output, last = super().forward(input, hx)
            return 2 * output, last

    torch.manual_seed(0)
    own = Own(2, 4)
    torch.manual_seed(0)
    assert torch.equal(own(x)[0], 2 * rt.LSTM(2, 4)(x)[0])
    assert rt.replace_(own) == 0


class Squares(torch.utils.data.Dataset):  # type: ignore[misc]
    """Calls a module in a worker."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        with torch.no_grad():
            return self.module(torch.full((300, 8, 2), float(index)))[0]


def test_workers_after_fork() -> None:
    """Also where the parent has had threads at work."""
    module = module_of(rt, "GRU", torch.float32, num_layers=2)
    expected = [Squares(module)[index] for index in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a process with threads forks
        loader = torch.utils.data.DataLoader(
            Squares(module), batch_size=None, num_workers=1, multiprocessing_context="fork"
        )
        assert same(list(loader), expected)


def test_replace() -> None:
    """In place: parameters, hooks and optimizers stay; a class of the user's own stays as well."""

    class Own(torch.nn.LSTM):
        pass

    inner = torch.nn.LSTM(2, 4)
    model = torch.nn.ModuleList([inner, torch.nn.Sequential(torch.nn.RNN(2, 4), torch.nn.GRU(2, 4)), inner, Own(2, 4)])
    before = [id(parameter) for parameter in model.parameters()]
    assert rt.replace_(model) == 3
    assert rt.replace_(model) == 0
    assert [id(parameter) for parameter in model.parameters()] == before
    assert type(inner) is rt.LSTM
    assert type(model[3]) is Own
    assert type(model[1][1]) is rt.GRU
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        rt.replace_([inner])


def test_training_as_before(one_thread: None) -> None:
    """A hundred steps of Adam on a model whose one line has changed: the same losses within rounding, which is 2^-53 at
    first and grows from step to step; 10^-9 is far from it, and farther from what a fault would do."""
    losses = []
    for replaced in (False, True):
        torch.manual_seed(0)
        model = torch.nn.LSTM(3, 8, num_layers=2, dropout=0.2).double()
        linear = torch.nn.Linear(8, 2).double()
        if replaced:
            rt.replace_(model)
        optimizer = torch.optim.Adam([*model.parameters(), *linear.parameters()], 0.01)
        random, trained = torch.Generator().manual_seed(1), []
        for _ in range(100):
            x = torch.randn(7, 5, 3, generator=random, dtype=torch.float64)
            loss = (linear(model(x)[0]) - x[..., :2].cumsum(0)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trained.append(float(loss.detach()))
        losses.append(trained)
    assert np.allclose(*losses, rtol=1e-9)
    assert losses[1][-1] < 0.7 * losses[1][0]

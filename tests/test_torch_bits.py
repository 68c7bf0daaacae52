"""The modules of rnncore.torch have rnncore's bits: those of forward, backward and bptt, whatever the threads, the
batch and the kind of backward pass."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils.rnn import PackedSequence  # noqa: E402
from torch_cases import INPUTS, MODES, Case, case_of, module_of, sequences  # noqa: E402

import rnncore  # noqa: E402
import rnncore.torch as rt  # noqa: E402
from rnncore._numpy.linear import product  # noqa: E402

SIZES = {"plain": {}, "all": {"num_layers": 2, "bidirectional": True}}
DTYPES = ("float32", "float64")


def equal(found: Any, expected: Any) -> None:
    """To the last bit; and the signs of zeros."""
    for a, b in zip(found, expected, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(np.signbit(a), np.signbit(b))


def arrays(tensors: Any) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("arguments", SIZES)
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_forward_and_backward(mode: str, kind: str, arguments: str, dtype: str) -> None:
    """Of a list of sequences in the order of the user's batch."""
    case = case_of(module_of(rt, mode, getattr(torch, dtype), **SIZES[arguments]), kind)
    params, results = rnncore.Params.from_torch(case.module), case.results()
    xs, dhs = sequences(case, case.leaf), sequences(case, case.by[0])
    states, dstates = (as_ours(case, tensors) for tensors in (case.states, case.by[1:]))
    out = rnncore.forward(params, xs, state=states)
    back = rnncore.backward(params, out, dh=dhs, dstate=dstates, need_dinputs=True)
    equal(sequences(case, results["output"]), out.h)
    equal(sequences(case, results["dx"]), back.dinputs)
    for names, ours in ((("h_n", "c_n"), out.state), (("dh", "dc"), back.dstate)):
        ours = ours if isinstance(ours, tuple) else (ours,)
        equal([results[name] for name in names[: len(ours)]], [a.reshape(case.by[1].shape) for a in ours])
    equal(*gradients_by_torch_names(case, results, back.grads))


def as_ours(case: Case, tensors: Any) -> Any:
    """States as rnncore takes them, of a list of sequences."""
    parts, hidden = tensors[0].shape[0], tensors[0].shape[-1]
    shape = (-1, hidden) if parts == 1 else (parts, -1, hidden)
    found = tuple(array.reshape(shape) for array in arrays(tensors))
    return found if len(found) > 1 else found[0]


def gradients_by_torch_names(case: Case, results: Any, grads: rnncore.Params) -> tuple[list[Any], list[Any]]:
    found, expected = [], []
    module = case.module
    for layer, of_layer in enumerate(grads.layers):
        for way in ("forward", "reverse")[: 1 + module.bidirectional]:
            part = getattr(of_layer, way) if module.bidirectional else of_layer
            suffix = f"_l{layer}" + "_reverse" * (way == "reverse")
            found += [results[f"d{name}{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            expected += [part.W_xh, part.W_hh, part.b_x if module.mode == "GRU" else part.b_h, part.b_h]
    return found, expected


@pytest.mark.parametrize("mode", MODES)
def test_bptt(mode: str) -> None:
    """Of a network with an output layer, from which dh comes as the definition has it: W_hy^T dy."""
    module = module_of(rt, mode, torch.float64)
    linear, (T, B) = torch.nn.Linear(4, 3, dtype=torch.float64), (6, 3)
    params = rnncore.Params.from_torch(module, linear)
    x, labels = torch.randn(T, B, 2, dtype=torch.float64), np.arange(T * B).reshape(T, B) % 3
    result = rnncore.bptt(params, x.numpy(), labels)
    h, _ = module(x)
    out = rnncore.forward(params, x.numpy())
    equal([h.detach().numpy()], [out.h])
    _, dy = rnncore.cross_entropy(out.y, labels)
    back = rnncore.backward(params, out, dy=dy)
    equal([back.grads.flat], [result.grads.flat])
    h.backward(torch.from_numpy(np.stack([product(np.zeros((B, 4)), dy_t, params.W_hy.T) for dy_t in dy])))
    equal([module.weight_hh_l0.grad.numpy(), module.weight_ih_l0.grad.numpy()], [result.grads.W_hh, result.grads.W_xh])


@pytest.mark.parametrize("mode", MODES)
def test_any_number_of_threads(mode: str) -> None:
    module, before = module_of(rt, mode, torch.float32, num_layers=2), torch.get_num_threads()
    x, found = torch.randn(400, 64, 2), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(arrays(torch.autograd.grad(module(x)[0].square().sum(), list(module.parameters()))))
    finally:
        torch.set_num_threads(before)
    equal(*found)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_sequence_has_its_bits_in_any_batch(mode: str, kind: str) -> None:
    case = case_of(module_of(rt, mode, torch.float32, bidirectional=True), kind, states=False)
    together = sequences(case, case.results()["output"])
    alone = [case.module(torch.tensor(x, dtype=torch.float32))[0] for x in sequences(case, case.leaf)]
    equal([array.astype(np.float32) for array in together], arrays(alone))


@pytest.mark.parametrize("backend", ["numpy", rnncore.backends()[0]])
@pytest.mark.parametrize("mode", MODES)
def test_sequences_of_one_length_in_any_order(mode: str, backend: str) -> None:
    """A PackedSequence may have them so; the sums have the order of the user's batch."""
    module, sizes = module_of(rt, mode, torch.float32, bidirectional=True), [5, 5, 4, 2, 2]
    x, found = torch.randn(len(sizes), 5, 2), []
    for order in ([1, 3, 0, 4, 2], [3, 1, 4, 0, 2], [1, 3, 4, 0, 2]):
        data = torch.cat([x[t, order[:size]] for t, size in enumerate(sizes)])
        numbers = torch.tensor(order)
        with rnncore.use_backend(backend):
            output, last = module(PackedSequence(data, torch.tensor(sizes), numbers, torch.argsort(numbers)))
            loss = output.data.square().sum() + sum(state.sum() for state in as_tuple(last))
            gradients = torch.autograd.grad(loss, list(module.parameters()))
        found.append(arrays([*as_tuple(last), *gradients]))
    equal(*found[:2])
    equal(*found[1:])


def as_tuple(states: Any) -> tuple[Any, ...]:
    return states if isinstance(states, tuple) else (states,)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_backward_again(mode: str, kind: str) -> None:
    """``retain_graph``, twice; ``create_graph``, whose first gradients are the same."""
    case = case_of(module_of(rt, mode, torch.float32, num_layers=2, dropout=0.5), kind)
    loss, leaves = sum(tensor.square().sum() for tensor in case.call()), [case.leaf, *case.module.parameters()]
    first, second = (arrays(torch.autograd.grad(loss, leaves, retain_graph=True)) for _ in range(2))
    third = arrays(torch.autograd.grad(loss, leaves, create_graph=True))
    equal(first, second)
    equal(first, third)


def test_backends() -> None:
    """``use_backend`` chooses for a module as for a call."""
    module, found = module_of(rt, "LSTM", torch.float32, num_layers=2), []
    for name in ("numpy", rnncore.backends()[0]):
        case = case_of(module, "unsorted")
        with rnncore.use_backend(name):
            found.append(list(case.results().values()))
    equal(*found)

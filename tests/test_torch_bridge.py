"""The modules of rnncore.torch compute what PyTorch's do: outputs, states and gradients are within the bounds of
correct implementations, for every variant."""

from typing import Any

import numpy as np
import pytest
from stack_rounding import GruOfTorch, Stack, stack_bounds

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch_cases import CONSTRUCTORS, INPUTS, MODES, Case, case_of, module_of, sequences  # noqa: E402

import rnncore.torch as rt  # noqa: E402
from rnncore.convert.torch import MODES as CELLS_OF  # noqa: E402

UNITS = {"float32": 2.0**-24, "float64": 2.0**-53}


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("arguments", CONSTRUCTORS)
@pytest.mark.parametrize("mode", MODES)
def test_numbers(mode: str, arguments: str, kind: str, dtype: str) -> None:
    """Beside PyTorch in float64: whose errors, of 2^-53, count beside ours of 2^-53, and not beside those of 2^-24."""
    case = case_of(module_of(rt, mode, getattr(torch, dtype), **CONSTRUCTORS[arguments]), kind)
    double = case_of(module_of(torch.nn, mode, torch.float64, **CONSTRUCTORS[arguments]), kind)
    allowed = bounds_of(double, UNITS[dtype])
    if dtype == "float64":
        theirs = bounds_of(double, UNITS[dtype], GruOfTorch if mode == "GRU" else None)
        allowed = {name: bound + theirs[name] for name, bound in allowed.items()}
    compare(case, case.results(), double.results(), allowed)


@pytest.mark.parametrize("mode", MODES)
def test_no_initial_states(mode: str) -> None:
    """They are zeros."""
    module = module_of(rt, mode, torch.float64, num_layers=2)
    without, zeros = case_of(module, "unsorted", states=False), case_of(module, "unsorted")
    without.by = zeros.by
    for state in zeros.states:
        state.data.zero_()
    found, expected = without.results(), zeros.results()
    assert expected.keys() - found.keys() == ({"dh", "dc"} if mode == "LSTM" else {"dh"})
    assert all(np.array_equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("mode", MODES)
def test_dropout(mode: str, kind: str) -> None:
    """The masks are drawn by PyTorch's generator, as PyTorch draws them: each of half of its numbers twice as large."""
    arguments = {"num_layers": 2, "bidirectional": True, "dropout": 0.5}
    case = case_of(module_of(rt, mode, torch.float64, **arguments), kind)
    own = case_of(module_of(torch.nn, mode, torch.float64, **arguments), kind)
    torch.manual_seed(3)
    mask = torch.empty_like(own.by[0]).bernoulli_(0.5).mul_(2)
    allowed = bounds_of(own, UNITS["float64"], None, mask)
    theirs = bounds_of(own, UNITS["float64"], GruOfTorch if mode == "GRU" else None, mask)
    torch.manual_seed(3)
    found = case.results()
    torch.manual_seed(3)
    compare(case, found, own.results(), {name: bound + theirs[name] for name, bound in allowed.items()})


def bounds_of(case: Case, u: float, form: Any = None, mask: Any = None) -> dict[str, Any]:
    """By the names of ``Case.results``; the steps by sequence."""
    module = case.module
    states, dstates = (
        tuple(t.detach().numpy() if t.dim() == 3 else t.detach().numpy()[:, None] for t in tensors)
        for tensors in (case.states, case.by[1:])
    )
    suffixes = [f"_l{n}{way}" for n in range(module.num_layers) for way in ("", "_reverse")[: 1 + module.bidirectional]]
    masks = [] if mask is None else [sequences(case, mask)]
    by, x = sequences(case, case.by[0]), sequences(case, case.leaf)
    parts = [weights_of(module, suffix) for suffix in suffixes]
    stack = Stack(CELLS_OF[module.mode], 1 + module.bidirectional, parts, x, states, masks, by, dstates)
    found = stack_bounds(stack, u, form)
    named = {"output": np.concatenate(found["output"]), "dx": np.concatenate(found["dx"])}
    for letter, state, dstate in zip("hc", found["state"], found["dstate"], strict=False):
        named |= {f"{letter}_n": state.reshape(case.by[1].shape), f"d{letter}": dstate.reshape(case.by[1].shape)}
    for suffix, weights in zip(suffixes, found["weights"], strict=True):
        named |= {f"dweight_ih{suffix}": weights["W_xh"], f"dweight_hh{suffix}": weights["W_hh"]}
        if module.bias:
            named |= {f"dbias_ih{suffix}": weights["b_x"], f"dbias_hh{suffix}": weights["b_h"]}
    return named


def weights_of(module: Any, suffix: str) -> dict[str, Any]:
    """By rnncore's names; of cells with one bias the sum of both."""
    W_ih, W_hh = (getattr(module, f"weight_{kind}{suffix}").detach().numpy() for kind in ("ih", "hh"))
    none = np.zeros(len(W_ih))
    b_ih, b_hh = (
        getattr(module, f"bias_{kind}{suffix}").detach().numpy() if module.bias else none for kind in ("ih", "hh")
    )
    biases = {"b_x": b_ih, "b_h": b_hh} if module.mode == "GRU" else {"b_h": b_ih + b_hh}
    return {"W_xh": W_ih, "W_hh": W_hh, **biases}


def compare(case: Case, found: Any, expected: Any, allowed: Any) -> None:
    """1 % more than the bounds, for the terms in u^2."""
    assert found.keys() == expected.keys() == allowed.keys()
    for name, bound in allowed.items():
        error = abs(found[name] - expected[name])
        if name in ("output", "dx"):
            error = np.concatenate(sequences(case, error))
        assert error.shape == bound.shape, name
        assert (error <= 1.01 * bound).all(), (name, (error / np.maximum(bound, 1e-300)).max())

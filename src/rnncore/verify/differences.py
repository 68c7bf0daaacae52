"""The gradient beside central differences of J, and what is made of gradients beside what it should be, in float64."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..engines import Engine, Forward, current
from ..problem import as_tuple, with_masks
from ..types import AnyArray, Array
from ..windows import window_of
from .case import Case, Tensors, by_state, in_float64, tensors_of
from .functions import Windows, by_function, by_losses
from .noise import forward_noise, function_noise, loss_noise
from .own import Function, Own, asked, number, out_of
from .report import Difference
from .sequences import beside, of_each_sequence
from .slopes import Evaluate, Slopes, Variable


def differences(case: Case) -> list[Difference]:
    """Return the comparison of every gradient with what it should be; nothing if the loss is not finite."""
    wide, by = in_float64(case), current(None)
    if isinstance(wide.loss, str):
        return _of_losses(by, wide)
    return _of_function(by, wide, wide.loss)


def _of_losses(by: Engine, case: Case) -> list[Difference]:
    tensors, params = tensors_of(by, case, 1, None), case.params
    if not np.isfinite(tensors["loss"]):
        return []
    k = window_of(params._net, case.batch, case.asked.truncate)
    windows = None if k is None else Windows(by, case, k)
    rows = [] if windows is None else [_losses_of_windows(case, windows, tensors["losses"])]
    variables = _variables(case, tensors)
    moving = variables
    if case.asked.per_sequence is not False:
        each = _gradients_of_sequences(by, case)
        rows += of_each_sequence(case, tensors, each.gradient)
        moving = [each, *(variable for variable in variables if not variable.name.startswith("grads."))]
        variables = moving if case.asked.per_sequence == "clipped" else [each, *variables]
    evaluate: Evaluate = windows or functools.partial(by_losses, by, case)
    slopes = Slopes(evaluate, forward_noise(case, moving) + loss_noise(case, tensors), case.place)
    return rows + [slopes.difference(variable) for variable in variables]


def _gradients_of_sequences(by: Engine, case: Case) -> Variable:
    """Return the parameters, once for each sequence but the same numbers, beside the gradients of the sequences."""
    rows = case._replace(asked=case.asked._replace(per_sequence=True, clip_norm=None))
    each, flat = tensors_of(by, rows, 1, None)["per_sequence.grads"], case.params.flat
    x = np.lib.stride_tricks.as_strided(flat, each.shape, (0, flat.itemsize))
    return Variable("per_sequence.grads", x, each, of_each=True)


def _of_function(by: Engine, case: Case, function: Function) -> list[Difference]:
    forward = case.forward(by)
    own = asked(function, forward)
    if not math.isfinite(own.J):
        return []
    variables = _variables(case, tensors_of(by, case, 1, own))
    y, h, last, kept = forward
    results = y, h.copy(), tuple(state.copy() for state in as_tuple(last))
    again: Forward = results[0], _read_only(results[1]), results[2] if len(results[2]) > 1 else results[2][0], kept
    given = _given(case, own, results)
    noise = forward_noise(case, variables) + function_noise(function, own, again, given)
    slopes = Slopes(functools.partial(by_function, by, case, function), noise, case.place)
    direct = Slopes(lambda: (np.array([number(function(out_of(again))[0])]), np.zeros(0, bool)), noise, case.place)
    return [direct.difference(variable) for variable in given] + [slopes.difference(v) for v in variables]


def _variables(case: Case, tensors: Tensors) -> list[Variable]:
    """Return all that J is a function of, beside the gradients that were found; not what is empty."""
    x, params = with_masks(case.batch.inputs)[0], case.params
    arrays = {f"grads.{name}": params[name] for name in params} | by_state("dstate", params, case.batch.state)
    if case.vectors:
        arrays["dinputs"] = x
    return [Variable(name, array, tensors[name]) for name, array in arrays.items() if array.size]


def _given(case: Case, own: Own, results: tuple[Array, Array, tuple[Array, ...]]) -> list[Variable]:
    """Return the results of forward, of which a user's loss is a function, beside the gradients that it gave."""
    y, h, last = results
    dy, dh, dstate = own.gradients
    states = last if len(last) > 1 else last[0]
    arrays = {"loss: dy": (y, dy), "loss: dh": (h, dh)}
    gradients = dict.fromkeys(by_state("loss: dstate", case.params, states))
    gradients |= {} if dstate is None else by_state("loss: dstate", case.params, dstate)
    arrays |= {name: (x, gradients[name]) for name, x in by_state("loss: dstate", case.params, states).items()}
    return [
        Variable(name, x, np.zeros_like(x) if gradient is None else gradient)
        for name, (x, gradient) in arrays.items()
        if x.size
    ]


def _read_only(array: AnyArray) -> AnyArray:
    view = array.view()
    view.flags.writeable = False
    return view


def _losses_of_windows(case: Case, windows: Windows, losses: Array) -> Difference:
    """Return the losses at the ends of windows beside those of the call, which are the same to the bit."""
    found = losses.copy()
    found.reshape(-1)[windows.at] = windows.losses()[0]
    return beside(case, "losses", losses, found, np.zeros_like(losses))

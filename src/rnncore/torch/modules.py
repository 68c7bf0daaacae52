"""RNN, LSTM and GRU: PyTorch's own modules, computed by rnncore."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch._compile import _disable_dynamo
from torch.nn.utils.parametrize import is_parametrized

from . import operators
from .autograd import call
from .plans import Refused, as_module_has_it, plan_of, read


class Computed(torch.nn.RNNBase):
    """Computes the module that the next class is, PyTorch's own."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output and the last states, as PyTorch's module does: of x (T, B, X), h (T, B, D*H)."""
        if torch.compiler.is_compiling():
            return self._forward_of_graph(input, hx)
        if _traced_from_here() is not None:  # torch.compile has left this module out, and would go on within it
            return _outside_of_graphs(self._forward, input, hx)
        return self._forward(input, hx)

    def _forward(self, input: Any, hx: Any) -> Any:
        """Return the same outside of graphs."""
        found = Refused("") if torch._C._get_tracing_state() else read(self, input, hx)
        if isinstance(found, Refused):
            return self._forward_of_torch(input, hx, found.reason)
        given, weights = found
        plan = plan_of(self, input, given[0], weights)
        if plan is None:
            return self._forward_of_torch(input, hx, "")
        return as_module_has_it(self, input, call(plan, given, weights))

    def _forward_of_torch(self, input: Any, hx: Any, reason: str) -> Any:
        """Return what PyTorch's own code computes, or raise what it raises; warn once if rnncore lacks something."""
        found = super().forward(input, hx)
        if reason and reason not in _warned:
            _warned.add(reason)
            warnings.warn(f"rnncore.torch does not compute {reason}: PyTorch's own code does", UserWarning, 3)
        return found

    def _forward_of_graph(self, input: Any, hx: Any) -> Any:
        """Return the same by an operator, which torch.compile puts into its graph."""
        if torch.compiler.is_exporting():
            return super().forward(input, hx)
        if isinstance(input, torch.nn.utils.rnn.PackedSequence):
            return _outside_of_graphs(self._forward, input, hx)
        found = read(self, input, hx)
        if isinstance(found, Refused):
            return super().forward(input, hx)
        batch_first = self.batch_first and input.dim() == 3
        results = operators.call(self.mode, self.num_layers, self.bidirectional, batch_first, *found)
        return as_module_has_it(self, input, results)

    def __prepare_scriptable__(self) -> torch.nn.Module:
        """Return the module as torch.jit.script takes it: PyTorch's own, of the same weights."""
        if type(self) not in OWN:  # a user's class, whose code may be another
            return self
        plain = copy.copy(self)
        plain.__class__ = OWN[type(self)]
        return plain


@_disable_dynamo  # as torch.compiler.disable, but that it imports the compiler when it is called, and not before
def _outside_of_graphs(call: Any, input: Any, hx: Any) -> Any:
    """Return what a call returns, in which torch.compile sees nothing."""
    return call(input, hx)


_warned: set[str] = set()
_traced_from_here = torch._C._dynamo.eval_frame.get_eval_frame_callback
"""Returns what makes graphs of the frames that follow, or None."""


class RNN(Computed, torch.nn.RNN):
    """Computes what :class:`torch.nn.RNN` does, of which it is a subclass with the same arguments.

    ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, or relu in the place of tanh.

    >>> import torch
    >>> h, last = RNN(3, 4)(torch.zeros(5, 2, 3))
    >>> h.shape, last.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """


class LSTM(Computed, torch.nn.LSTM):
    """Computes what :class:`torch.nn.LSTM` does, of which it is a subclass with the same arguments.

    With ``proj_size`` PyTorch's own code computes it, and a UserWarning says so.

    >>> import torch
    >>> h, (h_last, c_last) = LSTM(3, 4, num_layers=2, bidirectional=True)(torch.zeros(5, 2, 3))
    >>> h.shape, c_last.shape
    (torch.Size([5, 2, 8]), torch.Size([4, 2, 4]))
    """


class GRU(Computed, torch.nn.GRU):
    """Computes what :class:`torch.nn.GRU` does, of which it is a subclass with the same arguments.

    >>> import torch
    >>> h, last = GRU(3, 4, batch_first=True)(torch.zeros(2, 5, 3))
    >>> h.shape, last.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """


OURS: dict[type, type] = {torch.nn.RNN: RNN, torch.nn.LSTM: LSTM, torch.nn.GRU: GRU}
OWN: dict[type, type] = {ours: own for own, ours in OURS.items()}


def replace_(model: torch.nn.Module) -> int:
    """Make every nn.RNN, nn.LSTM and nn.GRU of a model one of rnncore's, in place, and return how many there were.

    The modules stay the objects that they are, with their parameters, hooks and names: optimizers, DDP and state dicts
    notice nothing. Modules of a class that is derived from PyTorch's stay as they are, since its code may be another.
    Raises TypeError if model is not a torch.nn.Module.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.GRU(3, 4), torch.nn.Identity())
    >>> replace_(model), type(model[0]).__module__
    (1, 'rnncore.torch')
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = [(module, ours) for module in model.modules() if (ours := _ours(module)) is not None]
    for module, ours in found:
        module.__class__ = ours
    return len(found)


def _ours(module: torch.nn.Module) -> type | None:
    """Return the class that a module gets, or None if it keeps its own."""
    own = type(module)
    if own in OURS or not is_parametrized(module) or own.__bases__[0] not in OURS:
        return OURS.get(own)
    members = {name: member for name, member in vars(own).items() if name not in ("__dict__", "__weakref__")}
    return type(own.__name__, (OURS[own.__bases__[0]],), members)  # PyTorch has made such a class for this module

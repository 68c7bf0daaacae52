"""PyTorch's RNN, LSTM and GRU computed by rnncore: needs PyTorch, the extra "torch".

``rnncore.torch.replace_(model)`` makes every nn.RNN, nn.LSTM and nn.GRU of a model one of these, in place. Or write
``rnncore.torch.LSTM`` for ``torch.nn.LSTM``: each is a subclass of PyTorch's own, with the same constructor, state
dict and repr, and computes with rnncore's kernels where tensors are float32 or float64 and on the CPU. Results have
rnncore's bits: the same with any number of threads and inside any batch.
"""

from .distributed import sum_in_order
from .modules import GRU, LSTM, RNN, replace_

__all__ = ["GRU", "LSTM", "RNN", "replace_", "sum_in_order"]

for _module in (RNN, LSTM, GRU):
    _module.__module__ = __name__  # a pickle names a class by where users find it

"""rnncore.torch beside PyTorch's own modules: four models of the usual kinds, and the overhead of a call.

    python bench/bridge.py [--threads 1] [--rounds 15]

Each model is made twice, and one of the two replaced; a call computes the loss and all gradients. The overhead is what
a module takes beyond rnncore.forward and rnncore.backward, and stands beside an empty torch.autograd.Function with as
many arguments, whose gradients are there already. All contenders of a row take turns in one process.
"""

import argparse
import copy
from collections.abc import Callable
from typing import Any

import environment
import numpy as np
import torch
from timing import Contender, Times, interleave, repeat
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import rnncore
import rnncore.torch

X, H, T = 65, 100, 25  # S1 of bench/shapes.py, one sequence


class Tagger(nn.Module):
    """Tags each word of sentences of different lengths: embedding, LSTM in two directions, linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(5000, 64), nn.LSTM(64, 64, bidirectional=True)
        self.linear = nn.Linear(128, 17)
        random = torch.Generator().manual_seed(1)
        lengths = torch.randint(5, 40, (32,), generator=random).tolist()
        self.sentences = [torch.randint(5000, (length,), generator=random) for length in lengths]
        self.tags = torch.randint(17, (sum(lengths),), generator=random)

    def forward(self) -> Tensor:
        """Return the loss of a batch."""
        packed = pack_sequence([self.embed(sentence) for sentence in self.sentences], enforce_sorted=False)
        return nn.functional.cross_entropy(self.linear(self.rnn(packed)[0].data), self.tags)


class Characters(nn.Module):
    """Predicts the next character: LSTM, 32 pieces of 64 characters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.linear = nn.Embedding(65, 32), nn.LSTM(32, 128), nn.Linear(128, 65)
        self.text = torch.randint(65, (65, 32), generator=torch.Generator().manual_seed(1))

    def forward(self) -> Tensor:
        """Return the loss of a batch."""
        h, _ = self.rnn(self.embed(self.text[:-1]))
        return nn.functional.cross_entropy(self.linear(h).flatten(0, 1), self.text[1:].flatten())


class Forecaster(nn.Module):
    """Predicts the next of 200 numbers: GRU, one series at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.linear = nn.GRU(1, 32, batch_first=True), nn.Linear(32, 1)
        self.series = torch.linspace(0, 20, 201).sin().reshape(1, 201, 1)

    def forward(self) -> Tensor:
        """Return the loss of a series."""
        error: Tensor = self.linear(self.rnn(self.series[:, :-1])[0]) - self.series[:, 1:]
        return error.square().mean()


class Classifier(nn.Module):
    """Classifies 16 sequences of 50 vectors by the last states of two layers in two directions."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(20, 48, num_layers=2, bidirectional=True, dropout=0.2)
        self.linear = nn.Linear(96, 5)
        random = torch.Generator().manual_seed(1)
        self.x, self.labels = torch.randn(50, 16, 20, generator=random), torch.randint(5, (16,), generator=random)

    def forward(self) -> Tensor:
        """Return the loss of a batch."""
        _, h = self.rnn(self.x)
        return nn.functional.cross_entropy(self.linear(torch.cat([h[-2], h[-1]], dim=1)), self.labels)


MODELS = {
    "tagger, LSTM, packed": Tagger,
    "character model, LSTM": Characters,
    "forecaster, GRU, batch 1": Forecaster,
    "classifier, GRU, 2 layers, both": Classifier,
}


class Empty(torch.autograd.Function):
    """Computes nothing: hands back what is there already, as many results and gradients as a module has."""

    @staticmethod
    def forward(ctx: Any, results: Any, x: Tensor, h: None, c: None, masks: Any, *weights: Tensor) -> Any:
        """Return the results."""
        ctx.gradients = results[1]
        return tuple(result.view_as(result) for result in results[0])

    @staticmethod
    def backward(ctx: Any, *by: Any) -> Any:
        """Return the gradients."""
        return None, None, None, None, None, *ctx.gradients


def step(model: nn.Module) -> Callable[[], None]:
    """Return a call that computes a model's loss and gradients."""

    def call() -> None:
        model.zero_grad(set_to_none=True)
        model().backward()

    return call


def parts_of_a_call(name: str) -> dict[str, Callable[[], None]]:
    """Return the calls that show a module's overhead: itself, PyTorch's, rnncore alone, and the empty function."""
    own = getattr(nn, name)(X, H)
    ours = copy.deepcopy(own)
    rnncore.torch.replace_(ours)
    params, x, by = rnncore.Params.from_torch(own), torch.randn(T, 1, X), torch.randn(T, 1, H)
    weights = list(own.parameters())
    last = [torch.zeros(1, 1, H)] * (2 if name == "LSTM" else 1)
    results = (torch.zeros(T, 1, H), *last), [torch.zeros_like(weight) for weight in weights]
    x_array, by_array, threads = x.numpy(), by.numpy(), torch.get_num_threads()

    def module(of: nn.Module) -> Callable[[], None]:
        def call() -> None:
            of.zero_grad(set_to_none=True)
            of(x)[0].backward(by)

        return call

    run: Callable[..., Any] = Empty.apply

    def alone() -> None:
        out = rnncore.forward(params, x_array, threads=threads)
        rnncore.backward(params, out, dh=by_array, threads=threads)

    def empty() -> None:
        own.zero_grad(set_to_none=True)
        run(results, x, None, None, (), *weights)[0].backward(by)

    return {"module": module(ours), "PyTorch": module(own), "rnncore alone": alone, "empty function": empty}


def measured(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, Times]:
    """Return the times of calls, which take turns."""
    nothing: Callable[[], dict[str, np.ndarray]] = dict
    contenders = [Contender(name, None, repeat(call), nothing, spins=True) for name, call in calls.items()]
    times = [Times() for _ in contenders]
    for _ in interleave(contenders, rounds, 0.05, times):
        pass
    return dict(zip(calls, times, strict=True))


def main() -> None:
    """Print two tables in microseconds: the medians and, in brackets, the best times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    environment.prepare()
    torch.set_num_threads(arguments.threads)
    print("| model | rnncore.torch | PyTorch | PyTorch / rnncore |\n|---|--:|--:|--:|")
    for name, make in MODELS.items():
        torch.manual_seed(0)
        own = make()
        ours = copy.deepcopy(own)
        rnncore.torch.replace_(ours)
        times = measured({"ours": step(ours), "own": step(own)}, arguments.rounds)
        print(f"| {name} | {shown(times['ours'])} | {shown(times['own'])} | {ratio(times['own'], times['ours'])} |")
    print("\n| S1 | module | PyTorch | rnncore alone | empty function | PyTorch / module | overhead / empty |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in ("RNN", "LSTM", "GRU"):
        times = measured(parts_of_a_call(name), arguments.rounds)
        module, theirs, alone, empty = times.values()
        overhead = [(a - b) / c for a, b, c in zip(both(module), both(alone), both(empty), strict=True)]
        row = [name, *map(shown, times.values()), ratio(theirs, module), f"{overhead[0]:.1f} ({overhead[1]:.1f})"]
        print(f"| {' | '.join(row)} |")


def both(times: Times) -> tuple[float, float]:
    """Return the median and the best time."""
    return times.median, times.best


def shown(times: Times) -> str:
    """Return microseconds: the median, and the best in brackets."""
    return f"{times.median * 1e6:.0f} ({times.best * 1e6:.0f})"


def ratio(a: Times, b: Times) -> str:
    """Return how many times as long a takes as b, by the medians and by the best times."""
    return f"{a.median / b.median:.1f} ({a.best / b.best:.1f})"


if __name__ == "__main__":
    main()

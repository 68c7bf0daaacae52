"""Whole steps of training a character model: the gradient, clipping, and Adagrad, in characters per second."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
from peers import UnavailableError, need, torch_net, torch_state
from problems import Problem
from timing import Contender, repeat

import rnncore
from rnncore.optim import Adagrad

LIMIT, LEARNING_RATE, EPSILON = 5.0, 0.1, 1e-8
CHUNKS = 64


def chunks(task: Problem) -> Iterator[tuple[Any, Any]]:
    """Tokens and labels (T, B), chunk after chunk of B endless texts."""
    T, B = task.shape.T, task.shape.B
    text = np.random.default_rng(1).integers(0, task.shape.X, (T * CHUNKS + 1, B))
    for chunk in count():
        start = chunk % CHUNKS * T
        yield text[start : start + T], text[start + 1 : start + T + 1]


def by_rnncore(task: Problem, threads: int | None) -> Contender:
    """bptt, then clipping by value and Adagrad in one pass over the vector; the state goes on from chunk to chunk."""
    params, state, pieces = task.params.copy(), task.state, chunks(task)
    optimizer = Adagrad(params.flat, LEARNING_RATE, EPSILON)
    loss = 0.0

    def step() -> None:
        nonlocal state, loss
        inputs, labels = next(pieces)
        result = rnncore.bptt(params, inputs, labels, state=state, backend="cpp", threads=threads)
        optimizer.step(params.flat, result.grads.flat, clip_value=LIMIT)
        state, loss = result.state, result.loss

    return Contender("rnncore cpp", threads, repeat(step), lambda: {"loss": np.array(loss)})


def gradient_alone(task: Problem, threads: int | None) -> Contender:
    """The same without clipping and optimizer, to see what these add."""
    state, pieces = task.state, chunks(task)

    def step() -> None:
        nonlocal state
        inputs, labels = next(pieces)
        state = rnncore.bptt(task.params, inputs, labels, state=state, backend="cpp", threads=threads).state

    return Contender("gradient alone", threads, repeat(step), dict)


def by_torch(task: Problem, threads: int) -> Contender:
    """Its module on one-hot vectors, clip_grad_value_ and optim.Adagrad; a bias that is not rnncore's stays."""
    need("torch")
    import torch

    recurrent, linear, states = torch_net(task)
    states = [state.detach() for state in states]
    recurrent.bias_hh_l0.requires_grad_("b_x" in task.params.names())
    parameters = [p for p in (*recurrent.parameters(), *linear.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adagrad(parameters, LEARNING_RATE, eps=EPSILON)
    pieces, loss = chunks(task), torch.zeros(())

    def step() -> None:
        nonlocal states, loss
        inputs, labels = map(torch.from_numpy, next(pieces))
        optimizer.zero_grad()
        x = torch.nn.functional.one_hot(inputs, task.shape.X).to(states[0].dtype)
        h, last = recurrent(x, torch_state(states))
        loss = torch.nn.functional.cross_entropy(linear(h.flatten(0, 1)), labels.flatten(), reduction="sum")
        torch.autograd.backward(loss)
        states = [state.detach() for state in (last if isinstance(last, tuple) else (last,))]
        torch.nn.utils.clip_grad_value_(parameters, LIMIT)
        optimizer.step()

    return Contender(
        "torch", threads, repeat(step), lambda: {"loss": loss.detach().numpy()},
        lambda: torch.set_num_threads(threads), threads > 1,
    )  # fmt: skip


def contenders(task: Problem, all_cores: int, with_torch: bool) -> list[Contender]:
    """The compiled core on one thread and on as many as it chooses, and PyTorch on one and all."""
    made = [gradient_alone(task, 1), by_rnncore(task, 1), gradient_alone(task, None), by_rnncore(task, None)]
    if with_torch:
        for threads in dict.fromkeys((1, all_cores)):
            made += optional(by_torch, task, threads)
    return made


def optional(make: Callable[[Problem, int], Contender], task: Problem, threads: int) -> list[Contender]:
    """A peer, if it is here."""
    try:
        return [make(task, threads)]
    except UnavailableError:
        return []


def agree(task: Problem, steps: int = 3) -> float:
    """How far PyTorch's loss is from ours after some steps, as a fraction; the same training, then."""
    ours, theirs = by_rnncore(task, 1), by_torch(task, 1)
    ours.run(steps)
    theirs.run(steps)
    loss = float(ours.results()["loss"])
    return abs(float(theirs.results()["loss"]) - loss) / abs(loss)

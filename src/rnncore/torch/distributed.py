"""Gradients of several processes, added in an order that does not depend on how many there are."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def sum_in_order(grads: Sequence[Tensor], shards: Sequence[int], group: Any = None) -> Tensor:
    """Return the sum of the gradients of all shards, on every process: ``((g_0 + g_1) + g_2) + ...``.

    A batch is cut into S shards, numbered from 0. grads: the gradients of this process's shards, vectors of one length
    and one dtype; shards: their numbers. Over the processes of the group (None: all of them) each number from 0 to
    S - 1 must be there exactly once; a process may have none. Cut a batch in the same way, and the sum has the same
    bits however many processes there are: gradients are added one by one in the order of the shards, in their dtype.
    (An all-reduce adds in an order that depends on the processes.)

    The sum so far travels from the owner of a shard to that of the next, so that no process holds more than it and its
    own gradients. Give each process neighbouring shards, and it travels once. Without ``torch.distributed`` there is
    one process.

    Raises ValueError, on every process, if a number is missing or there twice, or if gradients are not vectors of one
    length and dtype.

    >>> import torch
    >>> sum_in_order([torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])], [1, 0])
    tensor([11., 22.])
    """
    many = dist.is_available() and dist.is_initialized()
    mine = _described(grads, shards)
    everyone: list[Any] = [mine]
    if many:
        everyone = [None] * dist.get_world_size(group)
        dist.all_gather_object(everyone, mine, group=group)
    owners = _owners(everyone)
    rank = dist.get_rank(group) if many else 0
    own = dict(zip(mine[1], grads, strict=True))
    length, dtype = next(kind for _, _, kinds in everyone for kind in kinds)
    total = torch.empty(length, dtype=dtype)
    for shard, owner in enumerate(owners):
        before = owners[shard - 1] if shard else owner
        if before != owner:
            _travel(total, before, owner, rank, group)
        if owner == rank:
            total = own[shard].detach().clone() if shard == 0 else total.add_(own[shard].detach())
    if many:
        dist.broadcast(total, _rank_in_world(owners[-1], group), group=group)
    return total


def _described(grads: Any, shards: Any) -> tuple[str, list[int], list[tuple[int, torch.dtype]]]:
    """Return what is wrong with this process's arguments, or "", its shards, and the lengths and dtypes of its
    gradients."""
    try:
        grads, numbers = list(grads), [operator.index(shard) for shard in shards]
    except TypeError as why:
        return f"grads must be a list of tensors and shards a list of their numbers: {why}", [], []
    if len(grads) != len(numbers):
        return f"grads and shards must be as many, got {len(grads)} and {len(numbers)}", [], []
    for number, grad in zip(numbers, grads, strict=True):
        if not isinstance(grad, Tensor) or grad.dim() != 1 or not grad.is_floating_point():
            got = f"{grad.dtype} {tuple(grad.shape)}" if isinstance(grad, Tensor) else type(grad).__name__
            return f"the gradient of shard {number} must be a vector of floating-point numbers, got {got}", [], []
    return "", numbers, [(len(grad), grad.dtype) for grad in grads]


def _owners(everyone: list[Any]) -> list[int]:
    """Return which process of the group has each shard; every process raises the same error if they do not fit."""
    for rank, (wrong, _, _) in enumerate(everyone):
        if wrong:
            raise ValueError(f"{wrong} (process {rank})")
    owner = [(shard, rank) for rank, (_, shards, _) in enumerate(everyone) for shard in shards]
    numbers = sorted(shard for shard, _ in owner)
    if numbers != list(range(len(numbers))) or not numbers:
        raise ValueError(f"shards must be the numbers 0 ... S - 1, each on one process, got {numbers} in all")
    kinds = {kind for _, _, kinds in everyone for kind in kinds}
    if len(kinds) > 1:
        got = ", ".join(sorted(f"{dtype} ({length},)" for length, dtype in kinds))
        raise ValueError(f"gradients must have one length and one dtype, got {got}")
    return [rank for _, rank in sorted(owner)]


def _travel(total: Tensor, source: int, target: int, rank: int, group: Any) -> None:
    """Send the sum so far from one process of the group to another."""
    if rank == source:
        dist.send(total, _rank_in_world(target, group), group=group)
    elif rank == target:
        dist.recv(total, _rank_in_world(source, group), group=group)


def _rank_in_world(rank: int, group: Any) -> int:
    return rank if group is None else dist.get_global_rank(group, rank)

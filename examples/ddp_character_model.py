"""A character model trained by several processes, with PyTorch's DDP or with equal bits for any number of processes.

    torchrun --nproc-per-node 2 examples/ddp_character_model.py
    torchrun --nproc-per-node 4 examples/ddp_character_model.py --same-bits

Every process has the whole text and takes some of the shards of each batch. With DDP the gradients are averaged by an
all-reduce, whose order of additions depends on the number of processes. With --same-bits they are added by
``sum_in_order``, and the last line is the same for 1, 2 and 4 processes, to the last digit.
"""

import argparse
import hashlib
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

import rnncore.torch

SHARDS, SEQUENCES, STEPS = 4, 8, 24  # of a batch; of a shard; of a sequence
TEXT = "the quick brown fox jumps over the lazy dog. " * 100


class Model(nn.Module):
    """Predicts the next character from those before."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, 16)
        self.lstm = nn.LSTM(16, 48)
        self.linear = nn.Linear(48, characters)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the sum of the losses of tokens (T, B), each but the first predicted."""
        h, _ = self.lstm(self.embed(tokens[:-1]))
        return nn.functional.cross_entropy(self.linear(h).flatten(0, 1), tokens[1:].flatten(), reduction="sum")


def shards_of(tokens: Tensor, step: int) -> Iterator[Tensor]:
    """Draw the shards of a batch: the same on every process."""
    random = torch.Generator().manual_seed(step)
    starts = torch.randint(len(tokens) - STEPS - 1, (SHARDS, SEQUENCES), generator=random)
    for shard in starts:
        yield torch.stack([tokens[start : start + STEPS + 1] for start in shard], dim=1)


def gradient(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the gradient of a shard as one vector."""
    gradients = torch.autograd.grad(model(tokens), list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def put(model: nn.Module, total: Tensor) -> None:
    """Make the parts of a vector the gradients of a model."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    for parameter, part in zip(model.parameters(), total.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)


def train(steps: int, same_bits: bool) -> tuple[float, str]:
    """Return the loss of the last batch, and what tells whether two runs have equal parameters."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)
    characters = sorted(set(TEXT))
    tokens = torch.tensor([characters.index(character) for character in TEXT])
    model = Model(len(characters))
    rnncore.torch.replace_(model)  # the one line
    ddp = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    mine = range(rank * SHARDS // processes, (rank + 1) * SHARDS // processes)
    predictions = SHARDS * SEQUENCES * STEPS
    for step in range(steps):
        shards = list(shards_of(tokens, step))
        if same_bits:
            total = rnncore.torch.sum_in_order([gradient(model, shards[shard]) for shard in mine], list(mine))
            put(model, total / predictions)
        else:  # DDP divides by the number of processes
            optimizer.zero_grad()
            (ddp(torch.cat([shards[shard] for shard in mine], dim=1)) * processes / predictions).backward()
        optimizer.step()
    with torch.no_grad():
        loss = float(model(torch.cat(shards, dim=1))) / predictions
    numbers = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return loss, hashlib.sha256(numbers.numpy().tobytes()).hexdigest()[:16]


def main() -> None:
    """Train, and let the first process say how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--same-bits", action="store_true", help="add gradients in the order of the shards")
    arguments = parser.parse_args()
    dist.init_process_group("gloo")
    torch.set_num_threads(1)  # a process for each core
    loss, digest = train(arguments.steps, arguments.same_bits)
    if dist.get_rank() == 0:
        print(f"loss {loss:.4f} nats a character, parameters {digest}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

"""Several processes over gloo: DDP trains as one process does, and sum_in_order has the same bits for any number."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import torch.distributed as dist  # noqa: E402

import rnncore.torch as rt  # noqa: E402

if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("gloo is not in this PyTorch", allow_module_level=True)

EXAMPLE = Path(__file__).parents[1] / "examples" / "ddp_character_model.py"
SHARDS = 4

PROCESS = """
import sys
sys.path[:] = {path!r}
import torch, torch.distributed as dist, rnncore.torch as rt
rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=world)
def shard(number):
    return torch.randn(1000, generator=torch.Generator().manual_seed(number)) * 10.0 ** (number % 3)
{body}
dist.destroy_process_group()
"""


def run(body: str, world: int, folder: Path) -> list[str]:
    """What each process prints."""
    code = PROCESS.format(path=sys.path, body=body)
    command = [sys.executable, "-W", "ignore", "-c", code]
    started = [
        subprocess.Popen([*command, str(rank), str(world), str(folder / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    printed = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * world
    return printed


def shard(number: int) -> torch.Tensor:
    return torch.randn(1000, generator=torch.Generator().manual_seed(number)) * 10.0 ** (number % 3)


def in_order() -> torch.Tensor:
    total = shard(0)
    for number in range(1, SHARDS):
        total = total + shard(number)
    return total


def test_one_process() -> None:
    numbers = [2, 0, 3, 1]
    gradients = [shard(number) for number in numbers]
    assert torch.equal(rt.sum_in_order(gradients, numbers), in_order())
    assert all(torch.equal(gradient, shard(number)) for gradient, number in zip(gradients, numbers, strict=True))


@pytest.mark.parametrize(
    ("grads", "shards", "words"),
    [
        ([torch.zeros(3)], [1], "0 ... S - 1"),
        ([torch.zeros(3)] * 2, [0, 0], "0 ... S - 1"),
        ([], [], "0 ... S - 1"),
        ([torch.zeros(3)], [0, 1], "as many"),
        ([torch.zeros(3), torch.zeros(4)], [0, 1], "one length"),
        ([torch.zeros(3), torch.zeros(3).double()], [0, 1], "one dtype"),
        ([torch.zeros(3, 1)], [0], "vector"),
        ([np.zeros(3)], [0], "vector"),
        (None, [0], "list of tensors"),
    ],
)
def test_errors(grads: object, shards: object, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        rt.sum_in_order(grads, shards)


DIGEST = """
for way in (lambda s: s * world // {shards}, lambda s: s % world, lambda s: world - 1):
    mine = [s for s in range({shards}) if way(s) == rank]
    total = rt.sum_in_order([shard(s) for s in mine], mine)
    print(total.numpy().tobytes().hex())
for numbers in ([0], [rank + 1]):
    try:
        rt.sum_in_order([shard(s) for s in numbers], numbers)
    except ValueError as error:
        print("ValueError")
"""


@pytest.mark.parametrize("world", [2, 4])
def test_the_bits_do_not_depend_on_the_processes(world: int, tmp_path: Path) -> None:
    """Neighbouring shards, shards in turn, all on the last process; and errors are everywhere."""
    expected = [in_order().numpy().tobytes().hex()] * 3 + ["ValueError"] * 2
    for printed in run(DIGEST.format(shards=SHARDS), world, tmp_path):
        assert printed.split() == expected


def example(world: int, *options: str) -> tuple[float, str]:
    """The loss that the example prints, and the digest of its parameters."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    )
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command = [*launch, str(world), "--no-python", sys.executable, "-W", "ignore", "-c", code, "--steps", "4", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    return float(words[1]), words[-1]


@pytest.mark.parametrize(("world", "options"), [(2, ()), (4, ("--same-bits",))], ids=["DDP", "same bits"])
def test_the_example(world: int, options: tuple[str, ...]) -> None:
    """With DDP the loss of one process, to the four digits that it prints, and with --same-bits its parameters."""
    if not EXAMPLE.exists():
        pytest.skip("the examples are not beside these tests")
    alone, together = example(1, *options), example(world, *options)
    assert together[0] == alone[0]
    assert together == alone or not options

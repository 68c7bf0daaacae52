"""Numbers that only speed decides change no bit, whatever the processor makes of them."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("rnncore._core", reason="the compiled core is not there")

PROGRAM = """
import hashlib
import numpy as np
import rnncore
from rnncore import _core
random = np.random.default_rng(1)
found = hashlib.sha256()
for cell in rnncore.cells.CELLS:
    for X, H, V, B, T in ((3, 320, 2, 1, 3), (700, 66, 2, 3, 60), (2, 64, 60, 130, 2)):
        params = rnncore.init_params(cell, X, H, V, seed=1, tokens=False)
        inputs, labels = random.normal(size=(T, B, X)).astype(np.float32), random.integers(0, V, (T, B))
        found.update(rnncore.bptt(params, inputs, labels, backend="cpp").grads.flat.tobytes())
print(*_core.tuning(), found.hexdigest())
"""


def run(said: str | None) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "RNNCORE_TUNING"}
    if said is not None:
        environment["RNNCORE_TUNING"] = said
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)


def result(said: str | None) -> list[str]:
    done = run(said)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_no_bit_depends_on_what_is_chosen() -> None:
    far, weights, digest = result(None)
    assert int(far) in (2560, sys.maxsize)
    assert int(weights) > 2**16
    assert result("far_row_bytes=0 far_weights_bytes=0") == ["0", "0", digest]
    assert result(f"far_row_bytes={2**60}  far_weights_bytes={2**60}") == [str(2**60), str(2**60), digest]
    assert result("far_row_bytes=7") == ["7", weights, digest]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("rows=3", "RNNCORE_TUNING may name far_row_bytes and far_weights_bytes, got rows=3"),
        ("far_row_bytes", "RNNCORE_TUNING must have numbers of bytes, got far_row_bytes"),
        ("far_row_bytes=-1", "RNNCORE_TUNING must have numbers of bytes, got far_row_bytes=-1"),
        ("far_row_bytes=1k", "RNNCORE_TUNING must have numbers of bytes, got far_row_bytes=1k"),
        (f"far_row_bytes={10**30}", f"RNNCORE_TUNING must have numbers of bytes, got far_row_bytes={10**30}"),
    ],
)
def test_nonsense_is_refused_by_name(said: str, message: str) -> None:
    done = run(said)
    assert done.returncode == 1
    assert message in done.stderr

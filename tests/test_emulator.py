"""The core runs on a processor without AVX, to the digests of all others: an emulator of one says so."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rnncore

EMULATOR = "qemu-x86_64"
OLD = "Nehalem"
"""SSE4.2 and no AVX; NumPy's own wheels need as much."""
CODE = """
import json, warnings
import golden
from rnncore import _cpp
assert _cpp.instruction_sets() == ["baseline"], _cpp.instruction_sets()
digests = json.loads(golden.FILE.read_text("utf-8"))
wrong = [name for name, case in golden.CASES.items() if golden.digest(case("cpp.baseline")) != digests[name]]
print(len(digests), "digests, wrong:", wrong)
"""


@pytest.mark.skipif("cpp" not in rnncore.backends(), reason="the compiled core does not work here")
@pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"{EMULATOR} is not installed (Debian: qemu-user)")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the emulator runs this machine's own programs")
@pytest.mark.slow
def test_digests_without_avx() -> None:
    paths = [str(Path(__file__).parent), str(Path(rnncore.__file__).parents[1]), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    command = [EMULATOR, "-cpu", OLD, sys.executable, "-c", CODE]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("digests, wrong: []\n"), ran.stdout

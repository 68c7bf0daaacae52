"""No loss has subnormal results where its numbers are moderate: many processors are slow with them."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rnncore.engines import engines

HERE = Path(__file__).resolve().parent
COLUMN = HERE.parent / "cpp" / "column"
FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
}


@pytest.mark.parametrize("isa", FLAGS)
def test_rows_that_do_not_fill_vectors(isa: str, tmp_path: Path) -> None:
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if f"cpp.{isa}" not in engines():
        pytest.skip(f"the engine cpp.{isa} does not work here")
    if not COLUMN.is_dir() or shutil.which(compiler[0]) is None:
        pytest.skip("needs the sources and a C++ compiler")
    program = str(tmp_path / "underflow")
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-frounding-math", "-Wno-psabi", *FLAGS[isa]]
    given = [f"-DRNNCORE_ISA={isa}", "-I", str(COLUMN), str(HERE / "underflow.cpp"), "-o", program]
    subprocess.run([*compiler, *flags, *given], check=True)
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert not found, f"subnormal results:\n{found}"

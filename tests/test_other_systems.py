"""The package works without what Windows and macOS lack, which is removed here. tools/windows runs a Windows Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnncore

# Names that these systems lack. They are removed after the other libraries, which also use them, are imported.
LACKS = {
    "win32": {
        "os": "fork fchown fchmod chown geteuid getuid mkfifo sched_getaffinity sysconf register_at_fork O_NONBLOCK",
        "signal": "SIGHUP SIGALRM SIGKILL setitimer pthread_sigmask alarm",
    },
    "darwin": {"os": "sched_getaffinity sched_setaffinity", "signal": ""},
}
PROGRAM = """
import os, signal, sys
import numpy as np, tqdm

folder, system, lacks = {folder!r}, {system!r}, {lacks!r}
for module in (os, signal):
    for name in lacks[module.__name__].split():
        if hasattr(module, name):
            delattr(module, name)
sys.platform = system
import rnncore
from rnncore.__main__ import main

params = rnncore.init_params("gru", 3, 4, 3, seed=0)
for _ in range(2):  # the second replaces the first
    params.save(os.path.join(folder, "params"))
assert rnncore.Params.load(os.path.join(folder, "params")) == params
model, text = os.path.join(folder, "model"), os.path.join(folder, "text")
with open(text, "w", encoding="utf-8") as file:
    file.write("a stitch in time saves nine; " * 50)
small = ["--hidden", "8", "--steps", "8", "--batch", "2", "--iterations", "3", "--sample-length", "5"]
assert main(["info"]) == 0
assert main(["train", "--text", text, "--save", model, *small]) == 0
assert main(["train", "--resume", model, "--iterations", "2"]) == 0
assert main(["sample", model, "--length", "5"]) == 0
"""


@pytest.mark.skipif(os.name != "posix", reason="has not all that is taken away here")
@pytest.mark.parametrize("system", LACKS)
def test_files_training_and_sampling_do_without(system: str, tmp_path: Path) -> None:
    root = str(Path(rnncore.__file__).parents[1])
    code = PROGRAM.format(folder=str(tmp_path), system=system, lacks=LACKS[system])
    paths = f"import sys; sys.path[:] = {[root, *sys.path]!r}\n"
    done = subprocess.run([sys.executable, "-c", paths + code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr

"""What earlier versions wrote is read: files of parameters, pickles, optimizers, and models, resumed to the bit.

The files in tests/files were written by version 0.1.0 of November 2026, before networks had layers; expected.json has
digests of what that version makes of them next. The lstm model was resumed anew when gates came to keep more digits.
"""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rnncore

FILES = Path(__file__).with_name("files")
PARAMS = {"lstm": (rnncore.optim.Adam, "lstm"), "gru": (rnncore.optim.RMSprop, "gru_reset_before")}
MODELS = ("rnn", "lstm")

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason="the files are not beside these tests")


def expected(name: str) -> str:
    found: str = json.loads((FILES / "expected.json").read_text("utf-8"))[name]
    return found


@pytest.mark.parametrize("name", PARAMS)
def test_parameters(name: str) -> None:
    saved = rnncore.Params.load(FILES / f"params_{name}.npz")
    pickled = pickle.loads((FILES / f"params_{name}.pickle").read_bytes())
    assert saved.cell == pickled.cell == PARAMS[name][1]
    assert saved == pickled
    assert (saved.tokens, len(saved.layers), saved.bidirectional) == (None, 1, False)


@pytest.mark.parametrize("name", PARAMS)
def test_what_is_written_now_is_what_was_written_then(name: str, tmp_path: Path) -> None:
    """So earlier versions read the files of networks of one layer."""
    saved = rnncore.Params.load(FILES / f"params_{name}.npz")
    saved.save(tmp_path / "again.npz")
    with np.load(FILES / f"params_{name}.npz") as old, np.load(tmp_path / "again.npz") as new:
        assert old.files == new.files
        assert all(old[entry].tobytes() == new[entry].tobytes() for entry in old.files)
    constructor, arguments = saved.__reduce__()
    assert constructor == rnncore.Params.from_flat
    assert len(arguments) == 5


@pytest.mark.parametrize("name", PARAMS)
def test_optimizers_go_on(name: str) -> None:
    with np.load(FILES / f"step_{name}.npz") as given:
        x, dx = given["before"], given["dx"]
    optimizer = PARAMS[name][0](x, 0.01)
    with np.load(FILES / f"optimizer_{name}.npz") as state:
        optimizer.load_state_dict(dict(state))
    optimizer.step(x, dx)
    assert hashlib.sha256(x.tobytes()).hexdigest() == expected(f"optimizer_{name}")


@pytest.mark.parametrize("cell", MODELS)
def test_models_are_resumed_and_sampled(cell: str, tmp_path: Path) -> None:
    model = tmp_path / "model.npz"
    shutil.copy(FILES / f"model_{cell}.npz", model)
    text = rnncore_("sample", str(model), "--length", "40", "--seed", "3")
    assert text == expected(f"text_{cell}")
    rnncore_(
        "train", "--text", str(FILES / "text.txt"), "--resume", str(model), "--iterations", "5", "--sample-length", "0"
    )
    with np.load(model) as resumed:
        entries = [
            name for name in sorted(resumed.files) if name.startswith(("params.", "optimizer.")) or name == "state"
        ]
        digest = hashlib.sha256(b"".join(resumed[name].tobytes() for name in entries)).hexdigest()
        assert len(entries) == len(np.load(FILES / f"model_{cell}.npz").files) - 4  # format, cell, numbers, vocabulary
    assert digest == expected(f"model_{cell}")


def rnncore_(*arguments: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; from rnncore.__main__ import main; "
               "sys.exit(main())", *arguments]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout

"""rnncore.load opens what Params.save wrote and what ``train --save`` saved."""

from pathlib import Path

import numpy as np
import pytest

import rnncore

FILES = Path(__file__).with_name("files")


def test_parameters_of_any_structure(tmp_path: Path) -> None:
    for layers in (1, 2):
        params = rnncore.init_params("gru", 3, 4, 3, layers=layers, tokens=True)
        params.save(tmp_path / "net")
        saved = rnncore.load(tmp_path / "net")
        assert saved.params == params
        assert saved.params.tokens is True
        assert (saved.vocabulary, saved.optimizer) == (None, None)
        assert repr(saved) == f"Saved({params!r})"


@pytest.mark.skipif(not FILES.is_dir(), reason="the files are not beside these tests")
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_model_in_training(cell: str) -> None:
    """With its vocabulary it writes as the command does, and with its optimizer it goes on."""
    saved = rnncore.load(FILES / f"model_{cell}.npz")
    assert saved.vocabulary is not None
    assert list(saved.vocabulary) == sorted(set((FILES / "text.txt").read_text("utf-8")))
    assert saved.params.cell == cell
    assert isinstance(saved.optimizer, rnncore.optim.Adam)
    with np.load(FILES / f"model_{cell}.npz") as file:
        assert saved.optimizer.learning_rate == file["optimizer.learning_rate"]
        assert np.array_equal(saved.optimizer.state_dict()["m"], file["optimizer.m"])
    tokens = np.array([saved.vocabulary.index(character) for character in saved.vocabulary[:3]])
    result = rnncore.bptt(saved.params, tokens[:-1], tokens[1:])
    before = saved.params.flat.copy()
    saved.optimizer.step(saved.params.flat, result.grads.flat)
    assert not np.array_equal(saved.params.flat, before)
    assert f"{len(saved.vocabulary)} characters" in repr(saved)


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        rnncore.load(tmp_path / "missing")
    (tmp_path / "text").write_text("hello")
    with open(tmp_path / "foreign", "wb") as file:
        np.savez(file, a=np.ones(3))
    for name in ("text", "foreign"):
        with pytest.raises(ValueError, match=f"{name}: not a model"):
            rnncore.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"rnncore\.load opens models as well"):
        rnncore.Params.load(tmp_path / "foreign")

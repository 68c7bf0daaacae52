"""The command line learns, and loses nothing: exact resume, whole files, one-line errors, clean exits."""

import argparse
import errno
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import rnncore
from rnncore.cells import CELLS
from rnncore.charmodel import cli
from rnncore.charmodel import file as modelfile
from rnncore.charmodel import run as session
from rnncore.charmodel import text as source_of_texts
from rnncore.charmodel.model import LEARNING_RATES, OPTIMIZERS, Settings, Training, generate, smoothed
from rnncore.charmodel.text import Source, Streams, TextError, Vocabulary, code_points, python_documentation, read_text

SMALL = ["--hidden", "24", "--steps", "8", "--batch", "4"]
PATTERN = "a stitch in time saves nine; "

DIRECTORY = "directory" if os.name == "posix" else "Permission denied"  # why it cannot be read
NO_SUCH_NAME = "No such file" if os.name == "posix" else "Invalid argument"  # where a name has a line break
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits as POSIX has them")


@pytest.fixture
def text(tmp_path):
    """A small text that is easy to learn."""
    path = tmp_path / "text.txt"
    path.write_text(PATTERN * 100, encoding="utf-8")
    return str(path)


def start(*arguments, **options):
    """``python -m rnncore`` with the package under test, as a process."""
    named = {"PYTHONPATH": str(Path(rnncore.__file__).parents[1]), "RNNCORE_BACKEND": rnncore.backends()[0]}
    environment = {**os.environ, **named, **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "rnncore", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options,
    )  # fmt: skip


def run(*arguments, **options):
    """The same to its end: exit code, stdout, stderr."""
    with start(*arguments, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out.decode().replace(os.linesep, "\n"), err.decode().replace(os.linesep, "\n")


def called(command, *arguments):
    """A command in this process: its exit code."""
    parser = argparse.ArgumentParser()
    getattr(cli, f"add_{command}_arguments")(parser)
    return getattr(cli, f"run_{command}")(parser.parse_args(list(map(str, arguments))))


def entries(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_file(one, other):
    one, other = entries(one), entries(other)
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype, name
        assert one[name].tobytes() == other[name].tobytes(), name


def assert_one_line(code, out, err, *parts):
    assert code == 2
    assert out == ""
    assert err.startswith("rnncore: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for part in parts:
        assert part in err


@pytest.mark.parametrize("cell", CELLS)
def test_learns_a_small_text(text, cell):
    training = Training(read_text(text), Settings(cell=cell, hidden=24, steps=8, batch=4, learning_rate=0.01))
    first = training.held_out_loss()
    for _ in range(600):
        training.step()
    assert first == pytest.approx(math.log(len(training.vocabulary)), rel=0.2)
    assert training.held_out_loss() < 0.1
    assert training.loss < 0.5
    sample = training.sample(200, 0.5)
    assert len(sample) == 200
    assert "stitch in time" in sample


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("cell", CELLS)
def test_learns_python_documentation_in_seconds(cell, optimizer):
    pytest.importorskip("pydoc_data.topics")
    settings = Settings(
        cell=cell, hidden=64, optimizer=optimizer, learning_rate=LEARNING_RATES[optimizer], steps=32
    )  # fmt: skip
    training = Training(python_documentation(), settings)
    before = training.held_out_loss()
    for _ in range(120):
        training.step()
    assert before > 4
    assert training.held_out_loss() < 3


def test_from_the_command_line(text, tmp_path):
    model = tmp_path / "model.npz"
    code, out, err = run("train", *SMALL, "--text", text, "--iterations", 300, "--sample-every", 100, "--save", model)
    assert code == 0
    assert err == ""  # no progress bar where there is no terminal
    assert f"{len(PATTERN) * 100:,} characters" in out
    losses = [float(loss) for loss in re.findall(r"train (\d\.\d+)", out)]
    assert [int(i) for i in re.findall(r"^iteration (\d+)", out, re.M)] == [100, 200, 300]
    assert losses == sorted(losses, reverse=True)
    assert f"saved {model} at iteration 300" in out

    code, sample, err = run("sample", model, "--prime", "a sti", "--length", 40, "--temperature", 0.2)
    assert (code, err) == (0, "")
    assert sample.startswith("a stitch in")
    assert len(sample) == 5 + 40 + 1


def test_the_default_text_needs_no_options(tmp_path):
    pytest.importorskip("pydoc_data.topics")
    code, out, _ = run("train", "--iterations", 2, "--sample-length", 0)
    assert code == 0
    assert "pydoc_data.topics" in out


def test_seconds_are_a_budget_too(text):
    before = time.monotonic()
    assert called("train", *SMALL, "--text", text, "--seconds", 0.3) == 0
    assert time.monotonic() - before < 20


def test_without_pydoc_data_it_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    code = called("train")
    assert_one_line(code, *capsys.readouterr(), "pydoc_data.topics", "--text FILE")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_backends_learn_the_same(text, cell, dtype):
    states = {}
    for backend in (rnncore.backends()[0], "numpy"):
        with rnncore.use_backend(backend):
            training = Training(read_text(text), Settings(cell=cell, hidden=7, steps=5, batch=3, dtype=dtype))
            for _ in range(4):
                training.step()
            numbers = training.params.flat.tobytes(), training.state.tobytes(), training.loss
            states[backend] = *numbers, training.sample(20, 0.8)
    assert len(set(states.values())) == 1, states.keys()


def test_backends_learn_the_same_with_layers_and_dropout(text):
    found = set()
    for backend in (rnncore.backends()[0], "numpy"):
        with rnncore.use_backend(backend):
            settings = Settings(cell="lstm", hidden=5, layers=2, dropout=0.4, steps=5, batch=3)
            training = Training(read_text(text), settings)
            for _ in range(4):
                training.step()
            assert training.state.shape == (2, 2, 3, 5)
            found.add((training.params.flat.tobytes(), training.held_out_loss(), training.sample(20, 0.8)))
    assert len(found) == 1


def test_dropout_changes_what_is_learned_and_needs_layers(text, capsys):
    learned = []
    for dropout in (0.0, 0.5):
        training = Training(read_text(text), Settings(hidden=8, layers=2, dropout=dropout, steps=5, batch=3))
        training.step()
        masks = training._dropout_masks(np.zeros((5, 3), np.int64))
        assert (masks is None) == (dropout == 0)
        learned.append(training.params.flat.tobytes())
    assert learned[0] != learned[1]
    assert called("train", *SMALL, "--text", text, "--dropout", "0.5") == 2
    assert "it is between layers, and there is one; add --layers 2" in capsys.readouterr().err


def test_two_directions_are_refused_with_a_reason(text, capsys):
    with pytest.raises(SystemExit) as refused:
        called("train", *SMALL, "--text", text, "--bidirectional")
    assert refused.value.code == 2
    assert "has seen what it is to write" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_and_keeps_what_was_saved(text, tmp_path, capsys):
    model = tmp_path / "model.npz"
    assert called("train", *SMALL, "--text", text, "--iterations", 3, "--save", model) == 0
    before = model.read_bytes()
    capsys.readouterr()
    code = called(
        "train", *SMALL, "--text", text, "--iterations", 50, "--save", model, "--learning-rate", 3e38, "--clip", "inf"
    )
    err = capsys.readouterr().err
    assert code == 2
    assert "not finite at iteration" in err
    assert "--learning-rate" in err
    assert err.count("\n") == 1
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    "options",
    [
        *(["--optimizer", name] for name in OPTIMIZERS),
        *(["--cell", cell] for cell in CELLS),
        ["--cell", "lstm", "--dtype", "float64", "--held-out", "0"],
        ["--layers", "2", "--cell", "gru"],
        ["--layers", "3", "--dropout", "0.3", "--cell", "lstm"],
    ],
    ids=" ".join,
)
def test_n_and_m_iterations_are_n_plus_m(text, tmp_path, options):
    """137 + 213 iterations of 8 steps over streams of some 700 characters: they start over on the way."""
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    new = [*SMALL, *options, "--text", text]
    assert called("train", *new, "--iterations", 137, "--save", parts) == 0
    assert called("train", "--resume", parts, "--iterations", 213, "--sample-every", 50) == 0
    assert called("train", *new, "--iterations", 350, "--save", whole) == 0
    assert_same_file(whole, parts)
    assert modelfile.load(whole).numbers["iteration"] == 350


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_goes_on_from_piece_to_piece(text, cell):
    """Chunks of 4 steps are the stream: their states are those of one forward pass, until the stream starts over."""
    training = Training(read_text(text), Settings(cell=cell, hidden=5, steps=4, batch=3))
    training._learn = lambda *_: True  # the parameters stay
    tokens = training.streams.tokens.astype(np.int64)
    whole = -(-(len(tokens) - 1) // 4)
    for n in [*range(1, whole + 1), 1, 2]:
        training.step()
        state = rnncore.forward(training.params, tokens[: min(4 * n, len(tokens) - 1)]).state
        assert training.state.shape == (len(CELLS[cell].states), 3, 5)
        assert training.state.tobytes() == np.stack(state if isinstance(state, tuple) else [state]).tobytes()


@pytest.mark.parametrize("cell", CELLS)
def test_the_held_out_loss_is_that_of_one_pass(text, cell):
    training = Training(read_text(text), Settings(cell=cell, hidden=5, steps=4, batch=3, dtype="float64"))
    held = training.held_out
    streams = Streams.cut(held, 3, len(held)).tokens.astype(np.int64)
    whole = rnncore.bptt(training.params, streams[:-1], streams[1:])
    assert training.held_out_loss() == pytest.approx(whole.loss / whole.losses.size, rel=1e-12)


def test_resume_may_save_elsewhere_and_repeat_its_options(text, tmp_path):
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    assert called("train", *SMALL, "--text", text, "--iterations", 2, "--save", one) == 0
    before = one.read_bytes()
    assert called("train", *SMALL, "--text", text, "--resume", one, "--iterations", 2, "--save", other) == 0
    assert one.read_bytes() == before
    assert modelfile.load(other).numbers["iteration"] == 4


def test_resume_refuses_other_options_and_other_texts(text, tmp_path, capsys):
    model = tmp_path / "model.npz"
    assert called("train", *SMALL, "--text", text, "--iterations", 2, "--save", model) == 0
    before = model.read_bytes()
    capsys.readouterr()
    code = called("train", "--resume", model, "--hidden", 25)
    assert_one_line(code, *capsys.readouterr(), "--hidden 25", "--hidden 24")
    Path(text).write_text(PATTERN * 99 + PATTERN.upper())
    code = called("train", "--resume", model)
    assert_one_line(code, *capsys.readouterr(), "not the one that this model was trained on")
    assert model.read_bytes() == before


def test_resume_with_another_learning_rate(text, tmp_path, capsys):
    """It is said, it is saved, and all else goes on: as a training whose optimizer was told so."""
    model, expected = tmp_path / "model.npz", tmp_path / "expected.npz"
    assert called("train", *SMALL, "--text", text, "--iterations", 5, "--save", model) == 0
    training = modelfile.resume(model, modelfile.load(model), read_text(text), 0.002)
    for _ in range(7):
        training.step()
    modelfile.save(expected, training, Source(str(text)), modelfile.digest(read_text(text)))
    capsys.readouterr()
    assert called("train", "--resume", model, "--learning-rate", 0.002, "--iterations", 3) == 0
    assert "the learning rate was 0.003, and is 0.002 from now on" in capsys.readouterr().out
    assert called("train", "--resume", model, "--iterations", 4) == 0
    assert "from now on" not in capsys.readouterr().out
    assert_same_file(model, expected)


def test_resume_with_another_text_of_the_same_characters(text, tmp_path, capsys):
    model, other, strange = tmp_path / "model.npz", tmp_path / "other.txt", tmp_path / "strange.txt"
    assert called("train", *SMALL, "--text", text, "--iterations", 5, "--save", model) == 0
    before = modelfile.load(model)
    other.write_text(read_text(text)[::-1] * 2, "utf-8")
    strange.write_text(read_text(text) + "\N{SNOWMAN}", "utf-8")
    capsys.readouterr()
    code = called("train", "--resume", model, "--text", strange)
    assert_one_line(code, *without_news(capsys.readouterr()), "is not in the model's vocabulary")
    assert called("train", "--resume", model, "--text", other, "--iterations", 1) == 0
    assert f"{other} is another text than before, and read from its beginning" in capsys.readouterr().out
    after = modelfile.load(model)
    assert after.numbers["position"] == before.settings.steps
    assert after.numbers["iteration"] == 6
    assert after.numbers["text_digest"] == modelfile.digest(read_text(other))
    assert after.vocabulary.codes.tolist() == before.vocabulary.codes.tolist()
    assert called("train", "--resume", model, "--iterations", 2) == 0  # it is its text now


def test_a_text_in_another_encoding(tmp_path, capsys):
    """It is decoded to the character, a mark at its start is none, and a resumed model still knows how to read it."""
    content = PATTERN * 50 + "na\u00efve caf\u00e9\n"
    for name, encoded in (
        ("latin-1", content.encode("latin-1")),
        ("utf-16", content.encode("utf-16")),
        ("utf-16-le", ("\ufeff" + content).encode("utf-16-le")),
        ("UTF8", b"\xef\xbb\xbf" + content.encode()),
    ):
        path, model = tmp_path / f"{name}.txt", tmp_path / f"{name}.npz"
        path.write_bytes(encoded)
        new = ["train", *SMALL, "--text", path, "--iterations", 1, "--save", model]
        assert called(*new, "--encoding", name) == 0
        assert "".join(map(chr, modelfile.load(model).vocabulary.codes)) == "".join(sorted(set(content)))
        assert called("train", "--resume", model, "--iterations", 1) == 0
        assert called("train", "--resume", model, "--encoding", name, "--iterations", 1) == 0
    capsys.readouterr()
    code = called("train", "--text", tmp_path / "utf-16.txt", "--encoding", "ascii")
    assert_one_line(code, *capsys.readouterr(), "not ASCII text: byte 0xff at offset 0; --encoding NAME says")
    (tmp_path / "odd").write_bytes(b"abc")
    assert_one_line(called("train", "--text", tmp_path / "odd", "--encoding", "utf-32"), *capsys.readouterr(), "UTF-32")
    for more in ([], ["--resume", tmp_path / "UTF8.npz"]):
        code = called("train", "--encoding", "latin-1", *more)
        assert_one_line(code, *capsys.readouterr(), "--encoding iso8859-1: it is that of a file")
    for wrong in ("hex", "klingon", "", "a\0b"):
        with pytest.raises(SystemExit):
            called("train", "--encoding", wrong)
        assert "is not an encoding that Python knows" in capsys.readouterr().err


def test_the_file_has_no_absolute_path_and_moves_with_its_text(text, tmp_path, capsys, monkeypatch):
    home, away = tmp_path / "home", tmp_path / "away"
    (home / "texts").mkdir(parents=True)
    (home / "models").mkdir()
    os.rename(text, home / "texts" / "a.txt")
    monkeypatch.chdir(home)
    new = ["train", *SMALL, "--iterations", 1, "--text"]
    assert called(*new, "texts/a.txt", "--save", "models/m.npz") == 0
    assert called(*new, home / "texts" / "a.txt", "--save", "models/n.npz") == 0
    assert_same_file("models/m.npz", "models/n.npz")
    assert modelfile.load("models/m.npz").numbers["source"] == "../texts/a.txt"
    assert not any(str(tmp_path) in str(array) for array in entries("models/m.npz").values())
    monkeypatch.chdir(tmp_path)
    os.rename(home, away)
    assert called("train", "--resume", away / "models" / "m.npz", "--iterations", 1) == 0
    assert called("train", "--resume", away / "models" / "m.npz", "--save", tmp_path / "o", "--iterations", 1) == 0
    assert modelfile.load(tmp_path / "o").numbers["source"] == "away/texts/a.txt"
    os.remove(away / "texts" / "a.txt")
    capsys.readouterr()
    code = called("train", "--resume", tmp_path / "o")
    assert_one_line(code, *capsys.readouterr(), "a.txt: not a file that can be read again", "--text FILE")


def test_an_absolute_path_of_an_earlier_version_is_followed(text, tmp_path):
    model = tmp_path / "folder" / "model.npz"
    model.parent.mkdir()
    assert called("train", *SMALL, "--text", text, "--iterations", 2, "--save", model) == 0
    with_numbers(model, source=text, encoding=None, python=None)
    assert called("train", "--resume", model, "--iterations", 1) == 0
    assert modelfile.load(model).numbers["source"] == "../text.txt"


def with_numbers(path, **changed):
    """Change the numbers of a file; None takes one away."""
    found = entries(path)
    numbers = {**json.loads(str(found["numbers"])), **changed}
    found["numbers"] = json.dumps({name: value for name, value in numbers.items() if value is not None})
    with open(path, "wb") as file:
        np.savez(file, **found)


def test_the_default_text_of_another_python_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(source_of_texts, "python_documentation", lambda: PATTERN * 100)
    model = tmp_path / "model.npz"
    assert called("train", *SMALL, "--iterations", 1, "--save", model) == 0
    assert "the documentation of Python 3." in capsys.readouterr().out
    monkeypatch.setattr(source_of_texts, "python_documentation", lambda: PATTERN * 101)
    with_numbers(model, python="3.99.1")
    code = called("train", "--resume", model)
    assert_one_line(code, *capsys.readouterr(), "Python 3.99.1", "differs: resume with that Python", "--text FILE")


def without_news(captured):
    """What was printed, but for what was said of another text."""
    return captured.out.replace(captured.out, ""), captured.err


def test_a_text_from_a_pipe_is_named_again(text, tmp_path, capsys):
    model = tmp_path / "model.npz"
    command = [sys.executable, "-m", "rnncore", "train", *SMALL, "--text", "/dev/stdin", "--save", str(model)]
    if os.name != "posix" or not os.path.exists("/dev/stdin"):
        pytest.skip("this system has no /dev/stdin")
    learned = subprocess.run(
        [*map(str, command), "--iterations", "1"], input=read_text(text), capture_output=True, text=True, check=True
    )
    assert f"--resume {model} --text FILE" in learned.stdout
    capsys.readouterr()
    assert_one_line(called("train", "--resume", model), *capsys.readouterr(), "came from a pipe", "--text FILE names")
    assert called("train", "--resume", model, "--text", text, "--iterations", 1) == 0


@pytest.mark.parametrize("cell", CELLS)
def test_the_cell_is_in_the_file(text, tmp_path, capsys, cell):
    model = tmp_path / "model.npz"
    new = ["train", *SMALL, "--text", text, "--iterations", 2, "--save", model, "--cell", cell]
    assert called(*new) == 0
    assert f"model  {cell}, 24 hidden units" in capsys.readouterr().out
    saved = modelfile.load(model)
    assert (saved.params.cell, saved.settings.cell) == (cell, cell)
    assert entries(model)["state"].shape == (len(CELLS[cell].states), 4, 24)
    assert called("train", "--resume", model, "--cell", cell, "--iterations", 1) == 0
    assert called("train", "--resume", model, "--iterations", 1) == 0
    assert f"model  {cell}, 24 hidden units" in capsys.readouterr().out
    assert called("sample", model, "--length", 5) == 0
    before, other = model.read_bytes(), next(name for name in CELLS if name != cell)
    capsys.readouterr()
    code = called("train", "--resume", model, "--cell", other)
    assert_one_line(code, *capsys.readouterr(), f"--cell {other}: {model} was trained with --cell {cell}")
    assert model.read_bytes() == before


def without_cell(path):
    """The file of a time that had but one cell: none in its settings, and a state without an axis for several."""
    arrays = entries(path)
    numbers = json.loads(str(arrays["numbers"]))
    del numbers["settings"]["cell"]
    arrays |= {"numbers": json.dumps(numbers), "state": arrays["state"][0]}
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def test_a_file_without_a_cell_is_an_rnn(text, tmp_path, capsys):
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    for path in (old, new):
        assert called("train", *SMALL, "--text", text, "--iterations", 3, "--save", path) == 0
    without_cell(old)
    assert modelfile.load(old).settings.cell == "rnn"
    for path in (old, new):
        assert called("train", "--resume", path, "--iterations", 2) == 0
    assert_same_file(old, new)
    capsys.readouterr()
    without_cell(old)
    code = called("train", "--resume", old, "--cell", "gru")
    assert_one_line(code, *capsys.readouterr(), "--cell gru", "--cell rnn")
    lstm = tmp_path / "lstm.npz"
    assert called("train", *SMALL, "--cell", "lstm", "--text", text, "--iterations", 1, "--save", lstm) == 0
    without_cell(lstm)
    capsys.readouterr()
    code = called("sample", lstm)
    assert_one_line(code, *capsys.readouterr(), "its parameters and its settings are of different cells")


def test_texts_that_cannot_be_used(tmp_path):
    def refuse(name, content, *parts):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        assert_one_line(*run("train", "--text", path), name, *parts)

    refuse("missing", None, "No such file or directory")
    refuse("empty", b"", "empty")
    refuse("bom", b"\xef\xbb\xbf", "empty")
    refuse("latin1", b"caf\xe9 " * 5000, "not UTF-8", "0xe9 at offset 3")
    refuse("bom_latin1", b"\xef\xbb\xbfcaf\xe9", "not UTF-8", "offset 6")
    refuse("cut", "né".encode()[:-1], "not UTF-8", "0xc3 at offset 1")
    refuse("surrogate", b"a\xed\xa0\x80", "not UTF-8", "offset 1")
    (tmp_path / "directory").mkdir()
    refuse("directory", None, DIRECTORY)
    assert_one_line(*run("train", "--text", tmp_path / "odd\nname"), f"odd name: {NO_SUCH_NAME}")


def test_a_text_shorter_than_a_piece(tmp_path, capsys):
    path = tmp_path / "short"
    path.write_text("abc " * 9)
    options = ["--text", path, "--hidden", 3, "--batch", 4, "--iterations", 1]
    code = called("train", *options, "--steps", 9)
    assert_one_line(code, *capsys.readouterr(), "36 characters", "--batch 4", "--steps 9", "at least 40")
    assert called("train", *options, "--steps", 8) == 0  # 36 = 4 * (8 + 1)


def test_no_permission(tmp_path, text):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("root reads everything")
    os.chmod(text, 0)
    assert_one_line(*run("train", "--text", text), "Permission denied")


def test_characters_of_all_kinds(tmp_path, capsys):
    """NUL, CR LF, a byte order mark, combining and astral characters, and a NUL as the vocabulary's last."""
    content = "\0a\r\nb\u0301\U0001f600\ufeff\x1b" * 50
    path, model = tmp_path / "text", tmp_path / "model"
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read_text(path) == content
    assert called("train", "--text", path, *SMALL, "--iterations", 3, "--save", model) == 0
    capsys.readouterr()
    assert modelfile.load(model).vocabulary.codes.tolist() == sorted(map(ord, set(content)))
    code, sample, err = run("sample", model, "--length", 50, env={"PYTHONIOENCODING": "ascii"})
    assert (code, err) == (0, "")
    assert "?" in sample
    assert called("train", "--text", path, "--resume", model, "--iterations", 1) == 0


def test_only_one_character(tmp_path, capsys):
    path, model = tmp_path / "text", tmp_path / "model"
    path.write_bytes(b"\0" * 100)
    assert called("train", "--text", path, *SMALL, "--iterations", 2, "--save", model) == 0
    assert called("sample", model, "--length", 3) == 0
    assert capsys.readouterr().out.endswith("\0\0\0\n")


def test_files_that_are_not_models(tmp_path, text, capsys):
    model = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 1, "--save", model) == 0
    capsys.readouterr()
    whole, path = model.read_bytes(), tmp_path / "foreign"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    others = []
    npy, npz, params, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, np.zeros(3))
    np.savez(npz, a=np.zeros(3))
    np.savez(params, **{**entries(model), "vocabulary": np.arange(3, dtype=np.uint32)})
    for codes in ([5, 5], [7, 0x110000], [1.0, 2.0]):  # not ascending, not a character, not integers
        damaged = io.BytesIO()
        np.savez(damaged, **{**entries(model), "vocabulary": np.array(codes)})
        others.append(damaged)
    np.savez(pickled, **{**entries(model), "state": np.array([{}], dtype=object)})
    buffers = [buffer.getvalue() for buffer in (npy, npz, params, pickled, *others)]
    for content in [b"", b"PK\x03\x04", b"text", whole[:-100], whole[: len(whole) // 2], bytes(flipped), *buffers]:
        path.write_bytes(content)
        for command in (["sample", path], ["train", "--resume", path]):
            code = called(*command)
            assert_one_line(code, *capsys.readouterr(), "foreign: not a model that rnncore train saved")
        assert path.read_bytes() == content
    assert_one_line(called("sample", tmp_path / "none"), *capsys.readouterr(), "none: No such file or directory")
    assert_one_line(called("sample", tmp_path), *capsys.readouterr(), DIRECTORY)


@pytest.mark.parametrize("entry", ["state", "optimizer.m", "optimizer.beta1", "numbers", "params.W_hh"])
def test_a_model_without_one_of_its_parts(tmp_path, text, capsys, entry):
    model = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 1, "--save", model) == 0
    capsys.readouterr()
    rest = {name: array for name, array in entries(model).items() if name != entry}
    with open(model, "wb") as file:
        np.savez(file, **rest)
    assert_one_line(called("train", "--resume", model), *capsys.readouterr(), "not a model")


def test_places_where_nothing_can_be_saved(tmp_path, text, capsys):
    places = [tmp_path, tmp_path / "none" / "model", os.devnull, Path(text) / "model", "", f"{tmp_path}/new/"]
    places += [tmp_path / ("m" * 300), *["/proc/model"] * Path("/proc/self").exists()]
    for place in places:
        assert_one_line(called("train", "--text", text, "--save", place), *capsys.readouterr(), str(place))
    assert Path(os.devnull).exists()


@pytest.mark.parametrize("broken", ["fsync", "replace", "write"])
def test_a_failing_save_leaves_the_old_file(tmp_path, text, capsys, monkeypatch, broken):
    model = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 2, "--save", model) == 0
    before = model.read_bytes()
    capsys.readouterr()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (os, "replace"), "write": (np, "savez")}[broken], fail)
    code = called("train", "--resume", model, "--iterations", 2)
    err = capsys.readouterr().err
    assert code == 2
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert model.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["model", "text.txt"]


def test_a_save_that_fails_on_the_way_does_not_end_the_training(tmp_path, text, capsys, monkeypatch):
    model, failures, fsync = tmp_path / "model", [], os.fsync

    def fail_twice(number):
        if len(failures) < 2:
            failures.append(number)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(number)

    monkeypatch.setattr(session, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(os, "fsync", fail_twice)
    assert called("train", "--text", text, *SMALL, "--iterations", 5, "--save", model) == 0
    assert capsys.readouterr().err.count("rnncore: warning: not saved at iteration") == 2
    assert modelfile.load(model).numbers["iteration"] == 5


@posix
def test_a_real_limit_on_the_file(tmp_path, text):
    resource = pytest.importorskip("resource")
    model = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 2, "--save", model) == 0
    before = model.read_bytes()
    half = len(before) // 2
    code, _, err = run(
        "train", "--resume", model, "--iterations", 2,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (half, half)),
    )  # fmt: skip
    assert code == 2
    assert "File too large" in err
    assert err.count("\n") == 1
    assert model.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["model", "text.txt"]


def hears_interrupts():
    """In the child: what a background job of a shell may have switched off."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup did


def started(text, model):
    """A training without end, after its first report."""
    endless = ["--seconds", "inf", "--sample-every", 20, "--sample-length", 0]
    process = start(
        "train", *endless, "--text", text, *SMALL, "--save", model,
        preexec_fn=hears_interrupts,
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith(b"iteration"):
            break
    return process


@posix
@pytest.mark.parametrize("number", [getattr(signal, name) for name in session.STOPPED if hasattr(signal, name)])
@pytest.mark.parametrize("times", [1, 3])
def test_signals_save_and_exit(text, tmp_path, number, times):
    model, same = tmp_path / "model", tmp_path / "same"
    with started(text, model) as process:
        for _ in range(times):
            process.send_signal(number)
            time.sleep(0.01)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.decode().count("\n") == 1
    iteration = int(re.search(rf"at iteration (\d+): saved {model} at iteration \1;", err.decode())[1])
    # It stopped between two steps: the same run, not interrupted, comes through the same numbers.
    assert called(
        "train", "--text", text, *SMALL, "--iterations", iteration, "--sample-every", 0, "--save", same
    ) == 0  # fmt: skip
    assert_same_file(model, same)
    assert sorted(os.listdir(tmp_path)) == ["model", "same", "text.txt"]


@posix
def test_an_interrupt_without_save_says_so(text):
    with start("train", "--text", text, *SMALL, "--sample-every", 20, preexec_fn=hears_interrupts) as process:
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"not saved" in err
    assert err.count(b"\n") == 1


@pytest.fixture
def handlers():
    """Signals as they were, afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_stop_waits_for_a_save_but_not_for_ever_for_an_iteration(monkeypatch):
    with session.Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # at once: a bounce
        assert stop.signal == signal.SIGINT
        monkeypatch.setattr(session, "PATIENCE", -1.0)
        stop.saving = True
        signal.raise_signal(signal.SIGINT)
        stop.saving = False
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)  # while the process ends


def test_signals_are_given_back(text):
    handler = signal.getsignal(signal.SIGINT)
    assert called("train", "--text", text, *SMALL, "--iterations", 1) == 0
    assert signal.getsignal(signal.SIGINT) is handler


@posix
def test_a_reader_that_leaves_is_no_error(text, tmp_path):
    model = tmp_path / "model"
    with started(text, model) as process:
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 141
    assert err == b""
    assert modelfile.load(model).numbers["iteration"] > 20


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_beginning(text, tmp_path, closed):
    model = tmp_path / "model"
    command = [
        sys.executable,
        "-m",
        "rnncore",
        "train",
        "--text",
        text,
        *map(str, SMALL),
        "--iterations",
        "3",
        "--save",
        model,
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(rnncore.__file__).parents[1])}
    assert subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], env=environment).returncode == 0
    assert modelfile.load(model).numbers["iteration"] == 3


@posix
def test_sample_into_head(text, tmp_path):
    model = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 1, "--save", model) == 0
    with start("sample", model, "--length", 3000) as process:
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "must be at least 1, got 0"),
        ("--steps", "-3", "must be at least 0, got -3"),
        ("--batch", "2.5", "'2.5' is not an integer"),
        ("--hidden", "1000000", "at most 100000"),
        ("--iterations", "0", "must be at least 1"),
        ("--learning-rate", "nan", "'nan' is not a number"),
        ("--learning-rate", "inf", "must be finite"),
        ("--learning-rate", "0", "must be greater than 0"),
        ("--clip", "-1", "must be greater than 0"),
        ("--seconds", "soon", "'soon' is not a number"),
        ("--held-out", "1", "less than 1"),
        ("--seed", "-1", "must be at least 0"),
        ("--dtype", "float16", "invalid choice"),
        ("--cell", "lsmt", "invalid choice: 'lsmt' (choose from "),
        ("--threads", "0", "must be at least 1"),
    ],
)
def test_arguments_out_of_range(capsys, option, value, message):
    with pytest.raises(SystemExit) as stopped:
        called("train", f"{option}={value}")
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert f"argument {option}" in err
    assert message in err


def test_an_unknown_backend(text, capsys):
    assert_one_line(called("train", "--text", text, "--backend", "abacus"), *capsys.readouterr(), "abacus")


@pytest.fixture
def model(text, tmp_path, capsys):
    path = tmp_path / "model"
    assert called("train", "--text", text, *SMALL, "--iterations", 30, "--save", path) == 0
    capsys.readouterr()
    return path


def sampled(capsys, model, *arguments):
    assert called("sample", model, *arguments) == 0
    return capsys.readouterr().out


def test_samples_are_the_seed_s_in_every_backend(model, capsys):
    texts = {sampled(capsys, model, "--length", 60, "--backend", name) for name in (rnncore.backends()[0], "numpy")}
    assert len(texts) == 1
    assert sampled(capsys, model, "--length", 60, "--seed", 1) not in texts
    assert sampled(capsys, model, "--length", 0, "--prime", "nine") == "nine\n"


def test_temperature_0_needs_no_luck(model, capsys):
    texts = {sampled(capsys, model, "--temperature", 0, "--seed", seed) for seed in range(3)}
    assert len(texts) == 1


def test_a_prime_that_the_model_cannot_read(model, capsys):
    assert_one_line(called("sample", model, "--prime", "a\u20acb"), *capsys.readouterr(), "'\\u20ac' (number 2)")
    assert_one_line(called("sample", model, "--prime", "\udcff"), *capsys.readouterr(), "'\\udcff' (number 1)")


def test_what_a_model_does_not_know_of_a_prime_can_be_left_out(model, capsys):
    """It is said, and the rest is read as if it had stood alone."""
    assert called("sample", model, "--prime", "a \u20acst\u20ac\u00e9i", "--skip-unknown", "--length", 20) == 0
    out, err = capsys.readouterr()
    assert err == "rnncore: left out of the prime: '\\u20ac\\xe9'\n"
    assert out == sampled(capsys, model, "--prime", "a sti", "--length", 20)
    assert called("sample", model, "--prime", "a sti", "--skip-unknown", "--length", 20) == 0
    assert capsys.readouterr() == (out, "")
    assert sampled(capsys, model, "--prime", "\u20ac", "--skip-unknown") == sampled(capsys, model)


def test_parameters_alone_sample_numbers(tmp_path, capsys):
    path, params = tmp_path / "params", rnncore.init_params("gru", 12, 5, 12, tokens=True, seed=1)
    params.save(path)
    uniforms = np.random.Generator(np.random.PCG64(4)).random(6)
    tokens, _ = rnncore.sample(params, np.array([3, 11]), uniforms, temperature=0.5)
    said = sampled(capsys, path, "--prime", "3 11", "--length", 6, "--temperature", 0.5, "--seed", 4)
    assert said == " ".join(map(str, [3, 11, *tokens.tolist()])) + "\n"
    assert sampled(capsys, path, "--length", 4).startswith("0 ")
    for prime in ("The ", "12", "-1", str(10**30)):
        code = called("sample", path, "--prime=" + prime)
        assert_one_line(code, *capsys.readouterr(), "has parameters alone, whose tokens are numbers, such as")
    rnncore.init_params("gru", 3, 5, 4).save(path)
    assert_one_line(called("sample", path), *capsys.readouterr(), "reads what it says, X = V")


def test_samples_are_written_alike_by_both_commands(tmp_path, capsys, monkeypatch):
    """As they are; for a terminal without what would move its cursor."""
    content, path, model = "\x1b\0\r\n\t\u2028", tmp_path / "text", tmp_path / "model"
    path.write_bytes(content.encode() * 40)
    new = ["train", "--text", path, *SMALL, "--iterations", 1, "--sample-length", 99]
    assert called(*new, "--save", model) == 0
    written = capsys.readouterr().out
    said = sampled(capsys, model, "--length", 99)
    for character in content:
        assert character in written
        assert character in said
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert called(*new) == 0
    for out in (capsys.readouterr().out, sampled(capsys, model, "--length", 99)):
        assert "\ufffd" in out
        assert not set(out) & set("\x1b\0\r\u2028")


@pytest.mark.parametrize("cell", CELLS)
def test_a_prime_sets_the_state(cell):
    """Two primes with the same last character may be followed by different texts."""
    vocabulary = Vocabulary.of("ab\n")
    params = rnncore.init_params(cell, 3, 8, 3, seed=1, dtype="float64")
    params.flat *= 2 if cell == "rnn_relu" else 8
    uniforms = np.random.default_rng(0).random(40)
    one, other = (generate(params, vocabulary, prime, uniforms, 1.0) for prime in ("abababaa", "bbbbbbba"))
    assert one != other
    assert generate(params, vocabulary, "", uniforms, 1.0) == generate(params, vocabulary, "\n", uniforms, 1.0)


def test_streams_cover_the_text_and_start_over():
    streams = Streams.cut(np.arange(23, dtype=np.int32), batch=2, steps=4)
    pieces = [streams.piece() for _ in range(4)]
    assert [inputs.shape for inputs, _ in pieces] == [(4, 2), (4, 2), (2, 2), (4, 2)]
    inputs, labels = (np.concatenate(column) for column in zip(*pieces[:3], strict=True))
    assert inputs.T.tolist() == [list(range(10)), list(range(11, 21))]
    assert (labels == inputs + 1).all()
    assert (pieces[3][0] == pieces[0][0]).all()
    assert inputs.dtype == np.int64


def test_vocabulary_there_and_back():
    text = "\0\n\U0010ffff\ud800é"
    vocabulary = Vocabulary.of(text)
    assert len(vocabulary) == 5
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert code_points(text).tolist() == [0, 10, 0x10FFFF, 0xD800, 0xE9]
    with pytest.raises(TextError, match=r"'x' \(number 2\)"):
        vocabulary.encode("\nx")


def test_smoothed_is_a_running_mean():
    assert smoothed(None, 3.0, 10, 10) == 3.0
    assert smoothed(3.0, 2.0, 10, 40) == 2.0
    assert smoothed(3.0, 2.0, 10, 80) == 2.5
    assert smoothed(3.0, 2.0, 500, 10**9) == 2.99

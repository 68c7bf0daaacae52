"""The file of a model in training: one npz of plain arrays (no pickle), enough to sample and to continue exactly."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
import sys
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from rnncore import Params
from rnncore.files import read_npz, write_whole
from rnncore.optim import Optimizer

from .model import Settings, Training, optimizer_of
from .text import CODE_POINTS, UTF_8, Source, Vocabulary

FORMAT = "rnncore.charmodel 1"


class ModelFileError(ValueError):
    """Raised for a file that is not a model, or not the one for this text; says so in one line."""


@dataclass
class Model:
    """Holds what is in a file. numbers: see ``save``; arrays: all entries of the file by name."""

    params: Params
    vocabulary: Vocabulary
    settings: Settings
    numbers: dict[str, Any]
    arrays: dict[str, Any]


def save(path: str | Path, training: Training, source: Source, text_digest: str) -> None:
    """Write the file, whole or not at all: what was at ``path`` stays until the new one is on the disk.

    text_digest: the ``digest`` of the text. Raises OSError if it cannot be written, ModelFileError if ``path`` is
    something other than a file.
    """
    require_place(path)
    numbers = {
        "settings": asdict(training.settings),
        "source": path_from(path, source),
        "encoding": source.encoding,
        "python": platform.python_version(),
        "text_digest": text_digest,
        "position": training.streams.position,
        "iteration": training.iteration,
        "characters": training.characters,
        "loss": training.loss,
    }
    arrays: dict[str, Any] = {f"params.{name}": training.params[name] for name in training.params}
    arrays |= {f"optimizer.{name}": np.asarray(value) for name, value in training.optimizer.state_dict().items()}
    arrays |= {"vocabulary": training.vocabulary.codes, "state": training.state}
    texts: dict[str, Any] = {"format": FORMAT, "cell": training.params.cell, "numbers": json.dumps(numbers)}
    write_whole(path, lambda file: np.savez(file, **texts, **arrays))


def load(path: str | Path) -> Model:
    """Return what ``save`` wrote, without running any of it. Raises OSError, or ModelFileError if it is not ours."""
    try:
        return unpack(read_npz(path))
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's, not the content's
        raise not_a_model_error(path, error) from error
    except Exception as error:  # a foreign file may make zipfile, zlib, NumPy and json raise almost anything
        raise not_a_model_error(path, error) from error


def unpack(arrays: dict[str, Any]) -> Model:
    """Return a model from the entries of its file; raise any exception if they are not one."""
    if str(arrays.get("format")) != FORMAT:
        raise ValueError(f"it has no entry format={FORMAT!r}")
    numbers = json.loads(str(arrays["numbers"]))
    known = {field.name for field in fields(Settings)}
    settings = Settings(**{name: value for name, value in numbers["settings"].items() if name in known})
    params = Params(str(arrays["cell"]), tokens=True, **with_prefix(arrays, "params."))
    codes = arrays["vocabulary"]
    if codes.dtype != np.uint32 or codes.ndim != 1 or (np.diff(codes.astype(int), append=CODE_POINTS) <= 0).any():
        raise ValueError("its vocabulary is not one")
    vocabulary = Vocabulary(codes)
    if params.inputs != len(vocabulary) or params.outputs != len(vocabulary) or params.hidden != settings.hidden:
        raise ValueError("its parameters and its vocabulary do not fit together")
    if params.cell != settings.cell or len(params.layers) != settings.layers or params.bidirectional:
        raise ValueError("its parameters and its settings are of different cells or layers")
    if not np.isfinite(params.flat).all():
        raise ValueError("its parameters are not finite")
    return Model(params, vocabulary, settings, numbers, arrays)


def optimizer_in(model: Model) -> Optimizer:
    """Return the optimizer that a file holds. Raises ValueError or TypeError if what it holds is none."""
    optimizer = optimizer_of(model.params, model.settings)
    optimizer.load_state_dict(with_prefix(model.arrays, "optimizer."))
    return optimizer


def path_from(path: str | Path, source: Source) -> str | None:
    """Return how a file names its text: by the way there from its own directory, so that both can be moved together.

    None is the default text; "" a text that cannot be found again, such as one from a pipe.
    """
    if source.path is None:
        return None
    try:
        return Path(os.path.relpath(source.path, directory_of(path))).as_posix() if source.is_there() else ""
    except ValueError:  # on Windows there is no way from one drive to another
        return ""


def source_in(path: str | Path, model: Model) -> Source:
    """Return the text that a file names. Raises ModelFileError if it names none."""
    named, encoding = model.numbers.get("source"), model.numbers.get("encoding", UTF_8)
    if named == "":
        raise ModelFileError(f"{path}: its text came from a pipe or another drive: --text FILE names a file of it")
    # What an earlier version wrote is absolute, and stays so.
    return Source(None if named is None else os.path.normpath(os.path.join(directory_of(path), named)), encoding)


def directory_of(path: str | Path) -> str:
    """Return the directory that a file is in, behind all links."""
    return os.path.dirname(os.path.realpath(path))


def is_of_text(model: Model, text: str) -> bool:
    """Return whether a model was last trained on this text."""
    return bool(model.numbers.get("text_digest") == digest(text))


def resume(path: str | Path, model: Model, text: str, learning_rate: float) -> Training:
    """Return the training that a file holds, at a learning rate; of another text, from its beginning.

    Raises ModelFileError for a damaged file, TextError for a text with characters that the model does not know.
    """
    training = Training(text, replace(model.settings, learning_rate=learning_rate), model.vocabulary)
    try:
        training.params.flat[:] = model.params.flat
        training.optimizer.load_state_dict(with_prefix(model.arrays, "optimizer."))
        training.optimizer.learning_rate = learning_rate
        if is_of_text(model, text):
            training.state = model.arrays["state"].reshape(training.state.shape).astype(training.state.dtype)
            training.streams.position = range(len(training.streams.tokens) - 1).index(model.numbers["position"])
        training.iteration = model.numbers["iteration"]
        training.characters = model.numbers["characters"]
        training.loss = model.numbers["loss"]
    except (KeyError, TypeError, ValueError) as error:
        raise not_a_model_error(path, error) from error
    return training


def digest(text: str) -> str:
    """Return what tells one text from another."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def require_place(path: str | Path) -> None:
    """Raise OSError or ModelFileError, before any training, if no file can be written at ``path``."""
    if not os.path.basename(path):
        raise ModelFileError(f"'{path}': not the name of a file, so a model cannot be saved there")
    with contextlib.suppress(FileNotFoundError):  # other errors, such as a name that is too long, it would meet again
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise ModelFileError(f"{path}: not a file, so a model cannot be saved there")
        if before.st_size > 0:
            require_model(path)
    folder = directory_of(path)
    if not os.path.isdir(folder):
        raise ModelFileError(f"{path}: there is no directory {folder} to save in")
    try:
        tempfile.TemporaryFile(dir=folder).close()
        if sys.platform == "win32" and not os.path.exists(path):  # it says so of names that are too long, too
            open(path, "xb").close()
            os.unlink(path)
    except OSError as error:
        raise ModelFileError(f"{path}: the directory {folder} is not writable: {error.strerror}") from error


def require_model(path: str | Path) -> None:
    """Raise ModelFileError if a file is no model: saving would lose what it holds."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            ours = str(file["format"]) == FORMAT
    except PermissionError:
        raise
    except Exception:  # see ``load``
        ours = False
    if not ours:
        raise ModelFileError(f"{path}: not a model that rnncore train saved, and not replaced; name another file")


def with_prefix(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries whose names start so, under the rest of their names; numbers as numbers."""
    named = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    return {name: array if array.ndim else array.item() for name, array in named.items()}


def not_a_model_error(path: str | Path, why: object) -> ModelFileError:
    """Return the error for a file that is something else, or damaged."""
    reason = str(why).splitlines()[0] if str(why) else type(why).__name__
    return ModelFileError(f"{path}: not a model that rnncore train saved ({reason})")

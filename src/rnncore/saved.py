"""Files of parameters and of models in training, of either kind, opened in a program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .files import read_npz
from .optim import Optimizer
from .params import FORMAT, Params


@dataclass(frozen=True, eq=False, repr=False)
class Saved:
    """Holds what a file has: see :func:`load`."""

    __slots__ = {
        "optimizer": "The optimizer as it was, of a model in training; None if there is none.",
        "params": "The parameters.",
        "vocabulary": "The characters that a model in training knows, token k at k; None if there are none.",
    }
    params: Params
    vocabulary: str | None
    optimizer: Optimizer | None

    def __repr__(self) -> str:
        characters = "" if self.vocabulary is None else f", {len(self.vocabulary)} characters, {self.optimizer!r}"
        return f"Saved({self.params!r}{characters})"


def load(path: str | os.PathLike[str]) -> Saved:
    """Return what is in a file that ``Params.save`` or ``python -m rnncore train --save`` wrote.

    Returns a :class:`Saved`: ``params``, and of a model in training ``vocabulary``, a string of its characters, and
    ``optimizer``, with which training goes on. Nothing in the file is executed. Raises OSError if there is no such
    file, ValueError if it is neither, or damaged.

    >>> import os, tempfile, rnncore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.npz")
    ...     rnncore.init_params("rnn", inputs=3, hidden=2, outputs=3).save(path)
    ...     rnncore.load(path)
    Saved(Params('rnn', inputs=3, hidden=2, outputs=3, dtype=float32))
    """
    if _format_of(path) == FORMAT:
        return Saved(Params.load(path), None, None)
    application: Any = import_module(".charmodel.file", __package__)  # which is built on this package
    model = application.load(path)
    return Saved(model.params, "".join(map(chr, model.vocabulary.codes)), application.optimizer_in(model))


def _format_of(path: str | os.PathLike[str]) -> str:
    """Return what a file says that it is; "" if it says nothing, as what reads it will find."""
    try:
        return str(read_npz(path).get("format", ""))
    except OSError:
        raise
    except Exception:  # a foreign file makes zipfile and NumPy raise nearly anything
        return ""

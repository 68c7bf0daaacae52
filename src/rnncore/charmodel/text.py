"""Text as a character model sees it: where it comes from, its characters as numbers, and streams of it.

A character is a Unicode code point.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnncore.types import Indices

UTF_8 = "utf-8"
BOM = "\ufeff"
CODE_POINTS = 0x110000


class TextError(ValueError):
    """Raised for a text that cannot be used; says why in one line."""


@dataclass(frozen=True)
class Source:
    """Says where a text comes from: the absolute path of a file, or None for the default text; and its encoding."""

    path: str | None = None
    encoding: str = UTF_8

    def read(self) -> str:
        """Return the text: see ``read_text`` and ``python_documentation``."""
        return python_documentation() if self.path is None else read_text(self.path, self.encoding)

    def is_there(self) -> bool:
        """Return whether the text can be read again: a pipe cannot."""
        return self.path is None or os.path.isfile(self.path)

    def __str__(self) -> str:
        if self.path is None:
            return f"the documentation of Python {platform.python_version()} (pydoc_data.topics)"
        return self.path if self.encoding == UTF_8 else f"{self.path} ({self.encoding})"


def read_text(path: str | Path, encoding: str = UTF_8) -> str:
    """Return the text of a file, every character but a byte order mark at its start.

    Raises TextError if the file is empty or not of this encoding, OSError if it cannot be read.
    """
    encoded = Path(path).read_bytes()
    try:
        text = encoded.decode(encoding).removeprefix(BOM)
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: not {encoding.upper()} text: byte 0x{encoded[error.start]:02x} at offset {error.start}; "
            "--encoding NAME says what else it is"
        ) from None
    except UnicodeError as error:  # of encodings that begin with a mark, and do not say where it is missing
        raise TextError(f"{path}: not {encoding.upper()} text: {error}; --encoding NAME says what else it is") from None
    if not text:
        raise TextError(f"{path}: the file is empty")
    return text


def python_documentation() -> str:
    """Return the topics of Python's ``help()``, part of CPython: some 500,000 characters of English and Python.

    Each version of Python has its own. Raises TextError where they are missing: some systems have them in another
    package.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError("this Python comes without pydoc_data.topics: name a text with --text FILE") from None
    return "\n\n".join(topics[name] for name in sorted(topics))


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the numbers of the characters. Lone surrogates, which a command line may hold, are characters too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


class Vocabulary:
    """Holds the characters that a model knows, in the order of their code points; a token is an index into it."""

    def __init__(self, codes: npt.NDArray[np.uint32]) -> None:
        """Take ascending code points, each once."""
        self.codes = codes

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Return all characters of a text."""
        present = np.zeros(CODE_POINTS, bool)
        present[code_points(text)] = True
        return cls(np.flatnonzero(present).astype(np.uint32))

    def __len__(self) -> int:
        return len(self.codes)

    def encode(self, text: str) -> npt.NDArray[np.int32]:
        """Return the tokens of a text. Raises TextError at a character that is not in the vocabulary."""
        tokens = self._tokens_or_minus_one(text)
        unknown = np.flatnonzero(tokens < 0)
        if unknown.size:
            at = int(unknown[0])
            raise TextError(f"the character {text[at]!a} (number {at + 1}) is not in the model's vocabulary")
        return tokens

    def known(self, text: str) -> str:
        """Return the characters of a text that are in the vocabulary."""
        tokens = self._tokens_or_minus_one(text)
        return self.decode(tokens[tokens >= 0])

    def _tokens_or_minus_one(self, text: str) -> npt.NDArray[np.int32]:
        token_of = np.full(CODE_POINTS, -1, np.int32)
        token_of[self.codes] = np.arange(len(self.codes))
        return token_of[code_points(text)]

    def decode(self, tokens: npt.NDArray[np.integer]) -> str:
        """Return the text of tokens."""
        return "".join(map(chr, self.codes[tokens].tolist()))


@dataclass
class Streams:
    """Holds a text in B contiguous streams side by side, and gives out pieces of up to ``steps`` steps.

    tokens (L, B): stream b is column b. position: where the next piece starts; at 0 a stream is new, and so must be
    the hidden state. The last piece of the streams may be shorter; the one after it starts over.
    """

    tokens: npt.NDArray[np.int32]
    steps: int
    position: int = 0

    @classmethod
    def cut(cls, tokens: npt.NDArray[np.int32], batch: int, steps: int) -> Streams:
        """Return streams of equal length from tokens (N,); the N mod batch last ones are left out."""
        length = len(tokens) // batch
        return cls(np.ascontiguousarray(tokens[: length * batch].reshape(batch, length).T), steps)

    def piece(self) -> tuple[Indices, Indices]:
        """Return inputs and labels, (T, B) both: at each step a character and the one after it. Move on."""
        last = len(self.tokens) - 1
        start, stop = self.position, min(self.position + self.steps, last)
        self.position = stop if stop < last else 0
        return self.tokens[start:stop].astype(np.int64), self.tokens[start + 1 : stop + 1].astype(np.int64)

    def once(self) -> Iterator[tuple[Indices, Indices]]:
        """Yield the pieces from here to the end of the streams."""
        yield self.piece()
        while self.position:
            yield self.piece()

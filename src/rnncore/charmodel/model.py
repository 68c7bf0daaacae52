"""A character-level language model: at every character, the probabilities of the next one.

Training goes through the streams of a text piece by piece. Each piece gives a gradient, by backpropagation through
time truncated at its start. It is divided by the number of characters, clipped by its norm, and makes one step of the
optimizer. The state at the end of a piece is where the next one starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rnncore import Params, bptt, cross_entropy, dropout_masks, forward, init_params, sample
from rnncore.cells import CELLS
from rnncore.optim import SGD, Adagrad, Adam, Optimizer, RMSprop
from rnncore.types import Array, Indices, States

from .text import Streams, TextError, Vocabulary

OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "adagrad": Adagrad, "rmsprop": RMSprop, "sgd": SGD}
# Of each optimizer, what learned fastest on the default text.
LEARNING_RATES = {"adam": 0.003, "adagrad": 0.03, "rmsprop": 0.003, "sgd": 1.0}
HELD_OUT_AT_MOST = 50_000  # characters: enough for the loss's second decimal, and little time
SMOOTHING = 50_000  # characters: how far back the smoothed loss looks at most


class DivergedError(ArithmeticError):
    """Raised when the loss or the gradient is no longer a finite number."""


@dataclass(frozen=True)
class Settings:
    """Holds what, with the text, decides every number of a training run."""

    cell: str = "rnn"
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.0
    steps: int = 64
    batch: int = 32
    seed: int = 0
    dtype: str = "float32"
    optimizer: str = "adam"
    learning_rate: float = LEARNING_RATES["adam"]
    clip: float = 1.0
    held_out: float = 0.05


class Training:
    """Holds a model in training: the parameters and all that the next step depends on.

    n steps, a save and m more steps lead to the same bits as n + m steps.
    """

    def __init__(self, text: str, settings: Settings, vocabulary: Vocabulary | None = None) -> None:
        """Begin. Raises TextError if the text is too short for one piece, or not of a given vocabulary."""
        self.settings = settings
        self.vocabulary = vocabulary or Vocabulary.of(text)
        self.length = len(text)
        tokens = self.vocabulary.encode(text)
        kept = len(tokens) - held_out(len(tokens), settings)
        self.streams = Streams.cut(tokens[:kept], settings.batch, settings.steps)
        self.held_out = tokens[kept:]
        self.params = init(len(self.vocabulary), settings)
        self.optimizer = optimizer_of(self.params, settings)
        states, layers = len(CELLS[settings.cell].states), [settings.layers] if settings.layers > 1 else []
        self.state = np.zeros((states, *layers, settings.batch, settings.hidden), settings.dtype)
        self.iteration = 0
        self.characters = 0
        self.loss: float | None = None

    def step(self, threads: int | None = None) -> int:
        """Learn one piece: gradient, clipping, step. Return how many characters it had.

        ``loss`` is then the smoothed training loss per character in nats, each piece before its own step. Raises
        DivergedError, with the parameters unchanged, if the loss or the gradient is not finite.
        """
        if self.streams.position == 0:
            self.state[:] = 0
        inputs, labels = self.streams.piece()
        state, masks = as_argument(self.state), self._dropout_masks(inputs)
        result = bptt(self.params, inputs, labels, state=state, dropout_masks=masks, threads=threads)
        if not (math.isfinite(result.loss) and self._learn(result.grads.flat, labels.size)):
            raise DivergedError(
                f"the loss or its gradient is not finite at iteration {self.iteration + 1}: lower --learning-rate"
            )
        self.state[:] = result.state
        self.iteration += 1
        self.characters += labels.size
        self.loss = smoothed(self.loss, result.loss / labels.size, labels.size, self.characters)
        return labels.size

    def _dropout_masks(self, inputs: Indices) -> list[Array] | None:
        """Return the masks of a piece, which seed and iteration decide; None without dropout."""
        rate = self.settings.dropout
        seed = self.settings.seed << 64 | self.iteration << 1 | 1  # which no generator of a sample has
        return dropout_masks(self.params, inputs, rate, seed) if rate > 0 and self.settings.layers > 1 else None

    def _learn(self, dx: Array, characters: int) -> bool:
        """Take a step by the gradient per character; return False, and take none, if that is not finite."""
        length = self.optimizer.step(self.params.flat, dx, scale=1 / characters, clip_norm=self.settings.clip)
        return math.isfinite(length)

    def held_out_loss(self, threads: int | None = None) -> float | None:
        """Return the loss per character, in nats, of the part of the text kept from training; None if there is none."""
        if len(self.held_out) < 2:
            return None
        batch = min(self.settings.batch, len(self.held_out) // 2)
        streams, state, total, count = Streams.cut(self.held_out, batch, self.settings.steps), None, 0.0, 0
        for inputs, labels in streams.once():
            out = forward(self.params, inputs, state=state, threads=threads)
            losses, _ = cross_entropy(out.y, labels)
            state, total, count = out.state, total + float(losses.sum(dtype=np.float64)), count + labels.size
        return total / count

    def sample(self, length: int, temperature: float) -> str:
        """Return a text by the model as it now is; seed and iteration decide it, so that it is always the same."""
        generator = np.random.Generator(np.random.PCG64([self.settings.seed, self.iteration]))
        return generate(self.params, self.vocabulary, "", generator.random(length), temperature)


def init(characters: int, settings: Settings) -> Params:
    """Return random parameters for tokens."""
    cell, H, L = settings.cell, settings.hidden, settings.layers
    return init_params(cell, characters, H, characters, layers=L, tokens=True, seed=settings.seed, dtype=settings.dtype)


def optimizer_of(params: Params, settings: Settings) -> Optimizer:
    """Return the optimizer of a new training."""
    return OPTIMIZERS[settings.optimizer](params.flat, learning_rate=settings.learning_rate)


def as_argument(states: Array) -> States:
    """Return states (S, ...) as bptt takes them: an array, or a tuple of them for a cell with several."""
    return tuple(states) if len(states) > 1 else states[0]


def held_out(characters: int, settings: Settings) -> int:
    """Return how many characters at the end of a text to keep from training: none, if no piece would be left.

    Raises TextError if there is no whole piece at all.
    """
    needed = settings.batch * (settings.steps + 1)
    if characters < needed:
        raise TextError(
            f"the text has {characters:,} characters; a piece of --batch {settings.batch} streams of "
            f"--steps {settings.steps} needs at least {needed:,}: batch * (steps + 1)"
        )
    return min(int(characters * settings.held_out), HELD_OUT_AT_MOST, characters - needed)


def smoothed(mean: float | None, value: float, characters: int, total: int) -> float:
    """Return the running mean of a value per character, with ``characters`` new ones of ``total``.

    It looks back on a quarter of all, and on SMOOTHING characters at most.
    """
    if mean is None:
        return value
    return mean + (value - mean) * min(1.0, characters / min(SMOOTHING, total / 4))


def generate(params: Params, vocabulary: Vocabulary, prime: str, uniforms: Array, temperature: float) -> str:
    """Return a text of one character for each number of ``uniforms``, as it may follow ``prime``.

    uniforms: numbers in [0, 1), drawn beforehand, so that every backend gives the same text. Without a prime the text
    starts as after a line's end, or after the first character of the vocabulary if it has no line's end.
    Raises TextError if the prime has a character that is not in the vocabulary.
    """
    read = vocabulary.encode(prime) if prime else start(vocabulary)
    tokens, _ = sample(params, read, uniforms, temperature=temperature)
    return vocabulary.decode(tokens)


def start(vocabulary: Vocabulary) -> Indices:
    """Return the token that stands before the beginning of a text, (1,)."""
    newline = np.flatnonzero(vocabulary.codes == ord("\n"))
    return newline if newline.size else np.zeros(1, np.int64)

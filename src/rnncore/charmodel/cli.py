"""``python -m rnncore train`` and ``sample``: a character-level language model, from the command line."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np

from rnncore import Params, load, use_backend
from rnncore import sample as draw
from rnncore.cells import CELLS
from rnncore.engines import current
from rnncore.types import Array

from . import file
from .kinds import count, encoding, natural, not_negative, positive, positive_or_inf, share
from .model import LEARNING_RATES, OPTIMIZERS, DivergedError, Settings, Training, generate
from .run import SAVE_EVERY, SECONDS, TEMPERATURE, Display, Run, Saver, Stop, say, written
from .text import UTF_8, Source, TextError, Vocabulary, code_points

SAMPLE_EVERY = 500
SAMPLE_LENGTH = 300


class Refused(argparse.Action):
    """Says why there is no such option."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """End the program."""
        parser.error("--bidirectional: a model that reads the text from its end, too, has seen what it is to write")


class RefusedError(ValueError):
    """Raised for arguments that cannot be followed; says why in one line."""


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``train``. Those that a resumed file has, too, default to None."""
    parser.description = (
        "Learn a character-level language model from a text. Without options: a minute on the Python documentation "
        "that comes with Python. Losses are in nats per character; 'train' is the smoothed loss of the pieces as they "
        "are learned, 'held out' that of the end of the text, which is not learned from."
    )
    _add_settings(parser, Settings())

    budget = parser.add_argument_group("how long (the first limit that is reached)")
    budget.add_argument("--iterations", type=count(), metavar="N", help="pieces to learn in this run")
    budget.add_argument(
        "--seconds", type=positive_or_inf, metavar="S",
        help=f"inf: until Ctrl-C (default: {SECONDS:g}, or no limit if --iterations is given)",
    )  # fmt: skip

    files = parser.add_argument_group("files")
    files.add_argument("--save", metavar="FILE", help=f"save the model here: every {SAVE_EVERY:g} s and at the end")
    files.add_argument(
        "--resume", metavar="FILE", help="continue a saved model exactly; saved there again unless --save is given"
    )

    output = parser.add_argument_group("samples")
    output.add_argument(
        "--sample-every", type=natural, default=SAMPLE_EVERY, metavar="N",
        help="iterations between samples; 0: only at the end (default: %(default)s)",
    )  # fmt: skip
    output.add_argument(
        "--sample-length", type=natural, default=SAMPLE_LENGTH, metavar="N", help="characters (default: %(default)s)"
    )
    _add_engine_arguments(parser)


def _add_settings(parser: argparse.ArgumentParser, default: Settings) -> None:
    data = parser.add_argument_group("text and model (a resumed model keeps its own, but for text and learning rate)")
    data.add_argument("--text", metavar="FILE", help="text to learn (default: Python's documentation)")
    data.add_argument("--encoding", type=encoding, metavar="NAME", help=f"of that file (default: {UTF_8})")
    data.add_argument("--cell", choices=list(CELLS), help=f"the kind of network (default: {default.cell})")
    data.add_argument(
        "--hidden", type=count(100_000), metavar="H", help=f"hidden units of a layer (default: {default.hidden})"
    )
    data.add_argument("--layers", type=count(100), metavar="L", help=f"layers (default: {default.layers})")
    data.add_argument(
        "--dropout", type=share, metavar="RATE",
        help=f"of what a layer reads from the one below, set to 0 while learning (default: {default.dropout:g})",
    )  # fmt: skip
    data.add_argument("--bidirectional", action=Refused, nargs=0, help=argparse.SUPPRESS)
    data.add_argument("--steps", type=count(), metavar="T", help=f"characters a piece (default: {default.steps})")
    data.add_argument("--batch", type=count(), metavar="B", help=f"streams side by side (default: {default.batch})")
    data.add_argument(
        "--held-out", type=share, metavar="SHARE", help=f"of the text, not learned from (default: {default.held_out})"
    )
    data.add_argument("--dtype", choices=["float32", "float64"], help=f"precision (default: {default.dtype})")
    data.add_argument(
        "--seed", type=natural, metavar="N", help=f"first parameters and samples (default: {default.seed})"
    )
    data.add_argument("--optimizer", choices=sorted(OPTIMIZERS), help=f"(default: {default.optimizer})")
    rates = ", ".join(f"{rate} for {name}" for name, rate in LEARNING_RATES.items())
    data.add_argument("--learning-rate", type=positive, metavar="RATE", help=f"size of a step (default: {rates})")
    data.add_argument(
        "--clip", type=positive_or_inf, metavar="NORM",
        help=f"longest gradient, of the mean loss per character; inf: no clipping (default: {default.clip})",
    )  # fmt: skip


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sample``."""
    parser.description = (
        "Print text by a model that 'train --save FILE' has saved. A file of parameters alone, by Params.save, has no "
        "characters: its tokens are numbers."
    )
    parser.add_argument("file", metavar="FILE", help="the saved model, or parameters")
    parser.add_argument(
        "--length", type=natural, default=500, metavar="N", help="characters to write (default: %(default)s)"
    )
    parser.add_argument(
        "--prime", default="", metavar="TEXT",
        help="how the text starts; it is printed, too. Of parameters alone: numbers between spaces (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--skip-unknown", action="store_true", help="leave out characters of the prime that the model does not know"
    )
    parser.add_argument(
        "--temperature", type=not_negative, default=TEMPERATURE, metavar="X",
        help="1: as learned; below: likelier text; 0: the likeliest character each time (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=natural, default=0, metavar="N", help="same seed, same text (default: %(default)s)"
    )
    _add_engine_arguments(parser)


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("who computes (never a question of results)")
    group.add_argument("--backend", metavar="NAME", help="cpp, numba or numpy (default: the first that works)")
    group.add_argument("--threads", type=count(), metavar="N", help="(default: as many as pay)")


def run_train(args: argparse.Namespace) -> int:
    """Run ``train``; return 128 and the number of a signal that stopped it, 2 after an error, which is one line."""
    return in_one_line(train, args)


def run_sample(args: argparse.Namespace) -> int:
    """Run ``sample``; return the exit code."""
    return in_one_line(sample, args)


def in_one_line(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command. What a user can mend becomes one line on stderr; a reader that has left is no error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal need not know every character of the text
    try:
        code = command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # what is still in the buffer has nowhere to go
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13  # as a shell says it of a program that SIGPIPE ended
    except KeyboardInterrupt:
        print("rnncore: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (RefusedError, TextError, file.ModelFileError, DivergedError) as error:
        return complain(str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return complain(f"{where}{error.strerror or error}")
    except MemoryError as error:
        return complain(f"not enough memory: {error}")
    return code


def complain(line: str) -> int:
    """Print what is wrong; return the exit code for it."""
    print("rnncore: error: " + line.replace("\n", " "), file=sys.stderr)
    return 2


@contextlib.contextmanager
def engine(name: str | None) -> Iterator[str]:
    """Compute with the named backend, or the default, in a ``with`` block; yield its name."""
    try:
        chosen = current(name).name
    except (ValueError, ImportError) as error:
        raise RefusedError(str(error)) from error
    with use_backend(chosen):
        yield chosen


def sample(args: argparse.Namespace) -> int:
    """Print the prime and what the model writes after it."""
    try:
        saved = load(args.file)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    uniforms = np.random.Generator(np.random.PCG64(args.seed)).random(args.length)
    with engine(args.backend):
        if saved.vocabulary is None:
            print(sampled_numbers(args, saved.params, uniforms))
            return 0
        vocabulary = Vocabulary(code_points(saved.vocabulary))
        prime = known(args.prime, vocabulary) if args.skip_unknown else args.prime
        text = generate(saved.params, vocabulary, prime, uniforms, args.temperature)
    print(written(prime + text))
    return 0


def known(prime: str, vocabulary: Vocabulary) -> str:
    """Return the characters of a prime that a model knows; say which it does not."""
    left = vocabulary.known(prime)
    if left != prime:
        unknown = "".join(dict.fromkeys(character for character in prime if character not in left))
        print(f"rnncore: left out of the prime: {unknown!a}", file=sys.stderr)
    return left


def sampled_numbers(args: argparse.Namespace, params: Params, uniforms: Array) -> str:
    """Return the tokens of the prime and of what follows, as numbers: nothing says what they stand for."""
    try:
        prime = np.array([int(word) for word in args.prime.split()] or [0])
        tokens, _ = draw(params, prime, uniforms, temperature=args.temperature)
    except (ValueError, TypeError, OverflowError) as error:
        raise RefusedError(
            f"{args.file} has parameters alone, whose tokens are numbers, such as --prime '3 1 4': {error}"
        ) from error
    return " ".join(map(str, [*prime, *tokens]))


def train(args: argparse.Namespace) -> int:
    """Learn until the budget is spent or a signal comes; save, if asked to, now and then and at the end."""
    training, saver = start(args)
    with engine(args.backend) as backend, Stop() as stop:
        say(introduction(training, saver, backend, resumed=args.resume))
        with Display(args) as display:
            Run(training, saver, stop, display, args).loop()
        if stop.signal is not None:
            print(f"{stop.name} at iteration {training.iteration}: {saver.outcome()}", file=sys.stderr)
            return 128 + stop.signal
        say(saver.outcome())
    return 0


def start(args: argparse.Namespace) -> tuple[Training, Saver]:
    """Return the training that the arguments ask for, new or resumed, and where it is saved."""
    path = args.save if args.save is not None else args.resume
    if path is not None:
        file.require_place(path)
    if args.resume is None:
        source = named_text(args)
        text = source.read()
        training = Training(text, settings(args))
    else:
        model = file.load(args.resume)
        require_same_settings(args, model.settings)
        source = named_text(args) if args.text is not None else text_in(args, model)
        text = source.read()
        require_text(args, model, text, source)
        rate = model.settings.learning_rate if args.learning_rate is None else args.learning_rate
        training = file.resume(args.resume, model, text, rate)
    return training, Saver(path, training, source, file.digest(text))


def named_text(args: argparse.Namespace) -> Source:
    """Return the text that --text names, or the default one."""
    if args.text is None and args.encoding is not None:
        raise RefusedError(f"--encoding {args.encoding}: it is that of a file, which --text names")
    return Source(None if args.text is None else os.path.abspath(args.text), args.encoding or UTF_8)


def text_in(args: argparse.Namespace, model: file.Model) -> Source:
    """Return the text that a resumed file names, and raise if it is not there."""
    source = file.source_in(args.resume, model)
    if args.encoding not in (None, source.encoding):
        raise RefusedError(f"--encoding {args.encoding}: it is that of a file, which --text names")
    if not source.is_there():
        raise RefusedError(
            f"{source.path}: not a file that can be read again, and {args.resume} names it; --text FILE names another"
        )
    return source


def require_text(args: argparse.Namespace, model: file.Model, text: str, source: Source) -> None:
    """Raise unless a resumed model's text is what it was, or was named as another; say if it is another."""
    if file.is_of_text(model, text):
        return
    if args.text is not None:
        say(f"{args.text} is another text than before, and read from its beginning")
    elif source.path is not None:
        raise RefusedError(
            f"{args.resume}: the text is not the one that this model was trained on; --text FILE names another"
        )
    else:
        version = model.numbers.get("python", "of another version")
        raise RefusedError(
            f"{args.resume}: its text is the documentation of Python {version}, and that of this one, "
            f"{platform.python_version()}, differs: resume with that Python, or name another text with --text FILE"
        )


def settings(args: argparse.Namespace) -> Settings:
    """Return the settings of a new training."""
    given = {name: value for name in asdict(Settings()) if (value := getattr(args, name)) is not None}
    optimizer, layers = given.get("optimizer", Settings().optimizer), given.get("layers", Settings().layers)
    if given.get("dropout") and layers == 1:
        raise RefusedError(f"--dropout {given['dropout']:g}: it is between layers, and there is one; add --layers 2")
    return Settings(**{"learning_rate": LEARNING_RATES[optimizer], **given})


def require_same_settings(args: argparse.Namespace, saved: Settings) -> None:
    """Raise if options change what a resumed file says, but for the learning rate; they may repeat it."""
    if args.learning_rate not in (None, saved.learning_rate):
        say(f"the learning rate was {saved.learning_rate:g}, and is {args.learning_rate:g} from now on")
    for name, value in asdict(saved).items():
        if name != "learning_rate" and getattr(args, name) not in (None, value):
            option = "--" + name.replace("_", "-")
            raise RefusedError(f"{option} {getattr(args, name)}: {args.resume} was trained with {option} {value}")


def introduction(training: Training, saver: Saver, backend: str, resumed: str | None) -> str:
    """Return what is about to happen, in a few lines."""
    settings, V, held = training.settings, len(training.vocabulary), len(training.held_out)
    layers = f"{settings.layers} layers of " if settings.layers > 1 else ""
    return "\n".join([
        f"text   {saver.source}: {training.length:,} characters, {V} different, the last {held:,} held out",
        f"model  {settings.cell}, {layers}{settings.hidden} hidden units, {training.params.flat.size:,} parameters, "
        + settings.dtype
        + (f", resumed from {resumed} at iteration {training.iteration:,}" if resumed else ""),
        f"learn  {settings.batch} streams x {settings.steps} steps, {settings.optimizer}, learning rate "
        f"{settings.learning_rate:g}, clip {settings.clip:g}, backend {backend}",
        f"A guess by the number of characters alone loses ln {V} = {math.log(V):.3f} nats per character.",
    ])  # fmt: skip

"""State dicts of PyTorch: which entries are a recurrent module's, an nn.Linear's, an nn.Embedding's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..words import one_of, what

RECURRENT = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
ENTRY = re.compile(r"(|.*\.)((?:weight|bias)_(?:ih|hh|hr))(?:_l(0|[1-9]\d*)(_reverse)?)?", re.DOTALL)
"""The name of an entry of a recurrent module: its prefix, its kind, its layer, which a cell has not, its direction."""

WRAPPERS = ("module", "_orig_mod")
"""What nn.DataParallel and torch.compile put before names: a prefix may be said without them."""


class Recurrent(NamedTuple):
    """Holds the entries of a recurrent module in a state dict.

    arrays: by name, without the prefix. suffixes: what the names of each part end with, in the order of use, such as
    "_l1_reverse". others: the rest of the state dict.
    """

    prefix: str
    arrays: dict[str, Any]
    suffixes: list[str]
    bidirectional: bool
    others: dict[str, Any]


def recurrent_of(weights: object) -> Recurrent:
    """Return the one recurrent module that a state dict has, by itself or among a whole model's entries."""
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must be a dict of arrays, {', '.join(RECURRENT)}, got {what(weights)}")
    found = {name: match for name in weights if isinstance(name, str) and (match := ENTRY.fullmatch(name))}
    prefixes = list(dict.fromkeys(match[1] for match in found.values()))
    if len(prefixes) > 1:
        raise _many_error(prefixes)
    if weights and not prefixes:
        raise _none_error(weights)
    if any(match[3] for match in found.values()):  # else a cell, of which the names have no layer
        found = {name: match for name, match in found.items() if match[3]}
    prefix = prefixes[0] if prefixes else ""
    for name, match in found.items():
        if match[2] == "weight_hr":
            raise ValueError(
                f"weights must be of a module with proj_size=0, for no cell here has projections, got {name!r}"
            )
    suffixes, bidirectional = _suffixes(found.values())
    arrays = {name.removeprefix(prefix): weights[name] for name in found}
    others = {name: array for name, array in weights.items() if name not in found}
    return Recurrent(prefix, arrays, suffixes, bidirectional, others)


def _suffixes(found: Iterable[re.Match[str]]) -> tuple[list[str], bool]:
    """Return the suffixes of all layers and directions that names tell of, and whether there are two directions."""
    matches = list(found)
    if matches and matches[0][3] is None:
        return [""], False
    numbers = {0, *(int(match[3]) for match in matches)}
    missing = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if missing < len(numbers):
        raise TypeError(f"weight_ih_l{missing} must be an array, got None beside weight_ih_l{max(numbers)}")
    ways = ("", "_reverse") if any(match[4] for match in matches) else ("",)
    return [f"_l{number}{way}" for number in range(len(numbers)) for way in ways], len(ways) == 2


def entries_of(
    name: str, given: object, known: Sequence[str], whose: str, others: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Return the arrays of a module without parts, by name, and which names of ``others`` they have there.

    given: its state dict, of which the names may have one prefix, or, as a string, its prefix in ``others``.
    """
    if isinstance(given, str):
        prefix = _said_prefix(name, given, others)
        entries = {entry: array for entry, array in others.items() if entry.rpartition(".")[0] == prefix}
        return _without_prefix(name, entries, known, whose), set(entries)
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{name} must be a dict of arrays, {', '.join(known)}, or the prefix of their names in weights, "
            f"got {what(given)}"
        )
    return _without_prefix(name, given, known, whose), set()


def _without_prefix(name: str, given: Mapping[Any, Any], known: Sequence[str], whose: str) -> dict[str, Any]:
    prefixes = dict.fromkeys(str(entry).rpartition(".")[0] for entry in given)
    if len(prefixes) > 1:
        raise ValueError(
            f"{name} must be {whose}, the arrays {', '.join(known)}, their names with one prefix at most, got "
            f"{_some(given)}"
        )
    for entry in given:
        if not isinstance(entry, str) or entry.rpartition(".")[2] not in known:
            raise ValueError(f"{name} must be {whose}, the arrays {', '.join(known)}, got {what(entry)}")
    return {entry.rpartition(".")[2]: array for entry, array in given.items()}


def _said_prefix(name: str, given: str, others: Mapping[Any, Any]) -> str:
    """Return the one prefix in a state dict that was said, perhaps without a wrapper's."""
    prefixes = _prefixes(others)
    said = given.removesuffix(".")
    fit = [said] if said in prefixes else [prefix for prefix in prefixes if _plain(prefix) == _plain(said)]
    if len(fit) != 1:
        there = f"such as {one_of(prefixes[:5])}" if prefixes else "of which there are none"
        raise ValueError(
            f"{name} must be the prefix of entries of weights beside the recurrent ones, {there}, got {given!r}"
        )
    return fit[0]


def _prefixes(entries: Iterable[object]) -> list[str]:
    """Return the prefixes of names, without their last point."""
    return list(dict.fromkeys(entry.rpartition(".")[0] for entry in entries if isinstance(entry, str) and "." in entry))


def _plain(prefix: str) -> list[str]:
    return [part for part in prefix.split(".") if part not in WRAPPERS]


def require_all_taken(recurrent: Recurrent, taken: set[str]) -> None:
    """Raise if a state dict has entries that nobody has claimed: a net is never made without what was given."""
    left = [entry for entry in recurrent.others if entry not in taken]
    if not left:
        return
    prefixes = _prefixes(left)
    if not prefixes:
        raise ValueError(
            f"weights must be of one recurrent module, the arrays {', '.join(RECURRENT)} and those of further layers, "
            f"_l1, and directions, _reverse, got {what(left[0])}"
        )
    raise ValueError(
        f"weights has the prefix {recurrent.prefix!r} before the names of the recurrent arrays, and beside them "
        f"{_some(left)}: say linear={prefixes[-1]!r} if that is the output layer, embedding={prefixes[0]!r} if that "
        f"embeds tokens, or pass the recurrent arrays alone, {_comprehension(recurrent.prefix)}"
    )


def _some(entries: Iterable[object]) -> str:
    """Return a few names as messages list them."""
    listed = list(entries)
    return ", ".join(map(repr, listed[:4])) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def _comprehension(prefix: str) -> str:
    """Return the code that takes the entries with a prefix."""
    return f"{{name: array for name, array in weights.items() if name.startswith({prefix!r})}}"


def _many_error(prefixes: Sequence[str]) -> ValueError:
    example = max(prefixes[:2], key=len)
    return ValueError(
        f"weights must be of one recurrent module, got arrays of those with the prefixes {one_of(prefixes)}: take the "
        f"names of one, {_comprehension(example)}"
    )


def _none_error(weights: Mapping[Any, Any]) -> ValueError:
    inner = [entry for entry, value in weights.items() if isinstance(value, Mapping)]
    hint = f"; the state dict may be weights[{inner[0]!r}]" if inner else ""
    return ValueError(
        f"weights must be the state dict of a recurrent module, the arrays {', '.join(RECURRENT)}, perhaps with a "
        f"prefix before their names, got {_some(weights)}{hint}"
    )

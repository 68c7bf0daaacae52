"""Processors: what a kind is called, and what was found of it. A kind is a name with its family and model."""

import re
from typing import Any

ARCHITECTURES = {"25/1": "Zen 3", "25/17": "Zen 4"}  # by family and model
NEAR = 1.25  # a load over so many pages takes at most so many times as long as over the fewest

Machine = dict[str, Any]
"""What ``environment.machine`` says."""


def brand(machine: Machine) -> str:
    """Like AMD EPYC: what is left without signs, clock rates, and words that all of them have."""
    return re.sub(r"\(.*?\)|@.*|\d+-Core.*|Processor|CPU", "", str(machine["cpu"])).strip()


def name(machine: Machine) -> str:
    """Like AMD EPYC (Zen 4), or with the family and the model for who has no name here."""
    family_model = str(machine["family_model"])
    return f"{brand(machine)} ({ARCHITECTURES.get(family_model, f'family/model {family_model}')})"


def slug(machine: Machine) -> str:
    """The kind, for the names of files: like amd-epyc-25-17."""
    return re.sub(r"[^a-z0-9]+", "-", f"{brand(machine)} {machine['family_model']}".lower()).strip("-")


def found(machine: Machine) -> str:
    """Names, cores, caches, instruction sets, and how busy it was."""
    levels = {"L1": "L1d"}
    caches = ", ".join(f"{levels.get(level, level)} {size >> 10} KiB" for level, size in machine["caches"].items())
    return (
        f"{machine['cpu']} (family/model {machine['family_model']}), {machine['cores']} cores; {caches}; "
        f"{', '.join(machine['instruction_sets'])}; load average at the start {machine['load_average'][0]:.2f}"
    )


def reach(limits: dict[str, list[float]]) -> list[str]:
    """How many pages address translation has near, told by the time of a load; nothing where it was not read."""
    kinds: dict[str, dict[int, float]] = {}
    for key, readings in limits.items():
        if match := re.fullmatch(r"chase (\d+) (.*)", key):
            kinds.setdefault(match[2], {})[int(match[1])] = min(readings)
    told = []
    for kind, times in kinds.items():
        first, most = times[min(times)], max(times)
        near = max(pages for pages in times if all(times[n] <= NEAR * first for n in times if n <= pages))
        which = "of a huge page" if kind == "huge" else f"of {kind}"
        least = "at least " if near == most else ""
        told.append(
            f"{least}{near} pages {which} ({1e9 * first:.1f} ns a load, over {most} {1e9 * times[most]:.1f} ns)"
        )
    return [f"Address translation is near for {', '.join(told)}"] if told else []

"""Results are today what they were at the last release: digests, so that no two columns drift together."""

import json

import pytest
from golden import CASES, FILE, digest

DIGESTS = json.loads(FILE.read_text("utf-8"))


def test_everything_has_a_digest() -> None:
    assert list(DIGESTS) == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_digest(name: str, engine: str) -> None:
    assert digest(CASES[name](engine)) == DIGESTS[name]

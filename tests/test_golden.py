"""Results are today what they were at the last release: digests, so that no two columns drift together."""

import json

import pytest
from golden import FILE, NETS, digest, golden_net
from nets import run

DIGESTS = json.loads(FILE.read_text())


def test_every_net_has_a_digest() -> None:
    assert list(DIGESTS) == list(NETS)


@pytest.mark.parametrize("name", NETS)
def test_digest(name: str, engine: str) -> None:
    assert digest(run(golden_net(name), engine)) == DIGESTS[name]

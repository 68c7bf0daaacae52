"""Every option of bptt beside every other: each pair works, or is refused as docs/options.md says."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnncore

PAGE = Path(__file__).parents[1] / "docs/options.md"
T, B, X, H, V = 5, 2, 3, 4, 3
OPTIONS = (
    *("a list", "`lengths`", "`offsets`", "`resets`", "`state`", "`weights`", "`dropout_masks`", "`need_dinputs`"),
    *("`truncate`", "`checkpoint`", "`per_sequence`", "tokens", "two directions", "one label a sequence", "`loss`"),
)


def refused() -> dict[frozenset[str], str]:
    """The pairs of the page's table, and how their messages begin."""
    if not PAGE.exists():
        pytest.skip("the pages are not beside these tests")
    rows = re.findall(r"^\| (?!option|---)(.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {frozenset((one, other)): message for one, other, message in rows}


def call(*names: str) -> Any:
    """A call with these options."""
    numbers, directions = np.random.default_rng(1), 1 + ("two directions" in names)
    params = rnncore.init_params(
        "lstm", X, H, V, layers=2, bidirectional=directions == 2, tokens="tokens" in names, seed=0, dtype="float64"
    )
    x = numbers.integers(0, X, (T, B)) if "tokens" in names else numbers.normal(size=(T, B, X))
    shape: tuple[int, ...] = (B,) if "one label a sequence" in names else (T, B)
    labels = numbers.normal(size=(*shape, V)) if "`loss`" in names else numbers.integers(0, V, shape)
    steps: dict[str, Any] = {"resets": numbers.random((T, B)) < 0.4, "weights": numbers.random(shape)}
    masks = numbers.random((B, directions * H))
    given: dict[str, Any] = {"inputs": x, "labels": labels, **{name: steps[name] for name in named(names, steps)}}
    if {"a list", "`offsets`"} & set(names):  # one sequence after the other
        given = {
            name: array if array.shape[0] == B else [array[:, b] for b in range(B)] for name, array in given.items()
        }
        if "`offsets`" in names and "a list" not in names:
            given = {name: np.concatenate(a) if isinstance(a, list) else a for name, a in given.items()}
    options = {
        "`lengths`": {"lengths": np.array([T, 2])},
        "`offsets`": {"offsets": np.array([0, T, 2 * T])},
        "`state`": {"state": tuple(numbers.normal(size=(2 * directions, B, H)) for _ in range(2))},
        "`dropout_masks`": {"dropout_masks": [masks]},
        "`need_dinputs`": {"need_dinputs": True},
        "`truncate`": {"truncate": 2},
        "`checkpoint`": {"checkpoint": 2},
        "`per_sequence`": {"per_sequence": "norms"},
        "`loss`": {"loss": "squared_error"},
    }
    more = {key: value for name in names for key, value in options.get(name, {}).items()}
    return rnncore.bptt(params, given.pop("inputs"), given.pop("labels"), **given, **more)


def named(names: tuple[str, ...], known: dict[str, Any]) -> list[str]:
    return [name for name in known if f"`{name}`" in names]


@pytest.mark.parametrize("pair", list(itertools.combinations(OPTIONS, 2)), ids=" and ".join)
def test_each_pair_works_or_is_refused(pair: tuple[str, str]) -> None:
    message = refused().get(frozenset(pair))
    if message is None:
        result = call(*pair)
        assert np.isfinite(result.loss)
        assert np.isfinite(result.grads.flat).all()
    else:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call(*pair)


def test_the_page_names_options_that_there_are() -> None:
    assert set().union(*refused()) <= set(OPTIONS)


def test_windows_of_last_states_of_two_directions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^truncate must be None for one label a sequence and a net of two directions"
    ):
        call("`truncate`", "two directions", "one label a sequence")


@pytest.mark.parametrize("options", [{"truncate": 2}, {"per_sequence": True}, {"checkpoint": 2}], ids=lambda o: str(*o))
def test_tokens_of_two_axes_need_not_be_said_to_be_tokens(options: dict[str, Any], engine: str) -> None:
    """The labels' shape says it, also where forward is called, which has no labels."""
    params = rnncore.init_params("rnn", X, H, X, seed=0)
    said = rnncore.Params("rnn", tokens=True, **params)
    tokens = np.random.default_rng(1).integers(0, X, (T, B))
    found, expected = (rnncore.bptt(net, tokens, tokens, backend=engine, **options) for net in (params, said))
    assert found.grads == expected.grads
    assert found.grads.tokens is None


def test_a_gradient_flow_need_not_be_told_of_tokens_of_two_axes(engine: str) -> None:
    params = rnncore.init_params("rnn", X, H, X, seed=0)
    said = rnncore.Params("rnn", tokens=True, **params)
    tokens = np.random.default_rng(1).integers(0, X, (T, B))
    found, expected = (rnncore.gradient_flow(net, tokens, tokens, backend=engine) for net in (params, said))
    assert found.by_step.tobytes() == expected.by_step.tobytes()
    assert found.contribution(1) == expected.contribution(1)


@pytest.mark.parametrize(
    "options", [{}, {"truncate": 2}, {"per_sequence": True}, {"checkpoint": 2}, None], ids=lambda o: str(o)
)
@pytest.mark.parametrize("label", [2**40, -(2**63)])
def test_nobody_reads_the_label_of_a_sequence_without_steps(
    label: int, options: dict[str, Any] | None, engine: str
) -> None:
    """options None: gradient_flow."""
    params = rnncore.init_params("rnn", X, H, 4, seed=0, tokens=False)
    inputs, lengths = np.random.default_rng(1).normal(size=(T, 3, X)), np.array([T, 0, 2])

    def call(of_nothing: int) -> Any:
        given: dict[str, Any] = {"lengths": lengths, "backend": engine}
        labels = np.array([1, of_nothing, 3])
        if options is None:
            return rnncore.gradient_flow(params, inputs, labels, **given).by_step
        found = rnncore.bptt(params, inputs, labels, **given, **options)
        assert found.losses[1] == 0
        assert found.count == 2
        return found.grads.flat

    assert call(label).tobytes() == call(-1).tobytes()


def test_arrays_without_axes_are_refused(engine: str) -> None:
    params = rnncore.init_params("rnn", 2, H, 2, seed=0)
    with pytest.raises(ValueError, match="labels must be"):
        rnncore.bptt(params, np.array(1), 5e-324, loss="squared_error", backend=engine)


@pytest.mark.parametrize("reset", [False, True])
def test_resets_are_refused_for_two_directions_even_if_none_is_set(reset: bool, engine: str) -> None:
    params = rnncore.init_params("rnn", X, H, X, seed=0, bidirectional=True, tokens=False)
    inputs, labels = np.zeros((T, B, X), params.dtype), np.zeros((T, B), int)
    for call in (rnncore.bptt, rnncore.forward):
        given = (labels,) if call is rnncore.bptt else ()
        with pytest.raises(ValueError, match=r"^resets must be None for a net of two directions"):
            call(params, inputs, *given, resets=np.full((T, B), reset), backend=engine)

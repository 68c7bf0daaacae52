"""A process that flushes subnormal numbers, or rounds in another direction, gets the same bits and keeps its mode."""

import platform
from collections.abc import Iterator
from typing import Any

import nets
import numpy as np
import pytest

import rnncore
from rnncore import rounding
from rnncore.optim import SGD, Adagrad, Adam, RMSprop

core = pytest.importorskip("rnncore._core", reason="the compiled core sets the processor's mode")

# Bits of MXCSR, or of FPCR on arm64.
MODES = (
    {"flush results": 1 << 15, "flush operands": 1 << 6, "upwards": 2 << 13, "towards zero": 3 << 13}
    if platform.machine() in ("x86_64", "AMD64")
    else {"flush": 1 << 24, "upwards": 1 << 22, "towards zero": 3 << 22}
)

# Made before any mode is set.
PARAMETERS, GRADIENT = np.linspace(-1e-35, 1, 99, dtype="float32"), np.geomspace(1e-40, 1e-19, 99).astype("float32")
PARAMS, UNIFORMS = nets.make_net(1, 1, 9, 8, 9, scale=3, tokens=True).params, np.linspace(0, 0.999, 60)

TINY = np.full(8, 1e-40, np.float32)
LAYERS = nets.make_net(3, 130, 3, 2, 2, scale=1e-12, layers=3, bidirectional=True, dropout=True)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """A mode other than the standard one, set until the test ends."""
    mode = core.STANDARD_ROUNDING | MODES[request.param]
    before = core.set_rounding_mode(mode)
    try:
        yield mode
    finally:
        core.set_rounding_mode(before)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_bits_are_the_same_and_the_mode_stays(scale: float, engine: str) -> None:
    """At the smaller scale the gradients of the first steps are subnormal."""
    net = nets.make_net(12, 3, 5, 7, 4, scale=scale, labels="last")
    expected = nets.run(net, engine)
    for bits in MODES.values():
        before = core.set_rounding_mode(core.STANDARD_ROUNDING | bits)
        try:
            found = nets.run(net, engine)
        finally:
            after = core.set_rounding_mode(before)
        # The processor notes in the same register that it has rounded; that is no mode.
        assert after & ~0x3F == core.STANDARD_ROUNDING | bits
        nets.assert_same_bits(expected, found)


def test_pieces_of_two_directions_have_the_same_bits(mode: int, engine: str) -> None:
    """What goes from layer to layer is added and multiplied by masks outside of the engines."""
    net = LAYERS

    def gradients() -> nets.Results:
        options = {"dropout_masks": net.dropout_masks, "need_dinputs": True, "backend": engine}
        result = rnncore.bptt(net.params, net.inputs, net.labels, checkpoint=1, **options)
        return {"grads": result.grads.flat, "dinputs": result.dinputs}

    found = gradients()
    core.set_rounding_mode(core.STANDARD_ROUNDING)
    nets.assert_same_bits(gradients(), found)


@pytest.mark.parametrize("rule", [SGD, Adagrad, RMSprop, Adam])
def test_steps_of_an_optimizer_have_the_same_bits(rule: Any, mode: int, engine: str) -> None:
    """Gradients that are subnormal, and others whose squares are."""

    def steps() -> nets.Results:
        x, dx = PARAMETERS.copy(), GRADIENT
        optimizer = rule(x, learning_rate=1 / 3)
        for _ in range(3):
            length = optimizer.step(x, dx, scale=0.7, clip_norm=1e-20, backend=engine)
        return {"x": x, "length": np.array(length), **{n: np.array(v) for n, v in optimizer.state_dict().items()}}

    found = steps()
    core.set_rounding_mode(core.STANDARD_ROUNDING)
    nets.assert_same_bits(steps(), found)


def test_tokens_are_the_same(mode: int, engine: str) -> None:
    found = rnncore.sample(PARAMS, 0, UNIFORMS, backend=engine)
    core.set_rounding_mode(core.STANDARD_ROUNDING)
    expected = rnncore.sample(PARAMS, 0, UNIFORMS, backend=engine)
    nets.assert_same_bits(*(dict(zip(("tokens", "state"), result, strict=True)) for result in (expected, found)))


def test_steps_one_by_one_are_the_same(mode: int, engine: str) -> None:
    """Tiny states are subnormal before the next step."""

    def steps() -> nets.Results:
        stepper = rnncore.Stepper(PARAMS, backend=engine)
        stepper.state = TINY
        tiny = stepper.state
        y = np.stack([stepper.step(token) for token in (0, 3, 8, 1)])
        return {"tiny": tiny, "y": y, "state": stepper.state}

    found = steps()
    assert core.set_rounding_mode(core.STANDARD_ROUNDING) & ~0x3F == mode
    nets.assert_same_bits(steps(), found)


def test_another_mode_is_noticed(mode: int) -> None:
    assert not rounding.is_standard()
    with rounding.standard():
        assert rounding.is_standard()
    assert not rounding.is_standard()


def test_without_the_core_it_is_an_error() -> None:
    message = str(rounding.cannot_round_error("no core"))
    assert "flush subnormal numbers" in message
    assert message.endswith("no core")

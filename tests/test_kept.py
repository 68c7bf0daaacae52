"""What forward keeps goes through pickle and copy, and a damaged pickle of it is refused or harmless."""

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest

import rnncore

T, B, X = 5, 3, 4
PARAMS = rnncore.init_params("rnn", inputs=X, hidden=6, outputs=2, seed=3)
VECTORS = np.random.default_rng(1).normal(size=(T, B, X)).astype("float32")


def test_a_damaged_pickle_of_steps_is_refused() -> None:
    """What says which steps there are is looked at again: engines trust it."""
    out = rnncore.forward(PARAMS, [VECTORS[:3, 0], VECTORS[:2, 1]])
    steps = out._kept[3]
    assert steps is not None
    again = pickle.loads(pickle.dumps(steps))
    assert (again.T, again.packed, again.lengths.tolist()) == (3, True, [3, 2])
    restore, (lengths, T, form, _) = steps.__reduce__()
    assert restore(lengths, T, True).form == form  # as it was pickled before there were resets
    for damaged in ((lengths - 4, T, form), (lengths, 2, form), (lengths * 2**60, 2**62, form), (lengths, T, 1)):
        with pytest.raises(ValueError, match="damaged"):
            restore(*damaged)
    for wrong in (lengths.astype("f8"), lengths[:0], lengths[None], [3, 2]):
        with pytest.raises(ValueError, match="damaged"):
            restore(wrong, T, form)
    for wrong in (np.ones(4, bool), np.ones(5), [True] * 5):
        with pytest.raises(ValueError, match="damaged"):
            restore(lengths, T, form, wrong)


def results_of_forward() -> list[rnncore.ForwardResult]:
    deep = rnncore.init_params("lstm", 3, 2, 2, layers=2, bidirectional=True)
    masks = rnncore.dropout_masks(deep, VECTORS[..., :3], 0.5, 1)
    return [
        rnncore.forward(rnncore.init_params("rnn", 4, 3, 2, tokens=True), np.arange(4)),
        rnncore.forward(PARAMS, [VECTORS[:3, 0], VECTORS[:2, 1]]),
        rnncore.forward(deep, VECTORS[..., :3], dropout_masks=masks, lengths=[3, 0, 5], last=True),
    ]


def gradient_of(out: rnncore.ForwardResult, name: str) -> rnncore.Params:
    net = out._kept[0]
    params = rnncore.Params.from_flat(
        *(net.cell, net.inputs, net.hidden, net.outputs, np.linspace(-1, 1, net.size).astype(net.dtype)),
        layers=net.layers,
        bidirectional=net.bidirectional,
    )
    return rnncore.backward(params, out, dh=out.h, backend=name).grads


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda out: pickle.loads(pickle.dumps(out))])
def test_copies_of_results_are_as_good(how: Any, number: int) -> None:
    """Their h, which backward relies on, is read-only and lies in what is kept, of lists too."""
    out = results_of_forward()[number]
    copied = how(out)
    for h in copied.h if isinstance(copied.h, list) else [copied.h]:
        assert not h.flags.writeable
        assert np.shares_memory(h, copied._kept[4])
    assert gradient_of(copied, "numpy") == gradient_of(out, "numpy")


STATE_OF_DTYPE = rb"NNNJ\xff{4}J\xff{4}K\x00t"
"""What NumPy writes of a dtype beside its name: no fields, no size, and its flags."""


@pytest.mark.parametrize("number", range(3))
def test_a_damaged_pickle_of_a_result_is_refused_or_harmless(number: int, engine: str) -> None:
    """One bit at a time; engines trust what is kept."""
    out = results_of_forward()[number]
    data, damaged = pickle.dumps(out), 0
    of_dtypes = [range(*match.span()) for match in re.finditer(STATE_OF_DTYPE, data)]
    for bit in range(0, 8 * len(data), 1009 if engine == "numpy" else 83):
        if any(bit // 8 in span for span in of_dtypes):
            continue  # NumPy takes over whatever flags it reads, and its own int64 is broken from then on
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        if b"m8" in changed and b"m8" not in data:
            continue  # NumPy itself crashes when it reads a dtype of time without its unit
        try:
            again = pickle.loads(changed)
            if isinstance(again, rnncore.ForwardResult):
                gradient_of(again, engine)
        except AssertionError:
            raise
        except Exception:  # a damaged pickle names modules and classes that are not there, or wants memory without end
            damaged += 1
    assert damaged


def changed(kept: Any, place: int, value: object) -> Any:
    return (*kept[:place], value, *kept[place + 1 :])


@pytest.mark.parametrize("number", range(3))
def test_what_a_pickle_keeps_is_looked_at(number: int) -> None:
    restore, (y, state, kept, form) = results_of_forward()[number].__reduce__()
    x = kept[1][0] if isinstance(kept[1], tuple) else kept[1]
    wrong = [changed(kept, place, None) for place in (0, 1, 4, 5, 6)] + [kept[:6], list(kept), None]
    wrong += [changed(kept, place, kept[place][:-1]) for place in (4, 5)]
    wrong += [changed(kept, place, kept[place].view(f"i{kept[place].itemsize}")) for place in (4, 5)]
    wrong += [changed(kept, 2, (x,) * 3), changed(kept, 3, "steps"), changed(kept, 1, (x, x)), changed(kept, 1, x[:-1])]
    wrong += [changed(kept, 1, (x, (x,))), changed(kept, 1, x[..., None]), changed(kept, 4, np.asfortranarray(kept[4]))]
    if x.dtype.kind == "i":
        wrong += [changed(kept, 1, x + 1), changed(kept, 1, x - 1)]
        wrong.pop(-3)  # of one sequence, and of one axis, both orders are the same
    restore(y, state, kept, form)
    for damaged in wrong:
        with pytest.raises(ValueError, match=r"a pickle of a ForwardResult is damaged|inputs must be in"):
            restore(y, state, damaged, form)


def test_a_damaged_pickle_of_a_net_spoils_no_other() -> None:
    """Nets are interned: one with a size of 3.0 would be found by all who look for 3."""
    restore, facts = PARAMS._net.__reduce__()
    assert restore(*facts) is PARAMS._net
    for place, value in ((0, "rmn"), (1, 7.0), (2, -1), (4, "i4"), (5, 10**9), (6, 0), (7, "yes")):
        with pytest.raises((ValueError, TypeError)):
            restore(*changed(facts, place, value))


def test_a_pickle_whose_tape_means_something_else_is_refused() -> None:
    params = rnncore.init_params("lstm", 2, 3, 0, seed=0)
    rebuild, (*parts, form) = rnncore.forward(params, np.zeros((4, 2))).__reduce__()
    assert rebuild(*parts, form).h.shape == (4, 3)
    for other in ((), (form + 1,)):
        with pytest.raises(ValueError, match="made by another version of rnncore: call forward again"):
            rebuild(*parts, *other)

"""The options of bptt that say which gradients are wanted, and in how much memory: what goes with what."""

from __future__ import annotations

import math
from typing import NamedTuple

from . import checkpoint, each, windows
from .arguments import Batch
from .engines import Bptt, Engine
from .net import Net
from .problem import Options, reading
from .recurrent import Call
from .results import PerSequence
from .types import Array
from .values import as_number
from .words import one_of, what


class Asked(NamedTuple):
    """What a user asks of gradients, as it was given; the defaults are the plain call."""

    truncate: object = None
    checkpoint: object = None
    per_sequence: object = False
    clip_norm: object = None

    def require_sense(self) -> None:
        """Raise unless the options go together."""
        kinds = one_of(kind for kind in each.KINDS if isinstance(kind, str))
        kind = self.per_sequence
        if not (isinstance(kind, bool) or (isinstance(kind, str) and kind in each.KINDS)):
            raise ValueError(f"per_sequence must be True, False, or one of {kinds}, got {what(kind)}")
        if (kind == "clipped") != (self.clip_norm is not None):
            raise ValueError(
                f"clip_norm must be given with per_sequence='clipped', and only then, got {what(self.clip_norm)} "
                f"with per_sequence={kind!r}"
            )
        others = [name for name in ("truncate", "per_sequence") if getattr(self, name) not in (None, False)]
        if self.checkpoint is not None and others:
            raise ValueError(
                f"checkpoint must be None where {others[0]} is asked for, got {what(self.checkpoint)}: "
                f"that needs all steps at once; cut a long stream with rnncore.chunks instead"
            )

    @property
    def limit(self) -> float:
        """Return the length to which the gradient of each sequence is shortened."""
        limit = as_number("clip_norm", self.clip_norm)
        if not 0 < limit < math.inf:
            raise ValueError(f"clip_norm must be greater than 0 and finite, got {limit}")
        return limit


def bptt(
    engine: Engine, net: Net, flat: Array, batch: Batch, options: Options, asked: Asked
) -> tuple[Bptt, PerSequence | None]:
    """Return what an engine's bptt returns of a canonical batch, and what belongs to each sequence, if asked for."""
    asked.require_sense()
    net = reading(net, batch.inputs)
    if asked.checkpoint is not None:
        return checkpoint.bptt(Call(engine, net, flat, batch, options, asked.checkpoint)), None
    if asked.per_sequence is not False:
        limit = asked.limit if asked.per_sequence == "clipped" else math.inf
        wanted = each.Wanted(asked.per_sequence is True, limit, windows.window_of(net, batch, asked.truncate))
        return each.bptt(engine, net, flat, batch, options, wanted)
    return windows.bptt(engine, net, flat, batch, options, asked.truncate), None

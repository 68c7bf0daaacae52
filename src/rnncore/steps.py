"""Which steps a batch has, and what follows what.

A batch of B sequences is, in the contract (docs/arithmetic.md), a grid of T x B places, and step t of sequence b has
the place t*B + b. The full grid needs no further words: there ``steps`` is None. Where sequences differ in length,
``Steps`` says which places exist, and keeps three things apart:

- the *place* t*B + b fixes the order of the sums over steps;
- the *address* of a step is where its row lies in the arrays of a call;
- its *row* is where the engines keep it. Rows are packed: the sequences are sorted by length, longest first, and the
  steps t of all sequences that have one lie side by side, from ``start[t]`` on. The step before that of row
  ``start[t] + p`` is row ``start[t - 1] + p``.
"""

from typing import Any

import numpy as np

from .types import AnyArray, Indices, Mask

FORMS = {"grid": False, "one": False, "list": True, "flat": True, "rows": True}
"""How the arrays of a call hold the steps, and whether they are packed then, (N, ...).

"grid": padded (T, B, ...); "one": one sequence (T, ...); "list": a list of sequences, and results are lists too;
"flat": one array, with ``offsets``, one sequence after the other; "rows": step by step, in the order of the engines.
"""

TABLES = "order", "start", "address", "place", "by_place"


class Steps:
    """The steps of a batch whose sequences differ in length, or are reset.

    They are made once, kept for ``backward`` and never changed.

    lengths: int64 (B,), in the order of the user's batch. form: one of FORMS. packed: whether arrays are. resets: of
    each step, in the arrays of the call, whether the states before it are zero; None for none. full: whether all steps
    of the grid exist, and arrays hold them in the order of places.

    order (B,): the sequence at each position, longest first, equals in the order of the batch unless it is given. start
    (longest + 1,): the rows of step t are [start[t], start[t + 1]). address (N,): of each row, where it lies in the
    arrays of the call, counted in steps. place (N,): of each row, t*B + b. by_place (N,): the rows in ascending order
    of places.
    All are int64 and contiguous. core: the same as the compiled core has it, made by ``_cpp`` when first needed.
    The tables, from ``order`` on, are made when one is first needed, and of ``full_steps`` all but resets; the compiled
    core makes its own.
    """

    __slots__ = (
        *("B", "T", "count", "form", "full", "given", "lengths", "packed", "resets", "core"),
        *TABLES,
    )
    T: int
    B: int
    count: int
    form: str
    packed: bool
    full: bool
    lengths: Indices
    resets: Mask | None
    given: Indices | None
    order: Indices
    start: Indices
    address: Indices
    place: Indices
    by_place: Indices
    core: Any

    def __init__(
        self,
        lengths: Indices,
        T: int,
        form: str,
        resets: Mask | None = None,
        count: int | None = None,
        given: Indices | None = None,
    ) -> None:
        """count: how many steps there are, if that is known. given: the order, if equals have another."""
        B, packed = len(lengths), FORMS[form]
        count = int(lengths.sum()) if count is None else count
        full = not packed and count == T * B
        self.T, self.B, self.count = T, B, count
        self.form, self.packed, self.full = form, packed, full
        self.lengths, self.resets, self.given, self.core = lengths, resets, given, None

    def __getattr__(self, name: str) -> Any:
        """Make the tables, or of ``full_steps`` all else, and return what is asked for."""
        if name not in Steps.__slots__:
            raise AttributeError(f"Steps has no {name!r}")
        if name in TABLES:
            self._make_tables()
        else:
            resets = self.resets
            assert resets is not None  # only full_steps leaves anything but the tables to be made
            T, B = resets.shape if resets.ndim == 2 else (len(resets), 1)
            Steps.__init__(self, np.full(B, T, np.int64), T, "grid" if resets.ndim == 2 else "one", resets, T * B)
        return object.__getattribute__(self, name)

    def _make_tables(self) -> None:
        lengths, B = self.lengths, self.B
        order = np.argsort(-lengths, kind="stable") if self.given is None else self.given
        longest = int(lengths[order[0]])
        there = B - np.searchsorted(lengths[order[::-1]], np.arange(longest), side="right")  # sequences at each step
        start = np.concatenate([[0], np.cumsum(there)]).astype(np.int64)
        step = np.repeat(np.arange(longest), there)
        sequence = order[np.arange(self.count) - start[step]]
        place = step * B + sequence
        address = (np.cumsum(lengths) - lengths)[sequence] + step if self.packed else place
        if self.form == "rows":
            address = np.arange(self.count)
        self.order, self.start, self.address = order, start, address
        self.place, self.by_place = place, np.argsort(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.lengths, self.T, self.form, self.resets)

    def __repr__(self) -> str:
        resets = "" if self.resets is None else f", {int(self.resets.sum())} resets"
        return f"Steps(T={self.T}, B={self.B}, {self.count} steps, {self.form!r}{resets})"

    @property
    def axes(self) -> tuple[int, ...]:
        """Return the axes that count steps in the arrays of the call."""
        return (self.count,) if self.packed else (self.T,) if self.form == "one" else (self.T, self.B)

    @property
    def batch(self) -> tuple[int, ...]:
        """Return the axes that count sequences in states."""
        return () if self.form == "one" else (self.B,)

    def as_grid(self) -> "Steps | None":
        """Return the same steps for arrays in a padded grid."""
        if self.resets is None:
            return grid_steps(self.lengths, self.T)
        return Steps(self.lengths, self.T, "grid", self.to_grid(self.resets))

    def with_resets(self, resets: Mask) -> "Steps":
        """Return the same steps, with resets."""
        return Steps(self.lengths, self.T, self.form, resets)

    def split(self, array: AnyArray) -> list[AnyArray]:
        """Return the sequences of a packed array (N, ...), as views."""
        stops = np.cumsum(self.lengths).tolist()
        return [array[stop - length : stop] for stop, length in zip(stops, self.lengths.tolist(), strict=True)]

    def to_grid(self, array: AnyArray) -> AnyArray:
        """Return an array of the call as a grid (T, B, ...), with zeros where a packed one has no step."""
        if not self.packed:
            return array.reshape(self.T, self.B, *array.shape[len(self.axes) :])
        grid = np.zeros((self.T * self.B, *array.shape[1:]), array.dtype)
        grid[self.place] = array[self.address]
        return grid.reshape(self.T, self.B, *array.shape[1:])

    def from_grid(self, grid: AnyArray) -> AnyArray:
        """Return the opposite of ``to_grid``: an array of the call from a grid (T, B, ...)."""
        if not self.packed:
            return grid.reshape(*self.axes, *grid.shape[2:])
        array = np.empty((self.count, *grid.shape[2:]), grid.dtype)
        array[self.address] = grid.reshape(self.T * self.B, *grid.shape[2:])[self.place]
        return array

    def rows_of(self, grid: AnyArray) -> AnyArray:
        """Return the rows (N, ...) of a grid (T, B, ...), in the order in which engines keep them, as on the tape."""
        rows: AnyArray = grid.reshape(self.T * self.B, *grid.shape[2:])[self.place]
        return rows

    def grid_of(self, rows: AnyArray) -> AnyArray:
        """Return a grid (T, B, ...) of rows (N, ...), zeros where there is no step."""
        grid = np.zeros((self.T * self.B, *rows.shape[1:]), rows.dtype)
        grid[self.place] = rows
        return grid.reshape(self.T, self.B, *rows.shape[1:])


def grid_steps(lengths: Indices, T: int) -> Steps | None:
    """Return the steps of a padded grid of T steps; None, the full grid, if every sequence has T."""
    return None if (lengths == T).all() else Steps(lengths, T, "grid")


def full_steps(resets: Mask) -> Steps:
    """Return the steps of a full grid (T, B), or of one sequence (T,), with resets, an array of our own.

    To make them takes longer than all else that resets cost a small net. So everything but resets is made when it is
    first needed.
    """
    steps = Steps.__new__(Steps)
    steps.resets = resets
    return steps


def last_steps(lengths: Indices) -> Steps | None:
    """Return the steps of what belongs to sequences: one step of those that have any."""
    return grid_steps(np.minimum(lengths, 1), 1)


def as_step(arrays: Any, axes: int) -> Any:
    """Return what belongs to sequences, arrays (B, ...) or of one sequence (...), as one step, (1, B, ...).

    arrays: one, or a tuple. axes: how many count sequences.
    """
    if isinstance(arrays, tuple):
        return tuple(as_step(array, axes) for array in arrays)
    return arrays.reshape(1, *(arrays.shape[:axes] or (1,)), *arrays.shape[axes:])


def packed_steps(lengths: Indices, form: str) -> Steps:
    """Return the steps of sequences that lie one after the other."""
    return Steps(lengths, int(lengths.max()), form)


def _restored(lengths: Indices, T: int, form: str | bool, resets: Mask | None = None) -> Steps:
    """Return Steps as pickle makes them; what damage has changed is refused, for engines trust it.

    form: of pickles that are older than resets, whether the steps are packed.
    """
    form = {True: "list", False: "grid"}.get(form, form) if type(form) is bool else form
    good = isinstance(lengths, np.ndarray) and lengths.dtype == np.int64 and lengths.ndim == 1 and lengths.size > 0
    good = good and type(T) is int and form in FORMS and bool(((lengths >= 0) & (lengths <= T)).all())
    good = good and (form != "one" or (lengths.size == 1 and lengths[0] == T))
    if not good or lengths.sum() > MOST_STEPS or T * lengths.size > MOST_STEPS:
        raise ValueError("a pickle of Steps is damaged")
    steps = Steps(np.ascontiguousarray(lengths), T, str(form))
    if resets is None:
        return steps
    if not isinstance(resets, np.ndarray) or resets.dtype != bool or resets.shape != steps.axes:
        raise ValueError("a pickle of Steps is damaged")
    return steps.with_resets(np.ascontiguousarray(resets))


MOST_STEPS = 2**48
"""More steps than any memory holds."""

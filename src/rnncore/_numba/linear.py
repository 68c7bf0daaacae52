"""Products in the one order of additions that every column keeps.

A sum of more than ``BLOCK`` terms is a sum of blocks, each one chain of fma: rounding errors then grow
with the block and not with the layer. Outputs n lie side by side in the lanes of a vector and the sum
over k runs in time, so that the width of the vectors is never seen in the result.
"""

from typing import NamedTuple

import numpy as np

from ..types import Array, Indices, Mask
from . import compiled
from .memory import LINE, empty
from .tile import WIDE, Bare, Block, bare, tile

BLOCK = 128

# Sums of outer products read copies of strips of their first factor if its rows lie farther apart than FAR_ROW_BYTES,
# or farther than NEAR_ROW_BYTES and an even number of cache lines, and if they are read for more panels than that. A
# strip of 128 rows stays in the L2 cache. (Intel, one thread: 4096 x 1024 sums of 128 rows 35 % faster, 1024 x 1024
# 15. A copy takes as long as sums for one panel.)
NEAR_ROW_BYTES, FAR_ROW_BYTES, STRIP_ROW_BYTES, PANELS_WORTH_A_COPY = 512, 2560, 512, 12

# The number to add when nothing is to be added: x + -0 is x for every x, and -0 + +0 would not be -0.
NOTHING = -0.0

NO_INDICES = np.empty(0, np.int64)
NO_RESETS = np.empty(0, np.bool_)


@compiled
def product(out: Array, A: Array, W: Array) -> None:
    """Add ``sum_k A[r, k] W[n, k]``, k ascending, to ``out[r, n]``.

    out (R, N), A (R, K or more), W panels. The first block's chain continues from ``out``; each later one starts
    from +0 and is added when it is whole.
    """
    R, P, K = len(out), W.shape[0], W.shape[1]
    o, a, w = bare(out), bare(A), bare(W)
    rows = R - R % 4
    for group in range(groups_of(P, rows)):
        p, vectors = group_of(P, group)
        sixes = rows - rows % 12 if vectors == 4 else 0
        for k in range(0, K, BLOCK):
            block = block_of_terms(o, a, w, k, K)
            for r in range(0, sixes, 6):
                six_rows(block, r, p)
            for r in range(sixes, rows, 4):
                four_rows(block, r, p, vectors)
    for r in range(rows, R):
        p = 0
        while p < P:
            vectors = widest(P - p)
            for k in range(0, K, BLOCK):  # innermost, so that panels are read on from where they were: they may be far
                one_row(block_of_terms(o, a, w, k, K), r, p, vectors)
            p += vectors


@compiled
def block_of_terms(out: Bare, A: Bare, W: Bare, k: int, K: int) -> Block:
    """Return the block of a product of K terms that begins with term k."""
    return Block(out, A, W, k, min(k + BLOCK, K), k == 0, K - k <= BLOCK, bool(0))


@compiled
def groups_of(P: int, rows: int) -> int:
    """Return into how many groups of panels, as wide as a tile, P panels are cut; none without rows for a tile."""
    return -(-P // (4 if WIDE else 2)) if rows > 0 else 0


@compiled
def group_of(P: int, group: int) -> tuple[int, int]:
    """Return the first panel of a group, and how many it has: as even as can be, as a narrow tile has too few chains
    to keep the units busy."""
    groups = groups_of(P, 1)
    p = P * group // groups
    return p, P * (group + 1) // groups - p


@compiled
def six_rows(block: Block, r: int, p: int) -> None:
    """Add a block of six rows, four vectors wide."""
    tile(block, r, p, 6, 4)


@compiled
def four_rows(block: Block, r: int, p: int, vectors: int) -> None:
    """Add a block of four rows, some vectors wide."""
    if vectors == 1:
        tile(block, r, p, 4, 1)
    elif vectors == 2:
        tile(block, r, p, 4, 2)
    elif vectors == 3:
        tile(block, r, p, 4, 3)
    else:
        tile(block, r, p, 4, 4)


@compiled
def widest(P: int) -> int:
    """Return how many of P panels a tile of one row takes, up to eight: a single chain waits for itself."""
    return 8 if P >= 8 else 4 if P >= 4 else 2 if P >= 2 else 1


@compiled
def one_row(block: Block, r: int, p: int, vectors: int) -> None:
    """Add a block of one row, some vectors wide."""
    if vectors == 1:
        tile(block, r, p, 1, 1)
    elif vectors == 2:
        tile(block, r, p, 1, 2)
    elif vectors == 4:
        tile(block, r, p, 1, 4)
    else:
        tile(block, r, p, 1, 8)


class Rows(NamedTuple):
    """Where the steps of B sequences lie: the rows of step t are [start[t], start[t + 1]).

    start (T + 1,). address (N,): of each row, where its inputs are. place (N,): of each row, t*B + b. by_place (N,):
    the rows in ascending order of places. Of the full grid, where rows, addresses and places are one, these are empty.
    resets (N,): of each row, whether the states before it are zero; empty for none.
    """

    B: int
    start: Indices
    address: Indices
    place: Indices
    by_place: Indices
    resets: Mask


def grid_rows(B: int, T: int, resets: Mask = NO_RESETS) -> Rows:
    """Return the rows of the full grid of T steps."""
    return Rows(B, np.arange(0, T * B + 1, B), NO_INDICES, NO_INDICES, NO_INDICES, resets)


class Labels(NamedTuple):
    """Labels of rows, classes (N,) or reals (N, V), and their weights (N,); what there is not is empty."""

    are_classes: bool
    classes: Indices
    reals: Array
    weights: Array


def row_blocks(rows: Rows) -> Indices:
    """Return where each block of the sums over steps starts among the rows by place, and where the last one ends.

    Up to 128 sequences, a block is as many whole steps as fit into 128 rows. Beyond, it is 128 sequences of one step.
    A block is a place in the grid: which of its rows exist does not move it. None is empty.
    """
    B, start = rows.B, rows.start
    if B <= BLOCK:
        return np.concatenate([start[: -1 : BLOCK // B], start[-1:]])
    place = rows.place[rows.by_place] if len(rows.place) else np.arange(start[-1])
    block = place // B * -(-B // BLOCK) + place % B // BLOCK
    return np.flatnonzero(np.diff(block, prepend=-1, append=-1))


@compiled
def outer_sum(out: Array, D: Array, start: int, W: Array, bounds: Indices, first: bool) -> None:
    """Add ``sum_r D[r, i] E[r, j]``, the gradient of a weight matrix, to ``out[i, j]``, for some blocks of rows.

    out (I, J), D (R, I or more) from the column ``start`` on, W the panels of E (R, J). Block n is the rows from
    bounds[n] to bounds[n + 1], counted from bounds[0]. A block is a chain of fma from +0, r ascending. Blocks are added
    from the last to the first, the order in which the loop back through time meets them. first: whether the last of
    them is the first to be added; ``out`` is +0 before.
    """
    I, R, w = len(out), bounds[-1] - bounds[0], bare(W)
    copies = is_far(D) and len(W) > PANELS_WORTH_A_COPY
    width = strip_columns(D.itemsize) if copies else max(1, I)
    strip = empty((R if copies else 0, width), D)
    for i in range(0, I, width):
        end = min(i + width, I)
        if copies:
            copy_columns(D, start + i, end - i, strip)
            strip_sum(bare(out[i:end]), end - i, bare(strip.T), w, len(W), bounds, first)
        else:
            strip_sum(bare(out), I, bare(D.T[start:, :]), w, len(W), bounds, first)


@compiled
def is_far(D: Array) -> bool:
    """Return whether the rows of D lie so far apart that each is on a page of its own, or that many share the lines of
    the L1 cache."""
    apart: int = D.strides[0]
    return apart > FAR_ROW_BYTES or (apart > NEAR_ROW_BYTES and apart % (2 * LINE) == 0)


@compiled
def strip_columns(size: int) -> int:
    """Return how many columns a strip has, of numbers of so many bytes: whole tiles of any height."""
    return STRIP_ROW_BYTES // size // 24 * 24


@compiled
def copy_columns(D: Array, first: int, count: int, strip: Array) -> None:
    """Copy some columns of D from the column ``first`` on."""
    for r in range(len(strip)):
        for i in range(count):
            strip[r, i] = D[r, first + i]


@compiled
def strip_sum(out: Bare, I: int, D: Bare, W: Bare, P: int, bounds: Indices, first: bool) -> None:
    """Add the sums of ``outer_sum`` to I rows of ``out``, from P panels of W; the transpose of D is given."""
    rows, last = I - I % 4, len(bounds) - 2
    for group in range(groups_of(P, rows)):
        p, vectors = group_of(P, group)
        sixes = rows - rows % 12 if vectors == 4 else 0
        for i in range(0, sixes, 6):
            for n in range(last, -1, -1):  # innermost, so that a tile of out stays near however small they are
                six_rows(block_of_rows(out, D, W, bounds, n, first), i, p)
        for i in range(sixes, rows, 4):
            for n in range(last, -1, -1):
                four_rows(block_of_rows(out, D, W, bounds, n, first), i, p, vectors)
    for i in range(rows, I):
        p = 0
        while p < P:
            vectors = widest(P - p)
            for n in range(last, -1, -1):
                one_row(block_of_rows(out, D, W, bounds, n, first), i, p, vectors)
            p += vectors


@compiled
def block_of_rows(out: Bare, D: Bare, E: Bare, bounds: Indices, n: int, first: bool) -> Block:
    """Return the n-th block of an outer sum, whose matrix is far away if it was not just read."""
    start, end, is_last = bounds[n] - bounds[0], bounds[n + 1] - bounds[0], n == len(bounds) - 2
    return Block(out, D, E, start, end, first and is_last, bool(1), is_last and not first)


@compiled
def token_sum(out: Array, D: Array, tokens: Indices, bounds: Indices, part: Array) -> None:
    """Add the sum of D[r, i] over the rows r whose token is k to ``out[k, i]``: outer_sum with one-hot rows.

    out (X, I), D (R, I or more), tokens (R,); part (X, I) is +0 between calls. A sum that starts from +0 by plain
    additions is never -0, so that tokens without a row need no addition.
    """
    for n in range(len(bounds) - 2, -1, -1):
        start, end = bounds[n] - bounds[0], bounds[n + 1] - bounds[0]
        for r in range(start, end):
            k = tokens[r]
            for i in range(out.shape[1]):
                part[k, i] += D[r, i]
        for r in range(start, end):
            k = tokens[r]
            for i in range(out.shape[1]):
                out[k, i] += part[k, i]
                part[k, i] = 0


@compiled
def row_sum(out: Array, D: Array, bounds: Indices) -> None:
    """Add ``sum_r D[r, i]``, the gradient of a bias, to ``out[i]``, block by block; plain additions.

    D (R, I or more).
    """
    part = np.empty_like(out)
    for n in range(len(bounds) - 2, -1, -1):
        for i in range(len(part)):
            part[i] = 0
        for r in range(bounds[n] - bounds[0], bounds[n + 1] - bounds[0]):
            for i in range(len(out)):
                part[i] += D[r, i]
        for i in range(len(out)):
            out[i] += part[i]


@compiled
def lane_sum(terms: Array, lanes: Array) -> float:
    """Return the sum of terms (V,) in sixteen lanes, term v in lane v mod 16. lanes (16,) is a scratch buffer."""
    V = len(terms)
    for v in range(16):
        lanes[v] = 0
    for start in range(0, V - 15, 16):
        for v in range(16):
            lanes[v] += terms[start + v]
    for v in range(V % 16):
        lanes[v] += terms[V - V % 16 + v]
    return fold(lanes)


@compiled
def fold(lanes: Array) -> float:
    """Return the sum of sixteen lanes, folded 8, 4, 2, 1; it is left in the first."""
    for half in (8, 4, 2, 1):
        for v in range(half):
            lanes[v] += lanes[v + half]
    total: float = lanes[0]
    return total


@compiled
def chunk_end(start: Indices, t: int, most: int) -> int:
    """Return where the chunk that begins with step t ends: at ``most`` rows, or after one step."""
    end = t + 1
    while end < len(start) - 1 and start[end + 1] - start[t] <= most:
        end += 1
    return end


@compiled
def chunk_start(start: Indices, end: int, B: int) -> int:
    """Return where the chunk of whole blocks begins that ends before step ``end``: as many as have 128 rows, or one."""
    steps = max(1, BLOCK // B)
    t = (end - 1) // steps * steps
    while t > 0 and start[end] - start[t - steps] <= BLOCK:
        t -= steps
    return t


@compiled
def batch_start(bounds: Indices, n: int, first: int) -> int:
    """Return the block from which on blocks are added together, up to the n-th, from the row ``first`` on.

    They are as many as have 128 rows, or one.
    """
    m = n - 1
    while bounds[m] > first and bounds[n] - bounds[m - 1] <= BLOCK:
        m -= 1
    return m


@compiled
def rows_by_place(rows: Rows, first: int, end: int) -> Indices:
    """Return the rows by place from ``first`` to ``end``."""
    if len(rows.by_place) > 0:
        return rows.by_place[first:end]
    index = np.empty(end - first, np.int64)
    for i in range(first, end):
        index[i - first] = i
    return index


@compiled
def where(numbers: Indices, number: int) -> int:
    """Return the place of a number among ascending ones."""
    low, high = 0, len(numbers) - 1
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low

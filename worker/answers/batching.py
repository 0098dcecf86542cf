"""Cuts a slice into micro-batches of similar length, and halves those that fail.

A batch is padded to its longest row, so rows of one length share a batch: with a long tail of lengths this is three
times as fast as batching in the order of arrival (`tests/bench/buckets.py`). Two caps bound a batch: its rows, and its
padded cells, rows times the longest. What they should be depends on the model and the machine: see
`worker.answers.tuning`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.errors import ScoringError

Row = TypeVar("Row")
Result = TypeVar("Result")


class Caps(NamedTuple):
    """The most that a micro-batch may be. One row alone may have more cells."""

    rows: int
    cells: int
    """`B` times `T`, padding included."""


CELLS_PER_ROW = 64
"""For each row that a batch may have: so many tokens have the longest rows of a full batch."""


def caps_for(rows: int) -> Caps:
    """Caps of batches of at most `rows`."""
    return Caps(rows, rows * CELLS_PER_ROW)


def caps_among(rows: int, caps: Caps, *, found_among: int) -> Caps:
    """The caps for a slice of `rows` that has fewer rows than those among which `caps` were found.

    A batch of `b` out of `n` rows pays `1/b` of a call for each row, and padding that grows with `b/n`, because the
    fewer rows there are, the further apart are the lengths of neighbours. The sum is least where `b` grows as the
    square root of `n`. Measured on slices of 16, 32 and 64 records: 65, 51 and 40 microseconds a record with the caps
    of a full slice, 56, 45 and 37 with these.
    """
    share = min(1.0, math.sqrt(rows / found_among))
    return Caps(max(1, round(caps.rows * share)), max(1, round(caps.cells * share)))


def plan_batches(lengths: NDArray[np.int64], caps: Caps) -> Iterator[list[int]]:
    """Groups rows by length.

    Args:
        lengths: `[N]`, tokens of each row. Rows without any are left out.
        caps: of each batch.

    Yields:
        Row numbers. Every row with tokens is in exactly one batch.
    """
    order = np.argsort(lengths, kind="stable")
    ordered, rows = lengths[order], order.tolist()
    counts = np.arange(1, caps.rows + 1)
    start = len(rows) - int(np.count_nonzero(lengths))
    while start < len(rows):
        longest = ordered[start : start + caps.rows]
        fitting = int(np.searchsorted(longest * counts[: len(longest)], caps.cells, side="right"))
        end = start + max(1, fitting)
        yield rows[start:end]
        start = end


def bisect(
    rows: Sequence[Row], score: Callable[[Sequence[Row]], Result | ScoringError]
) -> Iterator[tuple[Sequence[Row], Result | ScoringError]]:
    """Scores `rows` together; halves them where that fails, until what fails is alone.

    One guilty row among `n` costs about `2 log2(n)` further calls.

    Args:
        rows: at least one.
        score: returns the error in place of raising it.

    Yields:
        Rows with their common result; a single row with its error.
    """
    result = score(rows)
    if not isinstance(result, ScoringError) or len(rows) == 1:
        yield rows, result
        return
    half = len(rows) // 2
    yield from bisect(rows[:half], score)
    yield from bisect(rows[half:], score)

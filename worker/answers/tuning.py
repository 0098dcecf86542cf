"""Finds out, on the live stream, how many records the model should score in one call.

Small batches pay the costs of a call for few records; large ones outgrow the processor's caches, and are padded more.
Where the best lies differs from model to model and from machine to machine.

How it decides. While it is looking, each slice of at least `SLICE_ROWS` is a trial of one of `CANDIDATES`, in turn:
the time that scoring the slice and writing its answers took, divided by the slice's tokens without padding, so that
padding counts as cost. After `ROUNDS` trials of each, the candidate with the lowest median is taken if it is cheaper
than the default by more than `MARGIN`, and nothing is measured any more. Smaller slices do not count; their batches are
smaller, too (see `worker.answers.batching.caps_among`).

What it costs: `ROUNDS` slices for each candidate, once for a bundle and a machine, of which most are no slower than
with the default. It never changes an answer by more than the 1e-6 by which a row's batch may.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import structlog
from numpy.typing import NDArray

from worker.answers.batching import Caps, caps_among, caps_for

DEFAULT_ROWS = 32
CANDIDATES = tuple(map(caps_for, (8, 16, DEFAULT_ROWS, 64, 128)))
DEFAULT = caps_for(DEFAULT_ROWS)
SLICE_ROWS = 2 * CANDIDATES[-1].rows
"""Fewer would not fill the largest batches."""
ROUNDS = 7
"""Of an odd number the median is one of the trials. The first, which also warms up, and two disturbed ones may lie."""
MARGIN = 0.03
"""Of the default's cost: less is noise."""

log = structlog.get_logger("worker")


class Trial:
    """A slice that is scored with certain caps."""

    def __init__(self, caps: Caps, tokens: int) -> None:
        """
        Args:
            caps: of its micro-batches.
            tokens: of the slice, without padding; 0 for one that is not measured.
        """
        self.caps = caps
        self.tokens = tokens
        self.seconds = 0.0
        """Scoring and writing, of all lanes together."""
        self._lock = threading.Lock()

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Adds the time that the block takes."""
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        with self._lock:
            self.seconds += seconds


class Tuner:
    """Chooses the caps of each slice. Used on one thread."""

    def __init__(self, known: Caps | None = None, *, found: Callable[[Caps], None] = lambda _: None) -> None:
        """
        Args:
            known: what to use for good; None to find it out.
            found: told what was found.
        """
        self._caps = known or DEFAULT
        self._found = found
        self._costs: dict[Caps, list[float]] = {} if known else {caps: [] for caps in CANDIDATES}

    def begin(self, lengths: NDArray[np.int64]) -> Trial:
        """The trial for a slice.

        Args:
            lengths: `[N]`, tokens of each row.
        """
        rows = np.count_nonzero(lengths)
        if not self._costs or rows < SLICE_ROWS:
            return Trial(caps_among(rows, self._caps, found_among=SLICE_ROWS), 0)
        return Trial(min(self._costs, key=lambda caps: len(self._costs[caps])), int(lengths.sum()))

    def end(self, trial: Trial) -> None:
        """Takes the outcome of a trial whose slice was scored."""
        if not trial.tokens or not self._costs:
            return
        self._costs[trial.caps].append(trial.seconds / trial.tokens)
        if all(len(costs) == ROUNDS for costs in self._costs.values()):
            self._settle()

    def _settle(self) -> None:
        medians = {caps: statistics.median(costs) for caps, costs in self._costs.items()}
        best = min(medians, key=medians.__getitem__)
        if medians[best] < medians[DEFAULT] * (1 - MARGIN):
            self._caps = best
        self._costs = {}
        log.info(
            "batch size settled",
            rows=self._caps.rows,
            cells=self._caps.cells,
            microseconds_per_token={caps.rows: round(cost * 1e6, 3) for caps, cost in medians.items()},
        )
        self._found(self._caps)

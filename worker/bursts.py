"""Alerts to bursts of refused records: somebody broke a producer. The stream goes on, but a person should know."""

from collections import Counter
from collections.abc import Sequence

import structlog

from worker.answers.answering import Answer
from worker.errors import RecordError
from worker.ports import Clock, Record

WINDOW_SECONDS = 10.0
"""Records are judged together that came within so long. Slices are no measure: a slow stream's hold one record each."""
BURST_RECORDS = 20
"""Among fewer, most is few: the window of a slow stream lasts until it holds so many."""
ALERT_SECONDS = 60.0
"""Between two alerts to the same burst."""

log = structlog.get_logger("worker")


class Bursts:
    """Watches what becomes of the records. Used on one thread."""

    def __init__(self, clock: Clock) -> None:
        """
        Args:
            clock: only its monotonic side is read.
        """
        self._clock = clock
        self._next_alert_seconds = 0.0
        self._begin()

    def _begin(self) -> None:
        self._began_seconds = self._clock.monotonic_seconds()
        self._records = 0
        self._refused: Counter[str] = Counter()
        self._first = ""

    def count(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        """Counts records and what became of them, and alerts if most of the window's were refused."""
        now_seconds = self._clock.monotonic_seconds()
        if self._records >= BURST_RECORDS and now_seconds - self._began_seconds >= WINDOW_SECONDS:
            self._begin()
        self._records += len(records)
        for record, answer in zip(records, answers, strict=True):
            if isinstance(answer, RecordError):
                self._refused[answer.stage] += 1
                self._first = self._first or str(record.position)
        is_burst = self._records >= BURST_RECORDS and 2 * self._refused.total() > self._records
        if is_burst and now_seconds >= self._next_alert_seconds:
            self._next_alert_seconds = now_seconds + ALERT_SECONDS
            log.error("most records are refused: look at the producers", first=self._first, **self._refused)

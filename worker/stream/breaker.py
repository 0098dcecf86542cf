"""The circuit breaker between a model that fails and the stream that it would drain into the dead letters.

::

    closed ── trip: the model fails, also on its golden records ──> open
       ^                                                             │ every PROBE_SECONDS
       └───────────────── the golden records are answered ───────────┘

While it is open nothing is fetched and nothing is committed; the worker keeps its membership and says that it is not
ready, so that somebody looks. It never exits by itself: the next process would meet the same model.
"""

import threading
from collections.abc import Callable

import structlog

from worker.errors import BundleError, ScoringError

PROBE_SECONDS = 1.0

log = structlog.get_logger("worker")


class CircuitBreaker:
    """Open while the model is guilty. Safe to read from several threads."""

    def __init__(
        self, prove: Callable[[], None], *, changed: Callable[[bool], None], probe_seconds: float = PROBE_SECONDS
    ) -> None:
        """
        Args:
            prove: has the model answer its golden records; raises `ScoringError` or `BundleError` if it cannot.
            changed: told whether the breaker is open, whenever that changes.
            probe_seconds: time from one probe to the next.
        """
        self._prove = prove
        self._changed = changed
        self._probe_seconds = probe_seconds
        self.is_open = False

    def trip(self, error: ScoringError) -> None:
        """Opens: the model failed, and no record is to blame."""
        log.error("the model is at fault: nothing is read until it answers its golden records", reason=str(error))
        self._set(is_open=True)

    def probe(self, ended: threading.Event) -> None:
        """Waits until the next probe is due, or until `ended`, and closes if the model answers again."""
        if ended.wait(self._probe_seconds):
            return
        try:
            self._prove()
        except (ScoringError, BundleError) as error:
            log.warning("the model still fails", reason=str(error))
            return
        log.info("the model answers again")
        self._set(is_open=False)

    def _set(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self._changed(is_open)

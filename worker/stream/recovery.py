"""What becomes of a turn that failed, in whichever stage: it is made again from the committed offsets, or never."""

import time
from collections.abc import Callable

from worker.errors import LimelightError
from worker.stream.ownership import Ownership


class Recovery:
    """Counts failures, and suspends what was read before them."""

    def __init__(self, ownership: Ownership, *, aborted: Callable[[LimelightError], None]) -> None:
        """
        Args:
            ownership: suspended until everything is read again.
            aborted: told why a turn failed that will be made again.
        """
        self._ownership = ownership
        self._aborted = aborted
        self.failures = 0
        """Turns that failed since the last commit."""
        self._unsettled_since_seconds: float | None = None

    @property
    def is_unsettled(self) -> bool:
        """True from a delivery that failed until what it left open is ended."""
        return self._unsettled_since_seconds is not None

    @property
    def unsettled_seconds(self) -> float:
        """How long that has lasted."""
        since_seconds = self._unsettled_since_seconds
        return 0.0 if since_seconds is None else time.monotonic() - since_seconds

    def unsettle(self) -> None:
        """A delivery failed."""
        self._unsettled_since_seconds = time.monotonic()

    def settle(self) -> None:
        """What it left open is ended."""
        self._unsettled_since_seconds = None

    def retry_or_raise(self, error: LimelightError) -> None:
        """Raises `error` if trying again cannot help."""
        if not error.retriable:
            raise error
        self._ownership.suspend()
        self.failures += 1
        self._aborted(error)

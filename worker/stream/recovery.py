"""What becomes of a turn that failed, in whichever stage: it is made again from the committed offsets, or never."""

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
        self.is_unsettled = False
        """True from a delivery that failed until what it left open is ended."""

    def retry_or_raise(self, error: LimelightError) -> None:
        """Raises `error` if trying again cannot help."""
        if not error.retriable:
            raise error
        self._ownership.suspend()
        self.failures += 1
        self._aborted(error)

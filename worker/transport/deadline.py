"""One bound for several waits."""

import time


class Deadline:
    """A point on the monotonic clock that bounds several waits together."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining_seconds(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left."""
        return min(seconds, self.remaining_seconds())

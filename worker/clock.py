"""The system's time, as `worker.ports.Clock`."""

import time


class SystemClock:
    """Real time."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        """A clock that never goes back."""
        return time.monotonic()

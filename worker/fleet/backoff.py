"""How long a process that died stays away."""

FIRST_SECONDS = 0.1
"""Back at once it finds its place in the group still free, and readers wait for nobody else."""
MOST_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""Whatever it dies of after that is another matter."""


class Backoff:
    """Pauses that double from one early death to the next."""

    def __init__(self) -> None:
        self._deaths = 0

    def pause_seconds(self, *, lived_seconds: float) -> float:
        """
        Args:
            lived_seconds: how long the process that has just died was there.
        """
        if lived_seconds >= HEALTHY_SECONDS:
            self._deaths = 0
        pause_seconds = min(MOST_SECONDS, FIRST_SECONDS * 2.0**self._deaths)
        self._deaths += 1
        return pause_seconds

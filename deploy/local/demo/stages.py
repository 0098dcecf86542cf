"""The steps of the way, as far as they have come."""

import re
import time

from deploy.local.processes import ChildProcess


class Stage:
    """One step; it ends with its child, or when `end` is called."""

    def __init__(
        self, title: str, purpose: str, *, child: ChildProcess | None = None, progress: str | None = None
    ) -> None:
        """Starts the clock.

        Args:
            title: one word.
            purpose: what it does, shown until there is something better.
            child: the program at work.
            progress: pattern of the lines of its output that tell how far it is; the last one is shown.
        """
        self.title = title
        self.is_done = False
        self._detail = purpose
        self.child = child
        self._progress = progress
        self._started_seconds = time.monotonic()
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """How long it takes, or took."""
        return self._seconds if self.is_done else time.monotonic() - self._started_seconds

    @property
    def detail(self) -> str:
        """How far it is, or what came out."""
        if not self.is_done and self.child is not None and self._progress is not None:
            lines = re.findall(rf"^{self._progress}.*", self.child.tail(), re.MULTILINE)
            return lines[-1] if lines else self._detail
        return self._detail

    def end(self, outcome: str) -> None:
        """Stops the clock."""
        self._seconds = self.seconds
        self._detail = outcome
        self.is_done = True

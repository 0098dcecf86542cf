"""How much was read and is neither committed nor dropped yet: it bounds the memory, and tells when all is done."""

import threading
from collections.abc import Callable, Iterable

from worker.stream.slices import Slice


class UnderWay:
    """Counts the records and bytes between poll and commit. Used by every stage; who waits is woken by each change."""

    def __init__(self, *, most_records: int, most_bytes: int) -> None:
        """
        Args:
            most_records: with so many there is no room for more.
            most_bytes: the same for keys, values and answers.
        """
        self._most_records, self._most_bytes = most_records, most_bytes
        self._records, self._bytes = 0, 0
        self._changed = threading.Condition()
        self.finished = 0
        """Turns of scoring and delivering that came to an end."""

    @property
    def is_empty(self) -> bool:
        """True if no record is under way."""
        return self._records == 0

    @property
    def is_full(self) -> bool:
        """True if enough is under way."""
        return self._records >= self._most_records or self._bytes >= self._most_bytes

    def add(self, part: Slice) -> None:
        """`part` was read."""
        with self._changed:
            self._records += len(part.records)
            self._bytes += part.size_bytes

    def finish(self, parts: Iterable[Slice], *, but: Iterable[Slice] = ()) -> None:
        """A turn ended: `parts` are under way no longer, but for what goes on to the next stage."""
        with self._changed:
            for sign, group in ((-1, parts), (1, but)):
                self._records += sign * sum(len(part.records) for part in group)
                self._bytes += sign * sum(part.size_bytes for part in group)
            self.finished += 1
            self._changed.notify_all()

    def wake(self) -> None:
        """Has everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Waits until `condition` holds, which is asked after every change. Returns whether it does."""
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)

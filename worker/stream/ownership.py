"""Which partitions are ours, and since when: what decides whether a result may still be committed.

An *epoch* is a time during which a partition was ours without interruption; it begins at the committed offset. Records
are stamped with their partition's epoch when they are polled. Results whose epoch is over are thrown away: the records
behind them will be, or already were, read again, here or elsewhere.

::

    granted ── polled, scored, delivered ──> withdrawn       the group moved the partition
       ^                                         │
       │                                         └─ its results are stale from now on
       └── resume ── rewind ── suspended  <── a transaction aborted: every partition starts over

The lock is held while epochs are checked *and* the offsets go to the broker (`claim`), and while a partition is
withdrawn, so a partition cannot move in between. Who withdraws waits at most `WITHDRAW_SECONDS`: after that the group
moves on without us, and the broker refuses our offsets by their generation.

Nothing else needs the lock. Partitions come and go on the reading thread alone, which replaces the table of epochs as a
whole: whoever reads it sees one moment or the next. That tells early what is stale; what is not may be so an instant
later, so it is the claim that decides.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from worker.errors import DeliveryError
from worker.ports import Partition

WITHDRAW_SECONDS = 5.0

Epochs = Mapping[Partition, int]


class Ownership:
    """The partitions of one group member. All that changes them, but for `suspend`, is for the reading thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epochs: dict[Partition, int] = {}
        self._last_epoch = 0
        self._suspended = False
        self.joined = False
        """True while the group counts us among its members, be it with no partition."""

    def grant(self, partitions: Iterable[Partition]) -> None:
        """The group gave us `partitions`; we read them from their committed offsets."""
        with self._lock:
            self._renew(partitions)
            self.joined = True

    def part(self) -> None:
        """The group has given us up, or we cannot reach it: we have no place in it until it grants us one."""
        self.joined = False

    def withdraw(self, partitions: Iterable[Partition]) -> None:
        """`partitions` are no longer ours. Returns when no offsets of theirs are on their way, or after a while."""
        locked = self._lock.acquire(timeout=WITHDRAW_SECONDS)
        try:
            self.forget(partitions)
        finally:
            if locked:
                self._lock.release()

    def forget(self, partitions: Iterable[Partition]) -> None:
        """`partitions` were lost: others may own them already, so there is nothing to wait for."""
        gone = set(partitions)
        self._epochs = {partition: epoch for partition, epoch in self._epochs.items() if partition not in gone}

    def suspend(self) -> None:
        """A transaction did not commit: nothing that was polled before `resume` may be committed."""
        # After a claim that holds: its offsets are on their way, and only the broker knows what became of them.
        with self._lock:
            self._suspended = True

    @property
    def suspended(self) -> bool:
        """True from `suspend` to `resume`."""
        return self._suspended

    def resume(self) -> None:
        """Every partition was sought back to its committed offset: new epochs begin."""
        with self._lock:
            self._renew(list(self._epochs))
            self._suspended = False

    def epochs(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Current epochs of those of `partitions` that are ours; none while suspended."""
        if self._suspended:
            return {}
        table = self._epochs
        return {partition: table[partition] for partition in partitions if partition in table}

    def is_current(self, epochs: Epochs) -> bool:
        """True if every one of `epochs` still lasts."""
        return self.epochs(epochs) == dict(epochs)

    @contextmanager
    def claim(self, epochs: Epochs) -> Iterator[None]:
        """Keeps the partitions from being withdrawn while the block runs.

        Raises:
            DeliveryError: one of `epochs` is over.
        """
        with self._lock:
            self.require(epochs)
            yield

    def require(self, epochs: Epochs) -> None:
        """Tells early what is stale; see above.

        Raises:
            DeliveryError: one of `epochs` is over.
        """
        if not self.is_current(epochs):
            raise DeliveryError("a partition of the slice was withdrawn before its offsets were sent")

    def _renew(self, partitions: Iterable[Partition]) -> None:
        self._last_epoch += 1
        self._epochs = self._epochs | dict.fromkeys(partitions, self._last_epoch)

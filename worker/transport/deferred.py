"""Offsets that wait for the thread that may commit them.

For at least once: the thread that delivers learns that outputs were confirmed, but only the thread that polls may use
the group's client. What waits counts as committed for its own member: a rewind goes no further back.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping

from worker.errors import DeliveryError
from worker.ports import Committed, Offsets, Partition

log = logging.getLogger(__name__)


class DeferredOffsets:
    """The offsets of delivered slices that the group does not know of yet. Safe to use from several threads."""

    def __init__(self, commit: Callable[[Mapping[Partition, Committed]], None]) -> None:
        """
        Args:
            commit: `Source.commit`.
        """
        self._commit = commit
        self._lock = threading.Lock()
        self._offsets: dict[Partition, int] = {}
        self.give: Callable[[Collection[Partition]], Mapping[Partition, Committed]] = lambda _: {}
        """Knows what else is to be committed for partitions that go: see `Source.commit_at_departure`."""

    def add(self, offsets: Offsets) -> None:
        """`offsets` are to be committed soon."""
        with self._lock:
            self._offsets |= offsets

    def waiting(self, partitions: Iterable[Partition] | None = None) -> dict[Partition, Committed]:
        """What is to be committed, for `partitions` if they are given."""
        with self._lock:
            asked = self._offsets if partitions is None else partitions
            return {each: Committed(self._offsets[each], "") for each in asked if each in self._offsets}

    def departing(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """What is to be committed for `partitions` before they go."""
        return {**self.give(partitions), **self.waiting(partitions)}

    def flush(self) -> None:
        """Commits what waits. It waits on if that fails.

        Raises:
            DeliveryError: the group refused, or did not answer in time.
            FencedError: another process took over this member.
        """
        if waiting := self.waiting():
            self._commit(waiting)
            self.settle(waiting)

    def try_to_flush(self) -> None:
        """The same where a later attempt is as good; only says so when it fails.

        Raises:
            FencedError: another process took over this member.
        """
        try:
            self.flush()
        except DeliveryError as error:
            log.warning("offsets of delivered slices wait to be committed: %s", error)

    def settle(self, committed: Mapping[Partition, Committed]) -> None:
        """`committed` need not wait any longer, but for what has moved on meanwhile."""
        with self._lock:
            for partition, each in committed.items():
                if self._offsets.get(partition) == each.offset:
                    del self._offsets[partition]

    def drop(self, partitions: Collection[Partition]) -> None:
        """`partitions` are another member's, who may be further on by now."""
        self.give(partitions)  # in vain: what has not been committed by now must never be
        with self._lock:
            for partition in partitions:
                self._offsets.pop(partition, None)

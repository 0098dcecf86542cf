"""Where each partition of a member is read.

The library would look the committed offset of a new partition up by itself. We do, for three reasons: a lookup of its
own that fails at the wrong moment leaves the partition unread until the next rebalance; where no offset was committed
it raises the same error as for a gap; and a rewind needs the lookup anyway. So a partition has a *place* once it is
known where it begins. Until then the library does not know that we read it, or is paused.

::

    assigned ──> without a place ── committed offset, or start ──> placed ── polled ──┐
                       ^                                             ^                │
                       └──────────────────── rewind ─────────────────┴────────────────┘

The library must not be given a partition at a logical offset, such as the end, and be sent elsewhere later: its
question for that offset may be answered after the seek, and then it goes on *there*, past everything in between.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.ports import Committed, Partition
from worker.transport.deadline import Deadline
from worker.transport.librdkafka import lookup
from worker.transport.librdkafka.client import code_of, describe, log

LOOKUP_PAUSE_SECONDS = 0.5
"""Until committed offsets are asked for again that an open transaction held back."""
NOT_NOW = frozenset(
    {
        KafkaError._OUTDATED,
        KafkaError._PREV_IN_PROGRESS,
        KafkaError._STATE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)
"""Codes of a lookup or a seek that is tried again: a transaction is open, the fetcher is still starting, or another
broker is about to take over."""

Deferred: TypeAlias = Callable[[Iterable[Partition]], Mapping[Partition, Committed]]


class Places:
    """Next offset of every partition that is ours. The consumer itself is told through this class alone."""

    def __init__(self, consumer: Consumer, offsets: lookup.OffsetLookup, *, deferred: Deferred) -> None:
        """
        Args:
            consumer: the member that reads.
            offsets: knows what the group has committed.
            deferred: what will be committed soon.
        """
        self._consumer = consumer
        self._lookup = offsets
        self._deferred = deferred
        self._positions: dict[Partition, int | None] = {}
        """None while the partition has no place."""
        self._given: set[Partition] = set()
        """What the library reads for us."""
        self._started: dict[Partition, int] = {}
        """Where partitions began for which nothing was committed: the log's end moves on, a rewind must not."""
        self._lookup_pause = Deadline(0)
        self._paused = False

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._positions

    def all(self) -> dict[Partition, int | None]:
        """Partition -> position, None while it has no place."""
        return dict(self._positions)

    def get(self, partition: Partition) -> int | None:
        """The position of a partition that is ours and has a place."""
        return self._positions.get(partition)

    def add(self, partitions: Iterable[Partition]) -> None:
        """They are ours now, without a place. Called in the library's own callback, which needs an answer."""
        self._consumer.incremental_assign([])
        self._positions |= dict.fromkeys(partitions)
        self._lookup_pause = Deadline(0)

    def remove(self, partitions: Collection[Partition]) -> None:
        """They are ours no longer. Called in the library's own callback, which needs an answer."""
        self._consumer.incremental_unassign(_to_kafka(self._given.intersection(partitions)))
        self._given.difference_update(partitions)
        for partition in partitions:
            self._positions.pop(partition, None)

    def fill(self) -> None:
        """Gives a place to every partition whose beginning is known now.

        Raises:
            KafkaException: it cannot be found out.
        """
        waiting = self._unplaced()
        if not waiting or self._paused or self._lookup_pause.remaining_seconds():
            return
        reason = "an open transaction may move their offsets"
        try:
            committed = {**self._lookup.committed(waiting), **self._deferred(waiting)}
            unread = [each for each, found in committed.items() if found is None and each not in self._started]
            self._started |= self._lookup.logged(unread, lookup.FIRST)
            for partition, found in committed.items():
                self._go_to(partition, self._started[partition] if found is None else found.offset)
        except KafkaException as error:
            if code_of(error) not in NOT_NOW:
                raise
            reason = describe(error)
        if waiting := self._unplaced():
            self._lookup_pause = Deadline(LOOKUP_PAUSE_SECONDS)
            log.warning("%d partitions wait for their place: %s", len(waiting), reason)

    def advance(self, partition: Partition, position: int) -> None:
        """It was read up to `position`."""
        self._positions[partition] = position

    def restart(self, partition: Partition, offset: int) -> None:
        """Goes on at `offset` after an error of the partition's fetcher, which takes no seek any more."""
        self._consumer.incremental_unassign(_to_kafka([partition]))
        self._given.discard(partition)
        self._go_to(partition, offset)

    def rewind(self) -> None:
        """Every partition loses its place, and gets a new one where that is known at once."""
        self._consumer.pause(_to_kafka(self._placed()))
        self._positions = dict.fromkeys(self._positions)
        self._lookup_pause = Deadline(0)
        self.fill()

    def pause(self) -> None:
        """Nothing is read until `resume`."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(_to_kafka(self._placed()))

    def resume(self) -> bool:
        """Reads again, from the positions. Returns whether it was paused."""
        was_paused, self._paused = self._paused, False
        if was_paused:
            for partition in self._placed():
                self._go_to(partition, self._positions[partition] or 0)
        return was_paused

    def _go_to(self, partition: Partition, offset: int) -> None:
        target = TopicPartition(*partition, offset)
        if partition in self._given:
            self._consumer.resume([target])
            # Unlike a resume alone, a seek wakes the fetcher, which sleeps for up to a second.
            self._consumer.seek(target)
        else:
            self._consumer.incremental_assign([target])
            # One that was taken away while it was paused comes back paused.
            self._consumer.resume([target])
            self._given.add(partition)
        self._positions[partition] = offset

    def _unplaced(self) -> list[Partition]:
        return [partition for partition, position in self._positions.items() if position is None]

    def _placed(self) -> list[Partition]:
        return [partition for partition, position in self._positions.items() if position is not None]


def _to_kafka(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(*partition) for partition in partitions]

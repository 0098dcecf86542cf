"""Where a partition is read from when the group's offset does not say: there is none, or it is gone from the log."""

import logging
from collections.abc import Iterable, Mapping

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import NoOffsetForPartitionError

from worker.transport import terms
from worker.transport.terms import REQUEST_SECONDS, OffsetGap

log = logging.getLogger(__name__)


class Starts:
    """Seeks for one consumer, whose own reset policy is off: it would jump over a gap in silence."""

    def __init__(self, consumer: KafkaConsumer, *, offset_gap: OffsetGap) -> None:
        """
        Args:
            consumer: the member that reads.
            offset_gap: what to do when the position is gone from the log.
        """
        self._consumer = consumer
        self._offset_gap = offset_gap
        self._started: dict[TopicPartition, int] = {}
        """Where partitions began for which nothing was committed: the log's end moves on, a rewind must not."""

    def seek(self, partitions: Iterable[TopicPartition]) -> None:
        """Goes to where `partitions`, for which nothing is committed, began."""
        for partition in partitions:
            if partition not in self._started:
                self._started |= self._consumer.beginning_offsets([partition], timeout_ms=REQUEST_SECONDS * 1000)
            self._consumer.seek(partition, self._started[partition])

    def position(self, partition: TopicPartition) -> int | None:
        """Next offset to read; None while the group's offsets cannot be read, as when a transaction is still open."""
        try:
            position: int | None = self._consumer.position(partition, timeout_ms=0)
        except NoOffsetForPartitionError:
            # Asked between the join and the first poll.
            self.seek([partition])
            position = self._started[partition]
        return position

    def cross_gap(self, positions: Mapping[TopicPartition, int]) -> None:
        """Goes on behind a gap, if that is wanted.

        Args:
            positions: partition -> the offset that its log does not hold.

        Raises:
            OffsetGapError: it is not to be skipped, or the log ends before it.
        """
        for partition, offset in positions.items():
            [end] = self._consumer.end_offsets([partition], timeout_ms=REQUEST_SECONDS * 1000).values()
            if offset > end:
                raise terms.beyond_end(partition.topic, partition.partition, offset=offset, end=end)
            if self._offset_gap == "stop":
                raise terms.gap(partition.topic, partition.partition, offset=offset)
            where = f"{partition.topic}-{partition.partition}"
            log.warning("%s: offset %d is gone, going on with the oldest left", where, offset)
            self._consumer.seek_to_beginning(partition)

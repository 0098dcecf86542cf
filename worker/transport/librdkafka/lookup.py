"""Asking for offsets, on a connection of its own.

On the connection of the member that reads, a question would wait behind the fetch that waits for records.
"""

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.ports import Partition
from worker.transport.librdkafka.client import connect, find_partitions
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.terms import REQUEST_SECONDS, require_topic

NO_OFFSET = -1001
"""Of a partition for which the group has committed nothing."""


class OffsetLookup:
    """Knows what a group has committed and where logs begin and end, and belongs to no group."""

    def __init__(self, client: ClientProperties, *, group_id: str) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            group_id: whose offsets are asked for.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        properties = {"group.id": group_id, "isolation.level": "read_committed", "enable.auto.commit": False}
        self._consumer = connect(Consumer, "C", client, properties)

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._consumer, topic), topic)

    def committed(self, partitions: Sequence[Partition], *, timeout_seconds: float) -> dict[Partition, int]:
        """Committed offsets, where there are any.

        Raises:
            KafkaException: not answered, or an open transaction may still change one of them.
        """
        asked = [TopicPartition(*partition) for partition in partitions]
        found = _offsets(self._consumer.committed(asked, timeout=timeout_seconds))
        return {partition: offset for partition, offset in found.items() if offset != NO_OFFSET}

    def logged(self, partitions: Sequence[Partition], which: int) -> dict[Partition, int]:
        """First or ``read_committed`` end offsets.

        Args:
            partitions: what to ask about.
            which: `confluent_kafka.OFFSET_BEGINNING` or `confluent_kafka.OFFSET_END`.

        Raises:
            KafkaException: not answered.
        """
        if not partitions:
            return {}
        asked = [TopicPartition(*partition, which) for partition in partitions]
        return _offsets(self._consumer.offsets_for_times(asked, timeout=REQUEST_SECONDS))

    def close(self) -> None:
        """Ends the connection."""
        self._consumer.close()


def _offsets(answered: Sequence[TopicPartition]) -> dict[Partition, int]:
    for each in answered:
        if each.error is not None:
            raise KafkaException(each.error)
    return {(each.topic, each.partition): each.offset for each in answered}

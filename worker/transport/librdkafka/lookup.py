"""Asking for offsets, on a connection of its own.

On the connection of the member that reads, a question would wait behind the fetch that waits for records. And the
member's own question for committed offsets is answered for all partitions or for none: one that an open transaction
holds back would hold up the others.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from worker.ports import Committed, Partition
from worker.transport.librdkafka.client import connect, find_partitions
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.terms import REQUEST_SECONDS, require_topic

NO_OFFSET = -1001
"""Of a partition for which the group has committed nothing."""
FIRST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
END: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class OffsetLookup:
    """Knows what a group has committed, and where logs begin and end."""

    def __init__(self, client: ClientProperties, *, group_id: str) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            group_id: whose committed offsets are asked for.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._group_id = group_id
        self._admin = connect(AdminClient, "P", client, {})

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._admin, topic), topic)

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed | None]:
        """What is committed, None where nothing is. What an open transaction may still change is left out.

        Raises:
            KafkaException: not answered.
        """
        if not partitions:
            return {}
        group = ConsumerGroupTopicPartitions(self._group_id, [TopicPartition(*partition) for partition in partitions])
        answers = self._admin.list_consumer_group_offsets([group], require_stable=True, request_timeout=REQUEST_SECONDS)
        found: dict[Partition, Committed | None] = {}
        for each in answers[self._group_id].result().topic_partitions:
            if each.error is None:
                is_set = each.offset != NO_OFFSET
                found[each.topic, each.partition] = Committed(each.offset, each.metadata or "") if is_set else None
            elif each.error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise KafkaException(each.error)
        return found

    def logged(self, partitions: Iterable[Partition], which: OffsetSpec) -> dict[Partition, int]:
        """Where logs begin, or end for a ``read_committed`` reader.

        Args:
            partitions: what to ask about.
            which: `FIRST` or `END`.

        Raises:
            KafkaException: not answered.
        """
        asked = {TopicPartition(*partition): which for partition in partitions}
        if not asked:
            return {}
        answers: Mapping[TopicPartition, Any] = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=REQUEST_SECONDS
        )
        return {(each.topic, each.partition): answer.result().offset for each, answer in answers.items()}

    def close(self) -> None:
        """Ends the connection."""
        del self._admin  # the last reference: the client ends with it

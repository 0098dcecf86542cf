"""What the brokers say, and what is asked of them, through the admin API."""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
    ResourceType,
)

REQUEST_SECONDS = 10
SETTLE_SECONDS = 30
MOVING = frozenset({KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError._TRANSPORT})


class Facts:
    """Asks a cluster."""

    def __init__(self, servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": servers, "reconnect.backoff.max.ms": 200, "log_level": 2})

    def leaders(self, topic: str) -> dict[int, int]:
        """Partition -> node id of its leader."""
        found = self._admin.list_topics(topic, REQUEST_SECONDS).topics[topic].partitions
        return {number: partition.leader for number, partition in found.items()}

    def is_fully_replicated(self, *topics: str) -> bool:
        """True if every replica of the topics' partitions is in sync."""
        known = self._admin.list_topics(timeout=REQUEST_SECONDS).topics
        return all(
            set(partition.isrs) == set(partition.replicas) and partition.leader >= 0
            for topic in topics
            for partition in known[topic].partitions.values()
        )

    def coordinator(self, group: str) -> int:
        """Node id of the group's coordinator."""
        return int(self._describe(group).coordinator.id)

    def members(self, group: str) -> dict[str, set[int]]:
        """Member's lasting name, or else its id -> partitions that the group gave it."""
        return {
            member.group_instance_id or member.member_id: {p.partition for p in member.assignment.topic_partitions}
            for member in self._describe(group).members
        }

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition -> offset that the group has committed, where it has."""
        [answer] = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        found = answer.result(REQUEST_SECONDS).topic_partitions
        return {each.partition: each.offset for each in found if each.topic == topic and each.offset >= 0}

    def ends(self, topic: str) -> dict[int, int]:
        """Partition -> offset behind the last record that it holds, committed or not."""
        request = {TopicPartition(topic, number): OffsetSpec.latest() for number in self.leaders(topic)}
        answers = self._admin.list_offsets(request, request_timeout=REQUEST_SECONDS)
        return {each.partition: answer.result(REQUEST_SECONDS).offset for each, answer in answers.items()}

    def configure_topic(self, topic: str, **properties: str | None) -> None:
        """Sets properties of a topic; None takes them back. Dots of their names are written as underscores."""
        entries = [
            ConfigEntry(
                name.replace("_", "."),
                value,
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in properties.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _wait(self._admin.incremental_alter_configs, [resource])

    def add_partitions(self, topic: str, total: int) -> None:
        """Gives a topic partitions until it has `total`."""
        _wait(self._admin.create_partitions, [NewPartitions(topic, total)])

    def delete_records(self, topic: str, partition: int, *, before_offset: int) -> None:
        """Deletes the oldest records, as retention does."""
        _wait(self._admin.delete_records, [TopicPartition(topic, partition, before_offset)])

    def _describe(self, group: str) -> Any:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            [answer] = self._admin.describe_consumer_groups([group], request_timeout=REQUEST_SECONDS).values()
            try:
                return answer.result(REQUEST_SECONDS)
            except KafkaException as error:
                # The coordinator has moved with its broker, and not everybody knows.
                if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                    raise


def _wait(request: Callable[..., dict[Any, Any]], subjects: list[Any]) -> None:
    for answer in request(subjects, request_timeout=REQUEST_SECONDS).values():
        answer.result(REQUEST_SECONDS)

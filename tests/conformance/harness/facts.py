"""What the brokers say, and what is asked of them, through the admin API."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)

REQUEST_SECONDS = 10
SETTLE_SECONDS = 30
MOVING = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
    }
)
"""A broker has gone or come, and not everybody knows."""


class Facts:
    """Asks a cluster.

    Each question has a client of its own: one that has known a coordinator or a controller goes on asking it for
    minutes after it has died.
    """

    def __init__(self, servers: str) -> None:
        self._servers = servers

    def leaders(self, topic: str) -> dict[int, int]:
        """Partition -> node id of its leader."""
        found = self._connect().list_topics(topic, REQUEST_SECONDS).topics[topic].partitions
        return {number: partition.leader for number, partition in found.items()}

    def is_fully_replicated(self, *topics: str) -> bool:
        """True if every replica of the topics' partitions is in sync."""
        known = self._connect().list_topics(timeout=REQUEST_SECONDS).topics
        return all(
            set(partition.isrs) == set(partition.replicas) and partition.leader >= 0
            for topic in topics
            for partition in known[topic].partitions.values()
        )

    def coordinator(self, group: str) -> int:
        """Node id of the group's coordinator."""
        return int(self._describe(group).coordinator.id)

    def members(self, group: str) -> dict[str, set[int]]:
        """Member's lasting name -> partitions that the group gave it. Who has none is known by its client id."""
        return {
            member.group_instance_id or member.client_id: {p.partition for p in member.assignment.topic_partitions}
            for member in self._describe(group).members
        }

    def member_ids(self, group: str) -> set[str]:
        """What the group calls its members; who leaves and comes back under its name is called something else."""
        return {member.member_id for member in self._describe(group).members}

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """Partition -> offset that the group has committed, where it has."""
        request = [ConsumerGroupTopicPartitions(group)]
        [answer] = self._ask(lambda admin: admin.list_consumer_group_offsets(request)).values()
        return {
            each.partition: each.offset for each in answer.topic_partitions if each.topic == topic and each.offset >= 0
        }

    def ends(self, topic: str, *, stable: bool = False) -> dict[int, int]:
        """Partition -> offset behind the last record that it holds, committed or not.

        Args:
            topic: which.
            stable: behind the last that a `read_committed` reader may get: before the oldest open transaction.
        """
        request = {TopicPartition(topic, number): OffsetSpec.latest() for number in self.leaders(topic)}
        isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        answers = self._ask(lambda admin: admin.list_offsets(request, isolation_level=isolation))
        return {each.partition: answer.offset for each, answer in answers.items()}

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
        self._ask(lambda admin: admin.incremental_alter_configs([resource]))

    def forbid_writes(self, *topics: str) -> None:
        """From now on brokers with `harness.authorized` refuse what anybody writes to the topics, and nothing else."""

        def rule(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
            place = ResourceType.TOPIC, topic, ResourcePatternType.LITERAL
            return AclBinding(*place, "User:*", "*", operation, permission)

        rules = [
            rule(topic, *each)
            for topic in topics
            # Once there is a rule for a topic, what no rule allows is forbidden.
            for each in ((AclOperation.ALL, AclPermissionType.ALLOW), (AclOperation.WRITE, AclPermissionType.DENY))
        ]
        self._ask(lambda admin: admin.create_acls(rules))

    def allow_writes(self, *topics: str) -> None:
        """Takes that back."""
        place = ResourcePatternType.LITERAL
        rules = [
            AclBindingFilter(ResourceType.TOPIC, topic, place, None, None, AclOperation.ANY, AclPermissionType.ANY)
            for topic in topics
        ]
        self._ask(lambda admin: admin.delete_acls(rules))

    def add_partitions(self, topic: str, total: int) -> None:
        """Gives a topic partitions until it has `total`."""
        try:
            self._ask(lambda admin: admin.create_partitions([NewPartitions(topic, total)]))
        except KafkaException as error:
            # Asked again by the client, or by us, because the answer to the first question was late.
            if error.args[0].code() != KafkaError.INVALID_PARTITIONS or len(self.leaders(topic)) != total:
                raise

    def delete_records(self, topic: str, partition: int, *, before_offset: int) -> None:
        """Deletes the oldest records, as retention does."""
        self._ask(lambda admin: admin.delete_records([TopicPartition(topic, partition, before_offset)]))

    def _describe(self, group: str) -> Any:
        [answer] = self._ask(lambda admin: admin.describe_consumer_groups([group])).values()
        return answer

    def _ask(self, question: Callable[[AdminClient], Mapping[Any, Any]]) -> dict[Any, Any]:
        """Asks until somebody knows. Returns subject -> answer."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            admin = self._connect()  # its questions end with it
            try:
                return {subject: answer.result(REQUEST_SECONDS) for subject, answer in question(admin).items()}
            except (KafkaException, TimeoutError) as error:
                is_moving = isinstance(error, TimeoutError) or error.args[0].code() in MOVING
                if not is_moving or time.monotonic() > deadline:
                    raise

    def _connect(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._servers, "reconnect.backoff.max.ms": 200, "log_level": 2})

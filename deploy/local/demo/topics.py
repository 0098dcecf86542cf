"""The demo's topics."""

import secrets
from typing import NamedTuple, Self

from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from deploy.local.kafka.topics import create_topics
from worker.errors import TransportError
from worker.transport.kafka_python.client import connect, describe

PARTITIONS = 4
MAX_EVENT_BYTES = 1_048_588
"""Kafka's own default for a topic, set all the same: a broker can be configured otherwise."""
MAX_ANSWER_BYTES = MAX_EVENT_BYTES + 64 * 1024
"""A record at the limit of its topic grows by the headers of its dead letter."""
RETENTION_BYTES = 64 * 1024 * 1024
"""Of each partition, when the demo runs until it is stopped; it would otherwise fill the disk in a day."""


class Topics(NamedTuple):
    """Names of the topics and of the consumer group."""

    events: str
    predictions: str
    dead_letters: str
    status: str
    group: str

    @classmethod
    def of_own_broker(cls) -> Self:
        """The names that `worker` has by default."""
        return cls("limelight.events", "limelight.predictions", "limelight.events.dlq", "limelight.status", "limelight")

    @classmethod
    def of_shared_broker(cls) -> Self:
        """Names that nobody else has, on a broker that also serves others."""
        suffix = f"demo-{secrets.token_hex(4)}"
        return cls(*(f"{name}.{suffix}" for name in cls.of_own_broker()))

    def create(self, bootstrap_servers: str, *, endless: bool) -> None:
        """Creates the topics.

        Args:
            bootstrap_servers: the broker's address.
            endless: old records may go; otherwise all are kept, to be counted.

        Raises:
            TransportError: the broker cannot be reached, or refused.
        """
        bounds = {"retention.bytes": str(RETENTION_BYTES), "segment.bytes": str(RETENTION_BYTES // 4)}
        kept = bounds if endless else {"retention.bytes": "-1", "retention.ms": "-1"}
        answers = {"max.message.bytes": str(MAX_ANSWER_BYTES), **kept}
        create_topics(
            bootstrap_servers,
            {self.events: PARTITIONS, self.predictions: PARTITIONS, self.dead_letters: PARTITIONS, self.status: 1},
            configs={
                self.events: {"max.message.bytes": str(MAX_EVENT_BYTES), **kept},
                self.predictions: answers,
                self.dead_letters: answers,
                self.status: {"cleanup.policy": "compact"},
            },
        )

    def delete(self, bootstrap_servers: str) -> None:
        """Deletes the topics, as far as they exist, and the group. Its workers have ended.

        Raises:
            TransportError: the broker cannot be reached, or refused.
        """
        try:
            with connect(KafkaAdminClient, {"bootstrap_servers": bootstrap_servers.split(",")}) as admin:
                existing = set(admin.list_topics())
                admin.delete_topics([topic for topic in self[:4] if topic in existing])
                if self.group in {group["group_id"] for group in admin.list_groups()}:
                    _end_group(admin, self.group)
        except KafkaError as error:
            raise TransportError(
                f"topics of this demo are left at {bootstrap_servers}, {self.events} among them: {describe(error)}"
            ) from error


def _end_group(admin: KafkaAdminClient, group: str) -> None:
    """Static members stay in their group until their session ends, unless somebody signs them off."""
    members = admin.describe_groups([group])[group]["members"]
    if members:
        names = [MemberToRemove(group_instance_id=member["group_instance_id"]) for member in members]
        admin.remove_group_members(group, names)
    admin.delete_groups([group])

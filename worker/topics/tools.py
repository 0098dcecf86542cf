"""The command lines of Kafka's own tools, ready to be pasted into a shell."""

import shlex

from worker.settings import Settings
from worker.topics.plan import NewTopic

CLIENT_PROPERTIES = "client.properties"
"""Name of the file in which the reader keeps the login that the tools need on a secured cluster."""


class KafkaTools:
    """Writes commands for one cluster."""

    def __init__(self, settings: Settings) -> None:
        self._connection = ["--bootstrap-server", settings.bootstrap_servers]
        if settings.security_protocol != "PLAINTEXT":
            self._connection += ["--command-config", CLIENT_PROPERTIES]

    def create_topic(self, topic: NewTopic) -> str:
        """Creates a topic."""
        size = ["--partitions", str(topic.partitions), "--replication-factor", str(topic.replication_factor)]
        properties = [word for name, value in topic.configs.items() for word in ("--config", f"{name}={value}")]
        return self._line("kafka-topics.sh", "--create", "--topic", topic.name, *size, *properties)

    def add_partitions(self, topic: str, partitions: int) -> str:
        """Raises the number of partitions to `partitions`."""
        return self._line("kafka-topics.sh", "--alter", "--topic", topic, "--partitions", str(partitions))

    def set_config(self, topic: str, name: str, value: str) -> str:
        """Sets a property of a topic."""
        where = ["--entity-type", "topics", "--entity-name", topic]
        return self._line("kafka-configs.sh", "--alter", *where, "--add-config", f"{name}={value}")

    def grant(self, principal: str, operation: str, *resource: str) -> str:
        """Allows `principal` an operation.

        Args:
            principal: such as ``User:limelight``.
            operation: such as ``Read``.
            resource: the tool's words for it, such as ``--topic events``.
        """
        rule = ["--allow-principal", principal, "--operation", operation]
        return self._line("kafka-acls.sh", "--add", *rule, *resource)

    def _line(self, tool: str, *words: str) -> str:
        return shlex.join([tool, *self._connection, *words])

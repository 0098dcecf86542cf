"""The bench's own topics: made for it, filled, read back and deleted. No other topic of the brokers is touched."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

from worker.ports import Record
from worker.settings import Settings
from worker.topics.plan import EVENT_BYTES, NewTopic
from worker.transport.connections import Connections
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

MAX_RECORD_BYTES = 4 * EVENT_BYTES
FLUSH_RECORDS = 10_000
FLUSH_SECONDS = 60.0
REPLICAS = -1
"""As many as the brokers give a topic by default."""
APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
"""The brokers' clock stamps the answers, whoever writes them."""


class BenchTopics:
    """Makes topics under one prefix, and deletes them at the end."""

    def __init__(self, settings: Settings, *, prefix: str, partitions: int) -> None:
        """
        Args:
            settings: how to reach the brokers.
            prefix: begin of all names.
            partitions: of each topic.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._settings = settings
        self._prefix = prefix
        self._partitions = partitions
        self._client = client_properties(settings.model_copy(update={"transport": "kafka-python", "properties": {}}))
        self._admin = KafkaAdmin(self._client)
        self._made: set[str] = set()

    def make(self, name: str, *, append_time: bool = False) -> str:
        """Creates a topic; returns its whole name."""
        topic = f"{self._prefix}.{name}"
        configs = {"max.message.bytes": str(MAX_RECORD_BYTES), **(APPEND_TIME if append_time else {})}
        self._admin.create(NewTopic(topic, self._partitions, REPLICAS, configs))
        self._made.add(topic)
        return topic

    def fill(self, topic: str, events: Iterable[bytes]) -> None:
        """Writes `events`, each with a key of its own, which spreads them over the partitions."""
        with closing(Connections(self._settings).open_feed()) as feed:
            for number, event in enumerate(events, start=1):
                feed.send(topic, event, key=str(number).encode())
                if number % FLUSH_RECORDS == 0:
                    feed.flush(timeout_seconds=FLUSH_SECONDS)
            feed.flush(timeout_seconds=FLUSH_SECONDS)

    def committed(self, group_id: str, topic: str) -> int:
        """How many records of `topic` the group has behind it."""
        found = self._admin.committed(group_id)
        return sum(offset for (name, _), (offset, _) in found.items() if name == topic)

    def read(self, topic: str) -> Iterator[Record]:
        """Everything that a ``read_committed`` reader finds in `topic` now."""
        with closing(KafkaReader(self._client, topic=topic, begin="beginning")) as reader:
            for records in reader.read_until(reader.ends()):
                yield from records

    def delete(self, *topics: str) -> None:
        """Deletes topics that `make` made."""
        self._admin.delete(topics)
        self._made.difference_update(topics)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.delete(*self._made)
        finally:
            self._admin.close()

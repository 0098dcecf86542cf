"""A consumer group with members in this process: in memory, and on a real broker with each client."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from worker.ports import Record, Sink, Source
from worker.settings import Settings
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections
from worker.transport.deadline import Deadline
from worker.transport.memory import MemoryAtLeastOnceSink, MemoryBroker, MemorySink, MemorySource

PATIENCE_SECONDS = 30
CLIENTS = ["kafka-python", "librdkafka"]


class Member:
    """A source and what it owns."""

    def __init__(self, source: Source, ownership: Ownership, open_sink: Callable[[], Sink]) -> None:
        self.source: Any = source
        self.ownership = ownership
        self.open_sink = open_sink

    def poll(self, *, at_least: int = 0, max_records: int = 100) -> list[Record]:
        """Polls until the group has answered and so many records have come."""
        found: list[Record] = []
        until(
            lambda: self.ownership.joined and len(found) >= at_least,
            lambda: found.extend(self.source.poll(max_records=max_records, timeout_seconds=0.2)),
        )
        return found


class MemoryGroup:
    """Of one member, without Kafka."""

    servers = ""

    def __init__(self) -> None:
        self.name = self.topic = "events"
        self.broker = MemoryBroker({self.topic: 2})

    def fill(self, count: int, *, partition: int = 0) -> None:
        for number in range(count):
            self.broker.append(self.topic, partition, str(number).encode())

    def join(self, *, delivery: str = "exactly_once") -> Member:
        ownership = Ownership()
        source = MemorySource(self.broker, self.topic, ownership)

        def open_sink() -> Sink:
            if delivery == "at_least_once":
                return MemoryAtLeastOnceSink(self.broker, commit_soon=source.commit_soon)
            return MemorySink(self.broker)

        return Member(source, ownership, open_sink)

    def read(self) -> list[bytes | None]:
        return [record.value for record in self.broker.logs[self.topic, 0]]

    def close(self) -> None:
        pass


class KafkaGroup:
    """With a topic of its own on a real broker."""

    def __init__(self, servers: str, transport: str) -> None:
        from deploy.local.kafka.topics import create_topics

        self.servers = servers
        self.transport = transport
        self.name = self.topic = f"group.{uuid.uuid4().hex[:8]}"
        self._opened = ExitStack()
        create_topics(servers, {self.topic: 2})

    def connections(self, **changes: Any) -> Connections:
        options = {"transport": self.transport, "input_topic": self.topic, "group_id": self.name, **changes}
        return Connections(Settings(bootstrap_servers=self.servers, **options))

    def fill(self, count: int, *, partition: int = 0) -> None:
        from kafka import KafkaProducer

        with closing(KafkaProducer(bootstrap_servers=self.servers)) as producer:
            for number in range(count):
                producer.send(self.topic, str(number).encode(), partition=partition)
            producer.flush()

    def join(self, *, instance: str = "one", **changes: Any) -> Member:
        ownership = Ownership()
        source = self.connections(**changes).open_source(instance=instance, ownership=ownership)
        self._opened.callback(source.close)

        def open_sink() -> Sink:
            sink = self.connections(**changes).open_sink(transactional_id=f"{self.name}.{instance}", source=source)
            self._opened.callback(sink.close)
            return sink

        return Member(source, ownership, open_sink)

    def read(self) -> list[bytes | None]:
        """What stands in partition 0, for a ``read_committed`` reader."""
        from kafka import KafkaConsumer, TopicPartition

        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(bootstrap_servers=self.servers, **options)) as consumer:
            partition = TopicPartition(self.topic, 0)
            consumer.assign([partition])
            [end] = consumer.end_offsets([partition]).values()
            found: list[bytes | None] = []
            while consumer.position(partition) < end:
                found += [r.value for records in consumer.poll(timeout_ms=100).values() for r in records]
        return found

    def close(self) -> None:
        self._opened.close()


def until(done: Callable[[], bool], turn: Callable[[], object]) -> None:
    deadline, last = Deadline(PATIENCE_SECONDS), None
    while not done():
        assert deadline.remaining_seconds() > 0, f"it did not come to that; at last: {last}"
        last = turn()


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.fast),
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("librdkafka", marks=pytest.mark.kafka),
    ]
)
def group(request: pytest.FixtureRequest) -> Iterator[Any]:
    opened: Any
    if request.param == "memory":
        opened = MemoryGroup()
    else:
        opened = KafkaGroup(request.getfixturevalue("broker"), request.param)
    with closing(opened):
        yield opened


@pytest.fixture(params=CLIENTS)
def kafka_group(request: pytest.FixtureRequest, broker: str) -> Iterator[KafkaGroup]:
    with closing(KafkaGroup(broker, str(request.param))) as opened:
        yield opened


@pytest.fixture
def kafka_group_type() -> type[KafkaGroup]:
    """For a broker of the test's own."""
    return KafkaGroup

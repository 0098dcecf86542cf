"""The same stream in memory, and on a real broker with each client; it fails where a test says."""

import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, Protocol

import pytest
from confluent_kafka import KafkaError, KafkaException
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaTimeoutError

from deploy.local.kafka.topics import create_topics
from worker.messages import Headers, Position
from worker.ports import Output, Record, Sink, Source
from worker.settings import Settings
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections
from worker.transport.kafka_python import transactions as kafka_transactions
from worker.transport.kafka_python.appending import append
from worker.transport.librdkafka import transactions as librdkafka_transactions
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

PARTITIONS = 3
OUTPUT_PARTITIONS = 2
EVENTS, PREDICTIONS, DEAD_LETTERS = "events", "predictions", "dead"
FAILURES = ["send", "offsets", "commit", "answer"]
"""Where a transaction is made to fail; ``answer``: it was committed, but nobody told us."""


class Stream(Protocol):
    """What a test needs of a broker."""

    def append(
        self, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> Position: ...

    def open(self, ownership: Ownership) -> tuple[Source, Sink]: ...

    def fail(self, steps: list[str]) -> None:
        """Makes the next transactions fail at these steps."""

    def limit(self, topic: str, max_bytes: int) -> None:
        """Sets the topic's max.message.bytes."""

    def compact(self, topic: str) -> None:
        """From now on the topic takes no record without a key."""

    def read(self, topic: str) -> list[Record]:
        """What a read_committed reader sees, in order per partition."""


class MemoryStream:
    def __init__(self) -> None:
        self._broker = MemoryBroker({EVENTS: PARTITIONS, PREDICTIONS: OUTPUT_PARTITIONS, DEAD_LETTERS: 1})

    def append(self, partition: int, value: bytes | None, **fields: Any) -> Position:
        return self._broker.append(EVENTS, partition, value, **fields).position

    def open(self, ownership: Ownership) -> tuple[Source, Sink]:
        return MemorySource(self._broker, EVENTS, ownership), MemorySink(self._broker)

    def fail(self, steps: list[str]) -> None:
        self._broker.failures += steps

    def limit(self, topic: str, max_bytes: int) -> None:
        self._broker.limits[topic] = max_bytes

    def compact(self, topic: str) -> None:
        self._broker.compacted.add(topic)

    def read(self, topic: str) -> list[Record]:
        return [r for p in range(self._broker.topics[topic]) for r in self._broker.logs[topic, p]]

    def close(self) -> None:
        pass


class KafkaStream:
    """Topics of its own on a real broker; fails where the client's module of transactions names a step."""

    def __init__(self, servers: str, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._suffix = uuid.uuid4().hex[:8]
        self._client = {"bootstrap_servers": servers.split(",")}
        self._connections = Connections(
            Settings(
                bootstrap_servers=servers,
                transport=transport,
                input_topic=self.name(EVENTS),
                group_id=self._suffix,
            )
        )
        topics = {EVENTS: PARTITIONS, PREDICTIONS: OUTPUT_PARTITIONS, DEAD_LETTERS: 1}
        create_topics(servers, {self.name(topic): count for topic, count in topics.items()})
        self._producer = KafkaProducer(**self._client)
        self._failures: list[str] = []
        self._opened = ExitStack()
        module, error = CLIENTS[transport]
        for step in ("send_all", "send_offsets", "commit"):
            monkeypatch.setattr(module, step, self._failing(step, getattr(module, step), error))

    @property
    def transport(self) -> str:
        return self._connections._settings.transport

    def name(self, topic: str) -> str:
        return f"{topic}.{self._suffix}"

    def append(
        self, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None
    ) -> Position:
        topic = self.name(EVENTS)
        self._producer.partitions_for(topic)
        future = append(self._producer, Output(topic, partition, key, value, headers or [], 1_700_000_000_000))
        self._producer.flush()
        return Position(topic, partition, future.get().offset)

    def open(self, ownership: Ownership) -> tuple[Source, Sink]:
        self._opened.close()
        source = self._connections.open_source(instance="only", ownership=ownership)
        self._opened.callback(source.close)
        sink = self._connections.open_sink(transactional_id=self._suffix, source=source)
        self._opened.callback(sink.close)
        return source, sink

    def fail(self, steps: list[str]) -> None:
        self._failures += steps

    def limit(self, topic: str, max_bytes: int) -> None:
        self._configure(topic, {"max.message.bytes": str(max_bytes)})

    def compact(self, topic: str) -> None:
        self._configure(topic, {"cleanup.policy": "compact"})

    def _configure(self, topic: str, configs: dict[str, str]) -> None:
        with KafkaAdminClient(**self._client) as admin:
            admin.alter_configs([ConfigResource("TOPIC", self.name(topic), configs=configs)])

    def read(self, topic: str) -> list[Record]:
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(**self._client, **options)) as consumer:
            partitions = [TopicPartition(self.name(topic), p) for p in consumer.partitions_for_topic(self.name(topic))]
            consumer.assign(partitions)
            # Not the read_committed end: a commit is confirmed before its marks are written.
            with closing(KafkaConsumer(**self._client)) as everything:
                ends = everything.end_offsets(partitions)
            found: list[Record] = []
            while any(consumer.position(p) < ends[p] for p in partitions):
                for records in consumer.poll(timeout_ms=100).values():
                    found += [
                        Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records
                    ]
        return sorted(found, key=lambda r: (r.partition, r.offset))

    def close(self) -> None:
        self._opened.close()
        self._producer.close()

    def _failing(self, step: str, real: Any, error: Callable[[str], Exception]) -> Any:
        names = {"send_all": ["send"], "send_offsets": ["offsets"], "commit": ["commit", "answer"]}[step]

        def call(*arguments: Any) -> None:
            due = self._failures[0] if self._failures and self._failures[0] in names else None
            if due is not None:
                self._failures.pop(0)
            if due in ("send", "offsets", "commit"):
                raise error(f"injected at {due}")
            real(*arguments)
            if due == "answer":
                raise error("injected after the commit")

        return call


def time_out(text: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, text))


CLIENTS = {"kafka-python": (kafka_transactions, KafkaTimeoutError), "librdkafka": (librdkafka_transactions, time_out)}

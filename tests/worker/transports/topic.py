"""A topic of a real broker, and what a test does with it through either client."""

import uuid
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NoError
from kafka.structs import OffsetAndMetadata

from deploy.local.kafka.topics import create_topics
from worker.ports import Output, Record, Sink
from worker.settings import Settings
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections, Feed, GroupSource
from worker.transport.deadline import Deadline

CLIENTS = ["kafka-python", "librdkafka"]
PATIENCE_SECONDS = 30


class Topic:
    """A topic of its own, with clients that are closed with the test."""

    def __init__(self, servers: str, transport: str, opened: ExitStack, *, partitions: int = 1) -> None:
        self.name = f"topic.{uuid.uuid4().hex[:8]}"
        self.partition = TopicPartition(self.name, 0)
        self.ownerships: dict[GroupSource, Ownership] = {}
        self._servers = servers
        self._transport = transport
        self._opened = opened
        create_topics(servers, {self.name: partitions})

    def connections(self, **changes: Any) -> Connections:
        options = {"transport": self._transport, "input_topic": self.name, "group_id": self.name, **changes}
        return Connections(Settings(bootstrap_servers=self._servers, **options))

    def source(self, *, instance: str = "one", **changes: Any) -> GroupSource:
        ownership = Ownership()
        source = self.connections(**changes).open_source(instance=instance, ownership=ownership)
        self.ownerships[source] = ownership
        self._opened.callback(source.close)
        return source

    def sink(self, source: GroupSource, **changes: Any) -> Sink:
        sink = self.connections(**changes).open_sink(transactional_id=self.name, source=source)
        self._opened.callback(sink.close)
        return sink

    def feed(self, *, block_seconds: float = 5, **changes: Any) -> Feed:
        feed = self.connections(**changes).open_feed(block_seconds=block_seconds)
        self._opened.callback(feed.close)
        return feed

    def producer(self, **options: Any) -> KafkaProducer:
        producer = KafkaProducer(bootstrap_servers=self._servers, **options)
        self._opened.callback(producer.close)
        return producer

    def fill(self, count: int, *, partition: int = 0) -> None:
        producer = self.producer()
        for number in range(count):
            producer.send(self.name, str(number).encode(), partition=partition)
        producer.flush()

    def read(self) -> list[Any]:
        """Committed records, in order per partition."""
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **options)) as consumer:
            partitions = [TopicPartition(self.name, number) for number in consumer.partitions_for_topic(self.name)]
            consumer.assign(partitions)
            ends = consumer.end_offsets(partitions)
            found = []
            while any(consumer.position(each) < ends[each] for each in partitions):
                found += [record for records in consumer.poll(timeout_ms=100).values() for record in records]
        return found

    def delete_until(self, offset: int) -> None:
        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            admin.delete_records({self.partition: offset})

    def commit(self, offset: int, *, note: str = "") -> None:
        def is_committed() -> bool:
            # The first question about a group makes a new broker create the topic that answers it.
            try:
                answer = admin.alter_group_offsets(self.name, {self.partition: OffsetAndMetadata(offset, note)})
            except CoordinatorNotAvailableError:
                return False
            return bool(answer[self.partition] is NoError)

        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            until(is_committed, lambda: None)

    def poll(self, source: GroupSource, *, at_least: int, max_records: int = 100) -> list[Record]:
        """Polls until the group has answered and so many records have come."""
        found: list[Record] = []
        until(
            lambda: self.ownerships[source].joined and len(found) >= at_least,
            lambda: found.extend(source.poll(max_records=max_records, timeout_seconds=0.2)),
        )
        return found

    def output(self, value: bytes = b"x") -> Output:
        return Output(self.name, 0, None, value, [], 1)


def until(done: Callable[[], bool], turn: Callable[[], object]) -> None:
    """Takes turns until `done`; fails the test if that takes too long."""
    deadline, last = Deadline(PATIENCE_SECONDS), None
    while not done():
        assert deadline.remaining_seconds() > 0, f"it did not come to that; at last: {last}"
        last = turn()


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]

"""What an onlooker sees of a real broker: committed records only, up to the ends that were noted, and no further."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.beginning import Begin
from worker.errors import BrokerUnreachableError, OffsetGapError, TopicMissingError
from worker.settings import Settings
from worker.transport.kafka_python import reader as kafka_reader
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

pytestmark = pytest.mark.kafka

SECOND_MS = 1000


class Topic:
    """A topic of two partitions, and clients that are closed with the test."""

    def __init__(self, servers: str, opened: ExitStack) -> None:
        self.name = f"read.{uuid.uuid4().hex[:8]}"
        self.client = client_properties(Settings(bootstrap_servers=servers))
        self._opened = opened
        create_topics(servers, {self.name: 2})

    def reader(self, begin: Begin = "beginning") -> KafkaReader:
        return self._opened.enter_context(closing(KafkaReader(self.client, topic=self.name, begin=begin)))

    def producer(self, **properties: Any) -> KafkaProducer:
        return self._opened.enter_context(closing(KafkaProducer(**self.client, **properties)))

    def fill(self, partition: int, *values: bytes, timestamp_ms: int | None = None) -> None:
        with closing(KafkaProducer(**self.client)) as producer:
            for value in values:
                producer.send(self.name, value, partition=partition, timestamp_ms=timestamp_ms)
            producer.flush()

    def transact(self, *values: bytes) -> KafkaProducer:
        """Sends to partition 0 in a transaction that is left open."""
        producer = self.producer(transactional_id=f"{self.name}.{uuid.uuid4()}")
        producer.init_transactions()
        producer.begin_transaction()
        for value in values:
            producer.send(self.name, value, partition=0)
        producer.flush()
        return producer


@pytest.fixture
def topic(broker: str) -> Iterator[Topic]:
    with ExitStack() as opened:
        yield Topic(broker, opened)


def read(reader: KafkaReader, ends: dict[int, int] | None = None) -> list[tuple[int, bytes | None]]:
    turns = reader.read_until(reader.ends() if ends is None else ends)
    return [(record.partition, record.value) for records in turns for record in records]


def test_it_reads_to_the_ends_and_no_further(topic: Topic) -> None:
    topic.fill(0, b"a", b"b")
    topic.fill(1, b"c")
    reader = topic.reader()
    ends = reader.ends()
    topic.fill(0, b"later")

    assert ends == {0: 2, 1: 1}
    assert sorted(read(reader, ends)) == [(0, b"a"), (0, b"b"), (1, b"c")]


def test_partitions_without_an_end_are_not_read(topic: Topic) -> None:
    topic.fill(0, b"a")
    topic.fill(1, b"c")
    assert read(topic.reader(), {1: 1}) == [(1, b"c")]


def test_partitions_that_were_left_out_can_be_read_later(topic: Topic) -> None:
    topic.fill(0, b"a")
    topic.fill(1, b"b")
    reader = topic.reader()
    assert read(reader, {0: 1}) == [(0, b"a")]
    assert read(reader, {1: 1}) == [(1, b"b")]


def test_an_empty_topic_has_an_end(topic: Topic) -> None:
    reader = topic.reader()
    assert reader.beginnings() == reader.ends() == {0: 0, 1: 0}
    assert read(reader) == []


def test_aborted_and_open_transactions_are_not_seen_and_do_not_hold_up_the_end(topic: Topic) -> None:
    topic.transact(b"committed").commit_transaction()
    topic.transact(b"aborted").abort_transaction()
    assert read(topic.reader()) == [(0, b"committed")]

    topic.transact(b"open")
    assert read(topic.reader()) == [(0, b"committed")]


def test_it_begins_at_the_end_or_at_a_time(topic: Topic) -> None:
    topic.fill(0, b"old", timestamp_ms=1 * SECOND_MS)
    topic.fill(0, b"new", timestamp_ms=3 * SECOND_MS)
    topic.fill(1, b"old", timestamp_ms=1 * SECOND_MS)
    at_the_end = topic.reader("end")

    assert read(topic.reader(2 * SECOND_MS)) == read(topic.reader(3 * SECOND_MS)) == [(0, b"new")]
    assert read(topic.reader(4 * SECOND_MS)) == []
    topic.fill(1, b"latest")
    assert read(at_the_end) == [(1, b"latest")]


def test_a_seek_decides_what_comes_next(topic: Topic) -> None:
    topic.fill(0, b"a", b"b", b"c")
    reader = topic.reader("end")
    reader.seek(0, 1)

    assert reader.position(0) == 1
    assert read(reader) == [(0, b"b"), (0, b"c")]
    assert reader.position(0) == 3


def test_what_retention_removed_is_a_gap(topic: Topic) -> None:
    topic.fill(0, b"a", b"b", b"c")
    reader = topic.reader()
    with KafkaAdminClient(**topic.client) as admin:
        admin.delete_records({TopicPartition(topic.name, 0): 2})

    with pytest.raises(OffsetGapError, match=f"{topic.name}-0 no longer holds offset 0"):
        read(reader)
    assert topic.reader().beginnings() == {0: 2, 1: 0}


def test_a_broker_that_brings_nothing_is_an_error_and_no_endless_wait(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader, "STALLED_SECONDS", 0.3)
    topic.fill(0, b"a")
    reader = topic.reader()

    with pytest.raises(BrokerUnreachableError, match="could not be read to its end"):
        read(reader, {0: 2})


def test_a_missing_topic_is_named(topic: Topic) -> None:
    topic.name = "no-such-topic"
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        topic.reader()

"""What only a real broker can show: fencing, gaps, missing topics, an address where nobody answers."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from deploy.local.kafka.ports import choose_ports
from deploy.local.kafka.topics import create_topics
from worker.errors import FencedError, OffsetGapError, TopicMissingError
from worker.ownership import Ownership
from worker.ports import Output, Record
from worker.settings import Settings
from worker.transport.kafka import KafkaFeed, KafkaSink, KafkaSource, client_properties
from worker.transport.kafka_transactions import Deadline

pytestmark = pytest.mark.kafka


class Topic:
    """One topic of one partition, and clients that are closed with the test."""

    def __init__(self, servers: str, opened: ExitStack) -> None:
        self.name = f"topic.{uuid.uuid4().hex[:8]}"
        self.partition = TopicPartition(self.name, 0)
        self.ownerships: dict[KafkaSource, Ownership] = {}
        self.client = client_properties(Settings(bootstrap_servers=servers))
        self._opened = opened
        create_topics(servers, {self.name: 1})

    def source(self, **changes: Any) -> KafkaSource:
        options = {"start": "earliest", "offset_gap": "stop", "instance": "one", "group_id": self.name, **changes}
        ownership = Ownership()
        source = KafkaSource(self.client, topic=self.name, session_timeout_seconds=6, ownership=ownership, **options)
        self.ownerships[source] = ownership
        self._opened.callback(source.close)
        return source

    def sink(self, source: KafkaSource) -> KafkaSink:
        sink = KafkaSink(
            self.client,
            transactional_id=self.name,
            group=source.group_metadata,
            transaction_timeout_seconds=10,
            deadline_seconds=8,
        )
        self._opened.callback(sink.close)
        return sink

    def fill(self, count: int) -> None:
        with closing(KafkaProducer(**self.client)) as producer:
            for number in range(count):
                producer.send(self.name, str(number).encode())
            producer.flush()

    def delete_until(self, offset: int) -> None:
        with KafkaAdminClient(**self.client) as admin:
            admin.delete_records({self.partition: offset})

    def commit(self, offset: int) -> None:
        with KafkaAdminClient(**self.client) as admin:
            admin.alter_group_offsets(self.name, {self.partition: OffsetAndMetadata(offset)})


@pytest.fixture
def topic(broker: str) -> Iterator[Topic]:
    with ExitStack() as opened:
        yield Topic(broker, opened)


def poll(topic: Topic, source: KafkaSource, *, at_least: int) -> list[Record]:
    found: list[Record] = []
    deadline = Deadline(30)
    while len(found) < at_least or not topic.ownerships[source].joined:
        assert deadline.remaining_seconds() > 0, f"{len(found)} records"
        found += source.poll(max_records=100, timeout_seconds=0.2)
    return found


def test_the_later_of_two_producers_fences_the_first(topic: Topic) -> None:
    source = topic.source()
    poll(topic, source, at_least=0)
    first, second = topic.sink(source), topic.sink(source)
    output = Output(topic.name, 0, None, b"x", [], 1)

    second.deliver([output], {})
    with pytest.raises(FencedError, match="LIMELIGHT_INSTANCE_ID"):
        first.deliver([output], {})


def test_the_later_of_two_members_fences_the_first(topic: Topic) -> None:
    first = topic.source()
    poll(topic, first, at_least=0)
    poll(topic, topic.source(), at_least=0)

    with pytest.raises(FencedError, match="group instance 'one'"):
        poll(topic, first, at_least=1)


def test_a_gap_stops_the_worker(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    with pytest.raises(OffsetGapError, match=f"{topic.name}-0 no longer holds offset 3"):
        poll(topic, topic.source(), at_least=1)


def test_a_gap_can_be_skipped(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    assert [r.offset for r in poll(topic, topic.source(offset_gap="skip"), at_least=5)] == [5, 6, 7, 8, 9]


def test_latest_begins_behind_what_is_there(topic: Topic) -> None:
    topic.fill(3)
    source = topic.source(start="latest")
    poll(topic, source, at_least=0)
    assert source.lag() == 0

    topic.fill(2)
    assert [r.offset for r in poll(topic, source, at_least=2)] == [3, 4]


def test_lag_counts_what_was_not_polled(topic: Topic) -> None:
    topic.fill(7)
    source = topic.source()
    found = 0
    deadline = Deadline(30)
    while not found:
        assert deadline.remaining_seconds() > 0
        found = len(source.poll(max_records=3, timeout_seconds=0.2))

    assert source.lag() == 7 - found


def test_lag_can_be_asked_before_the_first_record(topic: Topic) -> None:
    topic.fill(7)
    source = topic.source()
    source._consumer.poll(timeout_ms=0)
    deadline = Deadline(30)
    while not topic.ownerships[source].joined:
        assert deadline.remaining_seconds() > 0
        source._consumer._coordinator.poll(timeout_ms=200)

    assert source.lag() == 7
    assert len(poll(topic, source, at_least=7)) == 7


def test_a_missing_topic_is_named(topic: Topic) -> None:
    source = topic.source()
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        topic.sink(source).partitions("no-such-topic")
    with closing(KafkaFeed(topic.client)) as feed, pytest.raises(TopicMissingError, match="no-such-topic"):
        feed.require("no-such-topic")
    topic.name = "no-such-topic"
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        topic.source()


OUTAGE = """
import threading
from worker.errors import BrokerUnreachableError
from worker.settings import Settings
from worker.transport import kafka

kafka.BOOTSTRAP_SECONDS = 0.3
for _ in range(3):
    try:
        kafka.KafkaFeed(kafka.client_properties(Settings(bootstrap_servers="127.0.0.1:{port}")))
    except BrokerUnreachableError as error:
        print(error)
print("threads:", threading.active_count())
"""


def test_an_address_without_a_broker_is_named_and_an_outage_collects_no_threads() -> None:
    # In a process of its own: kafka-python leaves the sockets of refused connections to the garbage collector.
    [port] = choose_ports(1)
    run = subprocess.run([sys.executable, "-c", OUTAGE.format(port=port)], capture_output=True, text=True, check=True)

    *messages, threads = run.stdout.splitlines()
    assert len(messages) == 3
    assert all(f"127.0.0.1:{port}" in m and "LIMELIGHT_BOOTSTRAP_SERVERS" in m for m in messages)
    assert threads == "threads: 1"


def test_every_codec_can_be_read(topic: Topic) -> None:
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        with closing(KafkaProducer(**topic.client, compression_type=codec)) as producer:
            producer.send(topic.name, codec.encode()).get(timeout=10)

    assert [r.value for r in poll(topic, topic.source(), at_least=4)] == [b"gzip", b"snappy", b"lz4", b"zstd"]

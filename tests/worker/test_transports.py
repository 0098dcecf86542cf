"""What only a real broker can show, with each client: fencing, gaps, rewinds, pauses, missing topics, outages.

The last tests change the client of a running group.
"""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError, NoError
from kafka.future import Future
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from deploy.local.kafka.ports import choose_ports
from deploy.local.kafka.topics import create_topics
from worker.errors import (
    BrokerUnreachableError,
    DeliveryError,
    FencedError,
    OffsetGapError,
    SettingsError,
    TopicMissingError,
    TransportError,
)
from worker.ownership import Ownership
from worker.ports import Output, Partition, Record, Sink
from worker.settings import Settings
from worker.transport.connections import Connections, Feed, GroupSource
from worker.transport.deadline import Deadline
from worker.transport.terms import METADATA_SECONDS

pytestmark = pytest.mark.kafka

CLIENTS = ["kafka-python", "librdkafka"]
CODECS = ["gzip", "snappy", "lz4", "zstd"]


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


Make = Callable[..., Topic]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(broker: str, client: str) -> Iterator[Make]:
    with ExitStack() as opened:
        yield lambda **options: Topic(broker, client, opened, **options)


@pytest.fixture
def topic(make: Make) -> Topic:
    return make()


def until(done: Callable[[], bool], turn: Callable[[], object]) -> None:
    deadline, last = Deadline(30), None
    while not done():
        assert deadline.remaining_seconds() > 0, f"it did not come to that; at last: {last}"
        last = turn()


def poll(topic: Topic, source: GroupSource, *, at_least: int, max_records: int = 100) -> list[Record]:
    """Polls until the group has answered and so many records have come."""
    found: list[Record] = []
    until(
        lambda: topic.ownerships[source].joined and len(found) >= at_least,
        lambda: found.extend(source.poll(max_records=max_records, timeout_seconds=0.2)),
    )
    return found


def offsets(records: list[Record]) -> list[int]:
    return [record.offset for record in records]


def output(topic: Topic, value: bytes = b"x") -> Output:
    return Output(topic.name, 0, None, value, [], 1)


def test_the_later_of_two_producers_fences_the_first(topic: Topic) -> None:
    source = topic.source()
    poll(topic, source, at_least=0)
    first, second = topic.sink(source), topic.sink(source)

    second.deliver([output(topic)], {})
    with pytest.raises(FencedError, match="LIMELIGHT_INSTANCE_ID"):
        first.deliver([output(topic)], {})


def test_the_later_of_two_members_fences_the_first(topic: Topic) -> None:
    first = topic.source()
    poll(topic, first, at_least=0)
    poll(topic, topic.source(), at_least=0)

    with pytest.raises(FencedError, match="group instance 'one'"):
        poll(topic, first, at_least=1)


def test_a_session_timeout_that_the_brokers_do_not_take_is_named_with_what_they_take(topic: Topic) -> None:
    source = topic.source(session_timeout_seconds=2)

    with pytest.raises(SettingsError, match=r"session timeout of 2 s\. Set LIMELIGHT_SESSION_TIMEOUT_SECONDS between"):
        poll(topic, source, at_least=0)


def test_a_member_without_a_partition_has_joined(topic: Topic) -> None:
    owner, idle = topic.source(instance="owner"), topic.source(instance="idle")
    poll(topic, owner, at_least=0)

    until(
        lambda: topic.ownerships[idle].joined,
        lambda: [source.poll(max_records=1, timeout_seconds=0.1) for source in (owner, idle)],
    )

    assert len(owner.assignment()) + len(idle.assignment()) == 1


def test_what_the_broker_refuses_aborts_its_transaction_and_no_other(topic: Topic) -> None:
    source = topic.source()
    poll(topic, source, at_least=0)
    sink = topic.sink(source)
    home = (topic.name, 0)

    with pytest.raises(DeliveryError):
        sink.deliver([output(topic), output(topic, b"x" * 2_000_000)], {home: 7})
    sink.deliver([output(topic, b"after")], {home: 1})

    assert [record.value for record in topic.read()] == [b"after"]


def test_records_keep_what_they_are_made_of(topic: Topic) -> None:
    source = topic.source()
    poll(topic, source, at_least=0)
    made = [
        Output(topic.name, 0, b"key", b"value", [("h", b"1"), ("null", None), ("empty", b""), ("h", b"2")], 1_000),
        Output(topic.name, 0, None, None, [("only", None)], 2_000),
        Output(topic.name, 0, b"", b"", [], 3_000),
    ]

    topic.sink(source).deliver(made, {})

    records = poll(topic, source, at_least=len(made))
    assert [Output(r.topic, r.partition, r.key, r.value, r.headers, r.timestamp_ms) for r in records] == made


def test_a_gap_stops_the_worker(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    with pytest.raises(OffsetGapError, match=f"{topic.name}-0 no longer holds offset 3"):
        poll(topic, topic.source(), at_least=1)


def test_a_gap_can_be_skipped_and_is_told(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    assert offsets(poll(topic, topic.source(offset_gap="skip"), at_least=5)) == [5, 6, 7, 8, 9]
    told = [r.levelname for r in caplog.records if topic.name in r.getMessage() and "offset" in r.getMessage()]
    assert told == ["WARNING"]


@pytest.mark.parametrize("offset_gap", ["stop", "skip"])
def test_a_group_ahead_of_the_log_stops_in_any_case(topic: Topic, offset_gap: str) -> None:
    topic.fill(10)
    topic.commit(50)

    with pytest.raises(OffsetGapError, match=r"offset 50 .* behind the log's end 10"):
        poll(topic, topic.source(offset_gap=offset_gap), at_least=1)


def test_the_note_of_another_program_stops_nobody(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(5, note="note")
    source = topic.source()
    poll(topic, source, at_least=0)

    home = (topic.name, 0)
    for _ in range(20):
        [found] = source.committed([home]).values()
        # librdkafka's binding may read on behind the end of a note as short as this one.
        assert (found.offset, found.metadata[:4]) == (5, "note")


def test_latest_begins_behind_what_is_there(topic: Topic) -> None:
    topic.fill(3)
    source = topic.source(start="latest")
    poll(topic, source, at_least=0)
    assert source.lag({}) == 0

    topic.fill(2)
    assert offsets(poll(topic, source, at_least=2)) == [3, 4]
    source.rewind()
    assert offsets(poll(topic, source, at_least=2)) == [3, 4]


def test_a_partition_that_is_added_begins_at_its_first_record_also_for_latest(topic: Topic, client: str) -> None:
    topic.fill(3)
    name = "metadata.max.age.ms" if client == "kafka-python" else "topic.metadata.refresh.interval.ms"
    source = topic.source(start="latest", properties=f"{name}=500")
    poll(topic, source, at_least=0)
    with KafkaAdminClient(bootstrap_servers=topic._servers) as admin:
        admin.create_partitions({topic.name: 2})
    topic.fill(2, partition=1)

    found = poll(topic, source, at_least=2)

    assert [(record.partition, record.offset) for record in found] == [(1, 0), (1, 1)]


def test_a_group_for_latest_begins_once_whoever_reads_first(topic: Topic) -> None:
    topic.fill(3)
    first = topic.source(start="latest")
    poll(topic, first, at_least=0)
    topic.fill(2)
    first.close()

    second = topic.source(start="latest", instance="two")

    assert offsets(poll(topic, second, at_least=2)) == [3, 4]


def test_lag_counts_what_was_not_polled(topic: Topic) -> None:
    topic.fill(7)
    source = topic.source()
    found = poll(topic, source, at_least=1, max_records=3)

    assert source.lag({}) == 7 - len(found)


def test_lag_can_be_asked_before_the_first_record(topic: Topic, client: str) -> None:
    topic.fill(7)
    source: Any = topic.source()
    source.poll(max_records=1, timeout_seconds=0)
    joining = {
        "kafka-python": lambda: source._consumer._coordinator.poll(timeout_ms=200),
        "librdkafka": lambda: source._consumer.consume(1, 0.2),
    }

    until(lambda: topic.ownerships[source].joined, joining[client])

    # A position that is not known yet is not counted: asking for it could take as long as another's transaction.
    assert source.lag({}) in (0, 7)
    assert source.lag({(topic.name, 0): 3}) == 4
    assert offsets(poll(topic, source, at_least=7)) == list(range(7))


def test_no_lag_is_left_where_transactions_end(topic: Topic) -> None:
    producer = topic.producer(transactional_id=f"{topic.name}.upstream")
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.send(topic.name, b"x", partition=0)
        producer.flush()
        end()
    source = topic.source()

    assert len(poll(topic, source, at_least=1)) == 1
    until(lambda: source.lag({}) == 0, lambda: source.poll(max_records=1, timeout_seconds=0.1))


def test_a_rewind_reads_everything_again_and_nothing_twice(topic: Topic) -> None:
    topic.fill(300)
    topic.commit(20)
    source = topic.source()
    for count in (1, 250, 40, 7):
        # The client has more in store than was polled: none of that may come out after the rewind.
        poll(topic, source, at_least=count, max_records=count)
        source.rewind()

    assert offsets(poll(topic, source, at_least=280)) == list(range(20, 300))


def test_a_rewind_waits_for_a_transaction_that_may_move_the_offset(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(2)
    source = topic.source()
    poll(topic, source, at_least=8)
    producer = topic.producer(transactional_id=f"{topic.name}.other", retry_backoff_ms=5)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send_offsets_to_transaction({topic.partition: OffsetAndMetadata(6)}, ConsumerGroupMetadata(topic.name))
    with ExitStack() as commit:
        commit.callback(producer.commit_transaction)
        if topic._transport == "librdkafka":  # whose polls return nothing until it is known where to go on
            source.rewind()
            assert source.poll(max_records=100, timeout_seconds=0.5) == []
        else:
            with pytest.raises(BrokerUnreachableError, match="committed offsets"):
                source.rewind()
    until(lambda: is_rewound(source), lambda: None)

    assert offsets(poll(topic, source, at_least=4)) == [6, 7, 8, 9]


def is_rewound(source: GroupSource) -> bool:
    try:
        source.rewind()
    except BrokerUnreachableError:
        return False
    return True


def test_a_rewind_that_has_to_wait_gives_up_in_time_however_many_partitions_there_are(make: Make) -> None:
    topic = make(partitions=30)
    source = topic.source()
    poll(topic, source, at_least=0)
    producer = topic.producer(transactional_id=f"{topic.name}.other", retry_backoff_ms=5)
    producer.init_transactions()
    producer.begin_transaction()
    held = {TopicPartition(topic.name, number): OffsetAndMetadata(0) for number in range(30)}
    producer.send_offsets_to_transaction(held, ConsumerGroupMetadata(topic.name))

    # Once for all of them, and with librdkafka once more for as many as there is time for.
    deadline = Deadline(3 * METADATA_SECONDS)
    is_rewound(source)
    assert deadline.remaining_seconds() > 0
    producer.commit_transaction()
    until(lambda: is_rewound(source), lambda: None)


@pytest.mark.parametrize("client", ["kafka-python"], indirect=True)
def test_a_late_answer_to_an_earlier_question_sends_nobody_back(topic: Topic) -> None:
    topic.fill(5)
    topic.commit(3)
    source: Any = topic.source()
    poll(topic, source, at_least=2)
    late = Future().success({topic.partition: OffsetAndMetadata(1, "")})
    # As the client keeps it after a question that it had no time to wait for.
    source._consumer._coordinator._offset_fetch_futures[frozenset([topic.partition])] = late

    source.rewind()

    assert offsets(poll(topic, source, at_least=2)) == [3, 4]


@pytest.mark.parametrize("client", ["librdkafka"], indirect=True)  # kafka-python waits for all of them
def test_a_partition_that_waits_for_a_transaction_does_not_hold_up_the_others(make: Make) -> None:
    topic = make(partitions=2)
    producer = topic.producer(transactional_id=f"{topic.name}.other", retry_backoff_ms=5)
    producer.init_transactions()
    producer.begin_transaction()
    held = TopicPartition(topic.name, 1)
    producer.send_offsets_to_transaction({held: OffsetAndMetadata(1)}, ConsumerGroupMetadata(topic.name))
    plain = topic.producer()
    for partition in (0, 1, 1):
        plain.send(topic.name, b"x", partition=partition).get(timeout=10)
    source = topic.source()

    assert [r.partition for r in poll(topic, source, at_least=1)] == [0]
    producer.commit_transaction()
    assert [(r.partition, r.offset) for r in poll(topic, source, at_least=1)] == [(1, 1)]


def test_a_pause_fetches_nothing_and_loses_nothing(topic: Topic) -> None:
    topic.fill(60)
    source = topic.source()
    found = poll(topic, source, at_least=1, max_records=10)

    for _ in range(3):
        source.pause()
        assert source.poll(max_records=100, timeout_seconds=0.1) == []
        source.resume()
        found += poll(topic, source, at_least=1, max_records=10)

    found += poll(topic, source, at_least=60 - len(found))
    assert offsets(found) == list(range(60))


def test_a_pause_survives_what_a_rebalance_takes_and_brings(make: Make) -> None:
    topic = make(partitions=2)
    producer = topic.producer()
    for partition in (0, 1):
        for number in range(20):
            producer.send(topic.name, str(number).encode(), partition=partition)
    producer.flush()
    stays = topic.source(instance="stays")
    first = poll(topic, stays, at_least=1, max_records=1)
    goes = topic.source(instance="goes")
    elsewhere: list[Record] = []

    def turn() -> None:
        stays.pause()
        assert stays.poll(max_records=100, timeout_seconds=0.1) == []

    def turn_of_both() -> None:
        turn()
        elsewhere.extend(goes.poll(max_records=100, timeout_seconds=0.1))

    until(lambda: len(elsewhere) == 20, turn_of_both)
    [moved] = goes.assignment()
    assert len(stays.assignment()) == 1
    goes.leave()
    until(lambda: len(stays.assignment()) == 2, turn)

    stays.resume()
    # Nothing was committed: what came back begins again, and what was there goes on.
    kept = [record for record in first if record.home != moved]
    found = poll(topic, stays, at_least=40 - len(kept))
    assert sorted((r.home, r.offset) for r in kept + found) == [
        ((topic.name, partition), number) for partition in (0, 1) for number in range(20)
    ]


def test_a_missing_topic_is_named(topic: Topic) -> None:
    sink, feed = topic.sink(topic.source()), topic.feed()
    for ask in (sink.partitions, feed.require, lambda name: topic.source(input_topic=name)):
        with pytest.raises(TopicMissingError, match="no-such-topic"):
            ask("no-such-topic")


OUTAGE = """
import os
from worker.errors import BrokerUnreachableError
from worker.settings import Settings
from worker.transport.connections import Connections

connections = Connections(Settings(bootstrap_servers="127.0.0.1:{port}", transport="{client}"))
if "{client}" == "librdkafka":
    from worker.transport.librdkafka import client as module
else:
    from worker.transport.kafka_python import client as module
module.BOOTSTRAP_SECONDS = 0.3
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    try:
        connections.open_feed()
    except BrokerUnreachableError as error:
        print(error)
print("threads left:", len(os.listdir("/proc/self/task")) - before)
"""


def test_an_address_without_a_broker_is_named_and_an_outage_collects_no_threads(client: str) -> None:
    # In a process of its own: kafka-python leaves the sockets of refused connections to the garbage collector.
    [port] = choose_ports(1)
    code = OUTAGE.format(port=port, client=client)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *messages, threads = run.stdout.splitlines()
    assert len(messages) == 3
    assert all(f"127.0.0.1:{port}" in m and "LIMELIGHT_BOOTSTRAP_SERVERS" in m for m in messages)
    assert threads == "threads left: 0"


def test_every_codec_can_be_read(topic: Topic) -> None:
    for codec in CODECS:
        topic.producer(compression_type=codec).send(topic.name, codec.encode()).get(timeout=10)

    assert [r.value.decode() for r in poll(topic, topic.source(), at_least=len(CODECS)) if r.value] == CODECS


def test_every_codec_can_be_written(topic: Topic) -> None:
    for codec in CODECS:
        feed = topic.feed(properties=f"compression.type={codec}")
        feed.send(topic.name, codec.encode() * 100)
        feed.flush(timeout_seconds=10)

    assert [record.value.decode() for record in topic.read()] == [codec * 100 for codec in CODECS]


def test_a_feed_tells_what_was_not_confirmed(topic: Topic) -> None:
    feed = topic.feed()
    feed.send(topic.name, b"x" * 2_000_000)

    with pytest.raises(TransportError, match="not confirmed"):
        feed.flush(timeout_seconds=10)
    feed.flush(timeout_seconds=10)


def test_who_never_flushes_is_told_by_a_later_send(topic: Topic) -> None:
    feed = topic.feed()
    feed.send(topic.name, b"x" * 2_000_000)
    deadline = Deadline(30)

    def send_on() -> None:
        while deadline.remaining_seconds():
            feed.send(topic.name, b"small")

    with pytest.raises(TransportError, match="not confirmed"):
        send_on()


def test_a_feed_waits_for_missing_brokers_no_longer_than_it_may(topic: Topic) -> None:
    feed = topic.feed(block_seconds=0.05)
    deadline = Deadline(2)

    # Of a topic that nobody knows, kafka-python's client waits for the partitions.
    with suppress(TransportError):
        feed.send("nobody-knows-it", b"")

    assert deadline.remaining_seconds()


def test_a_key_has_one_partition_whichever_client_sends_it(make: Make) -> None:
    topic = make(partitions=7)
    keys = [str(number).encode() for number in range(40)]
    for client in CLIENTS:
        feed = topic.feed(transport=client)
        for key in keys:
            feed.send(topic.name, client.encode(), key=key)
        feed.flush(timeout_seconds=10)

    homes = {(record.key, record.partition) for record in topic.read()}
    assert len(homes) == len(keys)


def test_members_with_either_client_share_a_group(make: Make, client: str) -> None:
    """The first to come leads the group, so each client assigns the partitions once."""
    topic = make(partitions=4)
    [other] = set(CLIENTS) - {client}
    leader, follower = topic.source(instance="leader"), topic.source(instance="follower", transport=other)
    poll(topic, leader, at_least=0)

    shares: list[frozenset[Partition]] = []

    def turn() -> list[frozenset[Partition]]:
        for source in (leader, follower):
            source.poll(max_records=1, timeout_seconds=0.1)
        shares[:] = [leader.assignment(), follower.assignment()]
        return shares

    until(lambda: [len(share) for share in shares] == [2, 2], turn)
    assert len(shares[0] | shares[1]) == 4


def test_a_worker_comes_back_with_the_other_client_under_its_own_name(topic: Topic, client: str) -> None:
    topic.fill(10)
    [other] = set(CLIENTS) - {client}
    before = topic.source()
    poll(topic, before, at_least=10)
    old_sink = topic.sink(before)
    old_sink.deliver([], {(topic.name, 0): 4})

    after = topic.source(transport=other)
    assert offsets(poll(topic, after, at_least=6)) == [4, 5, 6, 7, 8, 9]
    topic.sink(after, transport=other).deliver([], {(topic.name, 0): 10})

    with pytest.raises(FencedError):
        old_sink.deliver([], {(topic.name, 0): 5})
    with pytest.raises(FencedError):
        poll(topic, before, at_least=1)

"""Feeding and reading back on a real broker: every record as it was meant, up to the very limit of the topic."""

import threading
import uuid
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource

from deploy.local.demo.background import Background
from deploy.local.demo.feeder import Feeder
from deploy.local.demo.malformed import KINDS, malformed_records
from deploy.local.demo.reading import Tail, read_back
from deploy.local.demo.records import Outgoing, Stored
from deploy.local.demo.topics import MAX_EVENT_BYTES, PARTITIONS, Topics
from worker.errors import TopicMissingError, TransportError

pytestmark = pytest.mark.kafka

WaitFor = Callable[[Callable[[], bool]], None]
FAST = 1e6


@pytest.fixture
def topics(broker: str) -> Iterator[Topics]:
    names = Topics.of_shared_broker()
    names.create(broker, endless=False)
    yield names
    names.delete(broker)


def feed(broker: str, topic: str, records: list[Outgoing]) -> None:
    feeder = Feeder(broker, topic, partitions=PARTITIONS, records=records, rate=FAST)
    feeder.run(threading.Event())
    assert feeder.sent == len(records)


def test_every_malformed_record_arrives_as_it_was_made(broker: str, topics: Topics) -> None:
    records = list(islice(malformed_records(seed=1, max_batch_bytes=MAX_EVENT_BYTES), len(KINDS)))
    feed(broker, topics.events, records)
    stored = {
        (record.key, record.value, tuple(map(tuple, record.headers))) for record in read_back(broker, topics.events)
    }
    assert stored == {(record.key, record.value, tuple(record.headers)) for record in records}


def test_the_largest_record_is_the_largest(broker: str, topics: Topics) -> None:
    records = malformed_records(seed=1, max_batch_bytes=MAX_EVENT_BYTES + 1)
    largest = next(record for record in records if record.value and len(record.value) > 1_000_000)
    with pytest.raises(TransportError, match="the broker did not take a record"):
        feed(broker, topics.events, [largest])


def test_a_key_keeps_its_partition_and_its_order_and_no_key_goes_round(broker: str, topics: Topics) -> None:
    keyed = [Outgoing(b"client-%d" % (number % 3), b"%d" % number, []) for number in range(60)]
    feed(broker, topics.events, keyed + [Outgoing(None, b"-", [])] * 40)
    stored = list(read_back(broker, topics.events))
    for client in (b"client-0", b"client-1", b"client-2"):
        own = [record for record in stored if record.key == client]
        assert len({record.partition for record in own}) == 1
        numbers = [int(record.value or b"") for record in own]
        assert numbers == sorted(numbers)
    keyless = [record.partition for record in stored if record.key is None]
    assert [keyless.count(number) for number in range(PARTITIONS)] == [10] * PARTITIONS


def test_a_rate_is_kept(broker: str, topics: Topics) -> None:
    feeder = Feeder(broker, topics.events, partitions=1, records=[Outgoing(None, b"-", [])] * 50, rate=100)
    feeder.run(threading.Event())
    times = [record.timestamp_ms for record in read_back(broker, topics.events)]
    # The last record is due 490 ms after the first; a busy machine can only be later.
    assert max(times) - min(times) >= 450


def test_feeding_ends_when_it_is_asked_to(broker: str, topics: Topics, wait_for: WaitFor) -> None:
    endless = iter(lambda: Outgoing(None, b"-", []), None)
    feeder = Feeder(broker, topics.events, partitions=1, records=endless, rate=100)
    with Background("feeding", feeder.run) as feeding:
        wait_for(lambda: feeder.sent >= 3 or feeding.is_done)
    assert feeding.is_done
    feeding.check()


def test_a_tail_hands_over_only_what_was_committed(broker: str, topics: Topics, wait_for: WaitFor) -> None:
    seen: list[Stored] = []
    handlers = {topics.predictions: lambda record, _: seen.append(record)}
    producer = KafkaProducer(bootstrap_servers=broker, transactional_id=str(uuid.uuid4()))
    producer.init_transactions()
    with Background("reading", Tail(broker, handlers, at_once=True).run) as reading:
        for value, end in [(b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)]:
            producer.begin_transaction()
            producer.send(topics.predictions, value, partition=0).get(timeout=10)
            end()
        wait_for(lambda: seen != [])
        reading.check()
    producer.close()
    assert [record.value for record in seen] == [b"committed"]
    assert [record.value for record in read_back(broker, topics.predictions)] == [b"committed"]


def test_a_missing_topic_is_named(broker: str, wait_for: WaitFor) -> None:
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        list(read_back(broker, "no-such-topic"))
    with Background("reading", Tail(broker, {"no-such-topic": print}, at_once=True).run) as reading:
        wait_for(lambda: reading.is_done)
    with pytest.raises(TopicMissingError, match="no-such-topic"):
        reading.check()


@pytest.mark.parametrize(("endless", "retention"), [(True, "67108864"), (False, "-1")])
def test_answers_may_be_larger_than_events_and_only_an_endless_stream_forgets(
    broker: str, endless: bool, retention: str
) -> None:
    topics = Topics.of_shared_broker()
    topics.create(broker, endless=endless)
    try:
        limits = {name: read_config(broker, name) for name in topics[:3]}
    finally:
        topics.delete(broker)
    assert int(limits[topics.dead_letters]["max.message.bytes"]) > int(limits[topics.events]["max.message.bytes"])
    assert {limit["retention.bytes"] for limit in limits.values()} == {retention}


def read_config(broker: str, topic: str) -> dict[str, str]:
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        found = admin.describe_configs([ConfigResource("topic", topic)])
    return {name: entry["value"] for name, entry in found["topic"][topic].items()}


def test_deleting_what_does_not_exist_is_no_error(broker: str) -> None:
    topics = Topics.of_shared_broker()
    topics.delete(broker)
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        assert set(topics).isdisjoint(admin.list_topics())

"""What is written: all of a record, in every codec, to the partition of its key; and what is told when it cannot be."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from transports.topic import CLIENTS, Topic

from worker.errors import (
    DeliveryError,
    TransportError,
)
from worker.ports import Output
from worker.transport.deadline import Deadline
from worker.transport.terms import MAX_REQUEST_BYTES

pytestmark = pytest.mark.kafka

Make = Callable[..., Topic]

CODECS = ["gzip", "snappy", "lz4", "zstd"]


def test_what_the_broker_refuses_aborts_its_transaction_and_no_other(topic: Topic) -> None:
    source = topic.source()
    topic.poll(source, at_least=0)
    sink = topic.sink(source)
    home = (topic.name, 0)

    with pytest.raises(DeliveryError):
        sink.deliver([topic.output(), topic.output(b"x" * 2_000_000)], {home: 7})
    sink.deliver([topic.output(b"after")], {home: 1})

    assert [record.value for record in topic.read()] == [b"after"]


def test_records_keep_what_they_are_made_of(topic: Topic) -> None:
    source = topic.source()
    topic.poll(source, at_least=0)
    made = [
        Output(topic.name, 0, b"key", b"value", [("h", b"1"), ("null", None), ("empty", b""), ("h", b"2")], 1_000),
        Output(topic.name, 0, None, None, [("only", None)], 2_000),
        Output(topic.name, 0, b"", b"", [], 3_000),
    ]

    topic.sink(source).deliver(made, {})

    records = topic.poll(source, at_least=len(made))
    assert [Output(r.topic, r.partition, r.key, r.value, r.headers, r.timestamp_ms) for r in records] == made


def test_every_codec_can_be_read(topic: Topic) -> None:
    for codec in CODECS:
        topic.producer(compression_type=codec).send(topic.name, codec.encode()).get(timeout=10)

    assert [r.value.decode() for r in topic.poll(topic.source(), at_least=len(CODECS)) if r.value] == CODECS


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


def test_a_record_that_the_client_itself_does_not_take_is_told_at_once(topic: Topic) -> None:
    feed = topic.feed()
    with pytest.raises(TransportError, match=topic.name):
        feed.send(topic.name, bytes(MAX_REQUEST_BYTES))
    feed.send(topic.name, b"small")
    feed.flush(timeout_seconds=10)

    assert [record.value for record in topic.read()] == [b"small"]


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

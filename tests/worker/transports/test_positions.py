"""Where a group begins, where it stands, and how far that is from the end."""

from contextlib import suppress
from typing import Any

import pytest
from kafka import KafkaAdminClient
from transports.topic import Topic, offsets, until

from worker.errors import BrokerUnreachableError, OffsetGapError
from worker.ports import Record

pytestmark = pytest.mark.kafka


def test_a_gap_stops_the_worker(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    with pytest.raises(OffsetGapError, match=f"{topic.name}-0 no longer holds offset 3"):
        topic.poll(topic.source(), at_least=1)


def test_a_gap_can_be_skipped_and_is_told(topic: Topic, caplog: pytest.LogCaptureFixture) -> None:
    topic.fill(10)
    topic.commit(3)
    topic.delete_until(5)

    assert offsets(topic.poll(topic.source(offset_gap="skip"), at_least=5)) == [5, 6, 7, 8, 9]
    told = [r.levelname for r in caplog.records if topic.name in r.getMessage() and "offset" in r.getMessage()]
    assert told == ["WARNING"]


@pytest.mark.parametrize("offset_gap", ["stop", "skip"])
def test_a_group_ahead_of_the_log_stops_in_any_case(topic: Topic, offset_gap: str) -> None:
    topic.fill(10)
    topic.commit(50)

    with pytest.raises(OffsetGapError, match=r"offset 50 .* behind the log's end 10"):
        topic.poll(topic.source(offset_gap=offset_gap), at_least=1)


def test_the_note_of_another_program_stops_nobody(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(5, note="note")
    source = topic.source()
    topic.poll(source, at_least=0)

    home = (topic.name, 0)
    for _ in range(20):
        [found] = source.committed([home]).values()
        # librdkafka's binding may read on behind the end of a note as short as this one.
        assert (found.offset, found.metadata[:4]) == (5, "note")


def test_latest_begins_behind_what_is_there(topic: Topic) -> None:
    topic.fill(3)
    source = topic.source(start="latest")
    topic.poll(source, at_least=0)
    assert source.lag({}) == 0

    topic.fill(2)
    assert offsets(topic.poll(source, at_least=2)) == [3, 4]
    source.rewind()
    assert offsets(topic.poll(source, at_least=2)) == [3, 4]


def test_a_partition_that_is_added_begins_at_its_first_record_also_for_latest(topic: Topic, client: str) -> None:
    topic.fill(3)
    name = "metadata.max.age.ms" if client == "kafka-python" else "topic.metadata.refresh.interval.ms"
    source = topic.source(start="latest", properties=f"{name}=500")
    topic.poll(source, at_least=0)
    with KafkaAdminClient(bootstrap_servers=topic._servers) as admin:
        admin.create_partitions({topic.name: 2})
    topic.fill(2, partition=1)

    found: list[Record] = []

    def poll() -> None:
        # A moment ago nobody had heard of the partition: who asks about it now may be told to ask again.
        with suppress(BrokerUnreachableError):
            found.extend(source.poll(max_records=100, timeout_seconds=0.2))

    until(lambda: len(found) >= 2, poll)
    assert [(record.partition, record.offset) for record in found] == [(1, 0), (1, 1)]


def test_a_group_for_latest_begins_once_whoever_reads_first(topic: Topic) -> None:
    topic.fill(3)
    first = topic.source(start="latest")
    topic.poll(first, at_least=0)
    topic.fill(2)
    first.close()

    second = topic.source(start="latest", instance="two")

    assert offsets(topic.poll(second, at_least=2)) == [3, 4]


def test_lag_counts_what_was_not_polled(topic: Topic) -> None:
    topic.fill(7)
    source = topic.source()
    found = topic.poll(source, at_least=1, max_records=3)

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
    assert offsets(topic.poll(source, at_least=7)) == list(range(7))


def test_no_lag_is_left_where_transactions_end(topic: Topic) -> None:
    producer = topic.producer(transactional_id=f"{topic.name}.upstream")
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.send(topic.name, b"x", partition=0)
        producer.flush()
        end()
    source = topic.source()

    assert len(topic.poll(source, at_least=1)) == 1
    until(lambda: source.lag({}) == 0, lambda: source.poll(max_records=1, timeout_seconds=0.1))

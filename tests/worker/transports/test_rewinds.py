"""Going back to what was committed, also while another's transaction may move it."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.future import Future
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata
from transports.topic import Topic, offsets, until

from worker.errors import (
    BrokerUnreachableError,
)
from worker.transport.connections import GroupSource
from worker.transport.deadline import Deadline
from worker.transport.terms import METADATA_SECONDS

pytestmark = pytest.mark.kafka

Make = Callable[..., Topic]


def test_a_rewind_reads_everything_again_and_nothing_twice(topic: Topic) -> None:
    topic.fill(300)
    topic.commit(20)
    source = topic.source()
    for count in (1, 250, 40, 7):
        # The client has more in store than was polled: none of that may come out after the rewind.
        topic.poll(source, at_least=count, max_records=count)
        source.rewind()

    assert offsets(topic.poll(source, at_least=280)) == list(range(20, 300))


def test_a_rewind_waits_for_a_transaction_that_may_move_the_offset(topic: Topic) -> None:
    topic.fill(10)
    topic.commit(2)
    source = topic.source()
    topic.poll(source, at_least=8)
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

    assert offsets(topic.poll(source, at_least=4)) == [6, 7, 8, 9]


def is_rewound(source: GroupSource) -> bool:
    try:
        source.rewind()
    except BrokerUnreachableError:
        return False
    return True


def test_a_rewind_that_has_to_wait_gives_up_in_time_however_many_partitions_there_are(make: Make) -> None:
    topic = make(partitions=30)
    source = topic.source()
    topic.poll(source, at_least=0)
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
    topic.poll(source, at_least=2)
    late = Future().success({topic.partition: OffsetAndMetadata(1, "")})
    # As the client keeps it after a question that it had no time to wait for.
    source._consumer._coordinator._offset_fetch_futures[frozenset([topic.partition])] = late

    source.rewind()

    assert offsets(topic.poll(source, at_least=2)) == [3, 4]


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

    assert [r.partition for r in topic.poll(source, at_least=1)] == [0]
    producer.commit_transaction()
    assert [(r.partition, r.offset) for r in topic.poll(source, at_least=1)] == [(1, 1)]

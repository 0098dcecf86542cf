"""A pause keeps the membership, and loses nothing."""

from collections.abc import Callable

import pytest
from transports.topic import Topic, offsets, until

from worker.ports import Record

pytestmark = pytest.mark.kafka

Make = Callable[..., Topic]


def test_a_pause_fetches_nothing_and_loses_nothing(topic: Topic) -> None:
    topic.fill(60)
    source = topic.source()
    found = topic.poll(source, at_least=1, max_records=10)

    for _ in range(3):
        source.pause()
        assert source.poll(max_records=100, timeout_seconds=0.1) == []
        source.resume()
        found += topic.poll(source, at_least=1, max_records=10)

    found += topic.poll(source, at_least=60 - len(found))
    assert offsets(found) == list(range(60))


def test_a_pause_survives_what_a_rebalance_takes_and_brings(make: Make) -> None:
    topic = make(partitions=2)
    producer = topic.producer()
    for partition in (0, 1):
        for number in range(20):
            producer.send(topic.name, str(number).encode(), partition=partition)
    producer.flush()
    stays = topic.source(instance="stays")
    first = topic.poll(stays, at_least=1, max_records=1)
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
    found = topic.poll(stays, at_least=40 - len(kept))
    assert sorted((r.home, r.offset) for r in kept + found) == [
        ((topic.name, partition), number) for partition in (0, 1) for number in range(20)
    ]

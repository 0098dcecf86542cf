"""Who gives partitions back in good order takes its notes back, with each client."""

from typing import Any

import pytest

from worker.ports import Committed, Record
from worker.stream.attempts import Attempts
from worker.transport.deadline import Deadline

RECORDS = 3


def test_who_leaves_before_anything_was_sent_takes_its_note_back(group: Any) -> None:
    group.fill(RECORDS)
    member, home = group.join(), (group.topic, 0)
    attempts = Attempts(member.source, reach_records=RECORDS)
    attempts.note(member.poll(at_least=RECORDS))
    assert member.source.committed([home]) == {home: Committed(0, "attempts=1;")}

    member.source.close()

    after = group.join()
    assert [record.offset for record in after.poll(at_least=RECORDS)] == list(range(RECORDS))
    assert after.source.committed([home]) == {home: Committed(0, "")}


def test_who_has_sent_something_leaves_what_is_committed_alone(group: Any) -> None:
    group.fill(RECORDS)
    member, home = group.join(), (group.topic, 0)
    attempts = Attempts(member.source, reach_records=RECORDS)
    attempts.note(member.poll(at_least=RECORDS))
    attempts.sending([home])
    member.open_sink().deliver([], {home: 2})

    member.source.close()

    after = group.join()
    assert [record.offset for record in after.poll(at_least=1)] == [2]


@pytest.mark.kafka
def test_a_note_goes_with_the_partition_that_moves(kafka_group: Any) -> None:
    for partition in (0, 1):
        kafka_group.fill(RECORDS, partition=partition)
    first = kafka_group.join(instance="first")
    attempts = Attempts(first.source, reach_records=RECORDS)
    attempts.note(first.poll(at_least=2 * RECORDS))
    second = kafka_group.join(instance="second")

    read: list[Record] = []
    deadline = Deadline(30)
    while len(read) < RECORDS:
        assert deadline.remaining_seconds() > 0, "no partition moved"
        first.source.poll(max_records=10, timeout_seconds=0.1)
        read += second.source.poll(max_records=10, timeout_seconds=0.1)

    [moved] = {record.home for record in read}
    [kept] = first.source.assignment()
    assert second.source.committed([moved]) == {moved: Committed(0, "")}
    assert first.source.committed([kept]) == {kept: Committed(0, "attempts=1;")}

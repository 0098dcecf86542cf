"""A group whose offsets were deleted, expired or reset while it was empty: where its next member begins.

Offsets that expire are deleted by the same marks in the brokers' log as those that somebody deletes.
"""

from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from worker.ports import Committed

pytestmark = pytest.mark.kafka

READ, MISSED = 4, 3
"""Records that the group answered, and those that came while it was empty."""


@pytest.fixture
def emptied(kafka_group: Any) -> Any:
    """A group that has answered some records, and has no member left."""
    kafka_group.fill(READ)
    member = kafka_group.join()
    member.poll(at_least=READ)
    member.source.commit({(kafka_group.topic, 0): Committed(READ, "")})
    member.source.leave()
    kafka_group.fill(MISSED)
    return kafka_group


def begin_again(group: Any, start: str, *, at_least: int) -> list[int]:
    """What the next member reads: what stands there, and one record that comes when it has joined."""
    member = group.join(start=start)
    found = member.poll()
    group.fill(1)
    return [record.offset for record in found + member.poll(at_least=at_least - len(found))]


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", READ + MISSED)])
def test_a_group_that_was_deleted_begins_as_a_new_one(emptied: Any, start: str, first: int) -> None:
    with KafkaAdminClient(bootstrap_servers=emptied.servers) as admin:
        admin.delete_groups([emptied.name])

    expected = list(range(first, READ + MISSED + 1))

    assert begin_again(emptied, start, at_least=len(expected)) == expected


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", READ + MISSED)])
def test_offsets_that_were_deleted_are_those_of_a_new_group(emptied: Any, start: str, first: int) -> None:
    partitions = [TopicPartition(emptied.topic, number) for number in range(2)]
    with KafkaAdminClient(bootstrap_servers=emptied.servers) as admin:
        admin.delete_group_offsets(emptied.name, partitions)

    expected = list(range(first, READ + MISSED + 1))

    assert begin_again(emptied, start, at_least=len(expected)) == expected


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_offsets_that_were_reset_are_where_the_group_goes_on(emptied: Any, start: str) -> None:
    reset = {TopicPartition(emptied.topic, 0): OffsetAndMetadata(2, "")}
    with KafkaAdminClient(bootstrap_servers=emptied.servers) as admin:
        admin.alter_group_offsets(emptied.name, reset)

    expected = list(range(2, READ + MISSED + 1))

    assert begin_again(emptied, start, at_least=len(expected)) == expected


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_nobody_resets_a_group_that_has_members(kafka_group: Any, start: str) -> None:
    kafka_group.fill(READ)
    member = kafka_group.join(start=start)
    member.poll(at_least=0)
    member.source.commit({(kafka_group.topic, 0): Committed(1, "")})

    partition = TopicPartition(kafka_group.topic, 0)
    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        deleted = admin.delete_group_offsets(kafka_group.name, [partition])
        altered = admin.alter_group_offsets(kafka_group.name, {partition: OffsetAndMetadata(0, "")})

    assert NoError not in (deleted[partition], altered[partition])
    assert member.source.committed([(kafka_group.topic, 0)]) == {(kafka_group.topic, 0): Committed(1, "")}

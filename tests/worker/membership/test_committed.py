"""Committed offsets and the note that they carry.

The fixture `group` marks what runs with it: pytest.mark.fast in memory, pytest.mark.kafka with a client.
"""

from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Committed


def test_a_commit_keeps_its_note_and_other_partitions_are_left_out(group: Any) -> None:
    member = group.join()
    member.poll()
    first, second = (group.topic, 0), (group.topic, 1)
    assert member.source.committed([first, second]) == {}

    member.source.commit({first: Committed(0, "attempts=1")})

    assert member.source.committed([first, second]) == {first: Committed(0, "attempts=1")}
    assert member.source.committed([]) == {}


def test_a_delivery_empties_the_note(group: Any) -> None:
    group.fill(5)
    member, home = group.join(), (group.topic, 0)
    member.poll(at_least=5)
    member.source.commit({home: Committed(2, "attempts=2")})

    member.open_sink().deliver([], {home: 2})

    assert member.source.committed([home]) == {home: Committed(2, "")}


def test_a_successor_sees_the_note_and_begins_where_it_stands(group: Any) -> None:
    group.fill(5)
    before, home = group.join(), (group.topic, 0)
    before.poll(at_least=5)
    before.source.commit({home: Committed(3, "attempts=1")})
    before.source.close()

    after = group.join()

    assert [record.offset for record in after.poll(at_least=2)] == [3, 4]
    assert after.source.committed([home]) == {home: Committed(3, "attempts=1")}


@pytest.mark.kafka
def test_what_an_open_transaction_may_change_cannot_be_read(kafka_group: Any) -> None:
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll()
    producer = KafkaProducer(bootstrap_servers=kafka_group.servers, transactional_id=f"{kafka_group.name}.other")
    producer.init_transactions()
    producer.begin_transaction()
    offsets = {TopicPartition(*home): OffsetAndMetadata(1)}
    producer.send_offsets_to_transaction(offsets, ConsumerGroupMetadata(kafka_group.name))

    with pytest.raises(BrokerUnreachableError):
        member.source.committed([home])

    producer.commit_transaction()
    producer.close()
    assert member.source.committed([home]) == {home: Committed(1, "")}


@pytest.mark.kafka
def test_the_commit_of_a_removed_member_is_refused_and_succeeds_once_it_is_back(kafka_group: Any) -> None:
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll()
    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        admin.remove_group_members(kafka_group.name, [MemberToRemove(group_instance_id="one")])

    with pytest.raises(DeliveryError):
        member.source.commit({home: Committed(1, "")})

    kafka_group.fill(1)
    member.poll(at_least=1)
    member.source.commit({home: Committed(1, "back")})
    assert member.source.committed([home]) == {home: Committed(1, "back")}


@pytest.mark.kafka
def test_the_commit_of_a_replaced_member_tells_that_it_is_fenced(kafka_group: Any) -> None:
    first, home = kafka_group.join(), (kafka_group.topic, 0)
    first.poll()
    kafka_group.join().poll()

    with pytest.raises(FencedError, match="group instance 'one'"):
        first.source.commit({home: Committed(1, "")})

"""What a worker is to its group, whichever client it uses."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Record
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka


def turn_until(done: Callable[[], object], *members: Any) -> None:
    deadline = Deadline(30)
    while not done():
        assert deadline.remaining_seconds() > 0, "it did not come to that"
        for member in members:
            member.source.poll(max_records=1, timeout_seconds=0.1)


def test_members_are_static_and_move_partitions_cooperatively(kafka_group: Any) -> None:
    kafka_group.join(instance="one").poll()

    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        described = admin.describe_groups([kafka_group.name])[kafka_group.name]

    assert described["protocol_data"] == "cooperative-sticky"
    assert [member["group_instance_id"] for member in described["members"]] == ["one"]


def test_a_restart_in_time_moves_no_partition(kafka_group: Any) -> None:
    stays, restarts = kafka_group.join(instance="stays"), kafka_group.join(instance="restarts")
    turn_until(lambda: stays.source.assignment() and restarts.source.assignment(), stays, restarts)
    share, kept = restarts.source.assignment(), stays.source.assignment()
    moved: list[Any] = []
    stays.ownership.withdraw = stays.ownership.grant = moved.append

    restarts.source.close()
    again = kafka_group.join(instance="restarts")
    turn_until(lambda: again.ownership.joined, stays, again)

    assert (again.source.assignment(), stays.source.assignment()) == (share, kept)
    assert not any(moved)


def test_what_a_member_read_before_the_group_gave_it_up_is_stale(kafka_group: Any) -> None:
    """Others may have had its partitions in between, even where it gets the same ones back."""
    kafka_group.fill(3)
    member = kafka_group.join()
    assert len(member.poll(at_least=3)) == 3
    homes = [(kafka_group.topic, number) for number in (0, 1)]
    epochs, sink = member.ownership.epochs(homes), member.open_sink()
    withdrawn: list[Any] = []
    member.ownership.withdraw = withdrawn.append
    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        admin.remove_group_members(kafka_group.name, [MemberToRemove(group_instance_id="one")])

    with pytest.raises(DeliveryError):
        sink.deliver([], {homes[0]: 3})
    read: list[Record] = []

    def turn() -> None:
        """As the pipeline does it."""
        try:
            read.extend(member.source.poll(max_records=10, timeout_seconds=0.1))
        except BrokerUnreachableError:
            member.ownership.suspend()
            member.source.rewind()
            member.ownership.resume()

    deadline = Deadline(30)
    while len(read) < 3:
        assert deadline.remaining_seconds() > 0, "it did not read again"
        turn()
    assert [record.offset for record in read] == [0, 1, 2]
    assert not member.ownership.is_current(epochs)
    assert withdrawn == []
    sink.deliver([], {homes[0]: 3})


def test_who_lost_its_partitions_does_not_return_while_a_commit_of_old_may_still_go_out(
    broker: str, kafka_group_type: Callable[..., Any]
) -> None:
    """It would go out as a commit of the new member, and set the group back."""
    with closing(kafka_group_type(broker, "librdkafka")) as group:
        group.fill(3)
        member = group.join()
        member.poll(at_least=3)
        commits, rebalances = member.source._commits, member.source._rebalances
        # As if the coordinator were away.
        commits.unanswered += 1
        with KafkaAdminClient(bootstrap_servers=broker) as admin:
            admin.remove_group_members(group.name, [MemberToRemove(group_instance_id="one")])

        turn_until(lambda: not member.source.assignment(), member)
        assert rebalances._is_away
        with pytest.raises(DeliveryError):
            member.open_sink().deliver([], {(group.topic, 0): 3})

        commits.unanswered -= 1
        assert [record.offset for record in member.poll(at_least=3)] == [0, 1, 2]


def test_a_delivery_survives_a_rebalance_that_its_thread_has_not_heard_of(
    broker: str, kafka_group_type: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that polls notes as whom the group knows us; a moment later that may be out of date."""
    with closing(kafka_group_type(broker, "librdkafka")) as group:
        first = group.join(instance="first")
        first.poll()
        noted = first.source._rebalances._noted
        second = group.join(instance="second")
        turn_until(second.source.assignment, first, second)
        [home] = first.source.assignment()
        sink = first.open_sink()

        first.source._rebalances._noted = noted
        sink.deliver([], {home: 1})

        assert "ILLEGAL_GENERATION" in caplog.text
        assert second.source.committed([home])[home].offset == 1

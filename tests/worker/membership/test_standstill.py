"""A process that stood still, as a suspended one does, drives nobody out when it goes on."""

from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError, GroupIdNotFoundError, KafkaError

from worker.errors import BrokerUnreachableError, FencedError
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import membership

pytestmark = pytest.mark.kafka


def stand_still(member: Any) -> None:
    """As if the last poll were long ago."""
    member.source.membership._attended_seconds -= membership.STANDSTILL_SECONDS + 1


def lose_producer(sink: Any) -> None:
    """As after a transaction that failed."""
    sink._end()


def poll_until_fenced(member: Any) -> None:
    deadline = Deadline(30)
    while deadline.remaining_seconds():
        member.source.poll(max_records=1, timeout_seconds=0.1)


def test_who_was_replaced_builds_no_producer_and_learns_of_it(
    kafka_group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "NEWS_SECONDS", 1)
    kafka_group.fill(1)
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll(at_least=1)
    sink = member.open_sink()
    successor = kafka_group.join()
    successor.poll(at_least=1)
    its_sink = successor.open_sink()

    stand_still(member)
    lose_producer(sink)
    with pytest.raises(BrokerUnreachableError, match="stood still"):
        sink.deliver([], {home: 1})

    its_sink.deliver([], {home: 1})
    with pytest.raises(FencedError):
        poll_until_fenced(member)


def test_who_was_not_replaced_goes_on(kafka_group: Any) -> None:
    kafka_group.fill(1)
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll(at_least=1)
    sink = member.open_sink()

    stand_still(member)
    lose_producer(sink)
    sink.deliver([], {home: 1})

    assert member.source.committed([home])[home].offset == 1


def test_who_was_given_up_goes_on_when_it_has_joined_again(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll()
    sink = member.open_sink()
    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        admin.remove_group_members(kafka_group.name, [MemberToRemove(group_instance_id="one")])

    stand_still(member)
    lose_producer(sink)
    with monkeypatch.context() as patched:
        patched.setattr(membership, "NEWS_SECONDS", 1)
        with pytest.raises(BrokerUnreachableError, match="stood still"):
            sink.settle()
    deadline, before = Deadline(30), member.source.membership.member_id
    while member.source.membership.member_id in ("", before):
        assert deadline.remaining_seconds() > 0, "it does not join again"
        try:
            member.source.poll(max_records=1, timeout_seconds=0.1)
        except BrokerUnreachableError:
            member.source.rewind()
    sink.deliver([], {home: 1})

    assert member.source.committed([home])[home].offset == 1


def test_who_polls_all_the_time_asks_nobody(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll()
    sink = member.open_sink()
    monkeypatch.setattr(member.source.membership, "_ask_for_holder", lambda _: pytest.fail("asked"))
    # On a slow machine, to open the sink may have taken that long.
    member.source.membership.attend()
    member.source.membership._must_ask = False

    lose_producer(sink)
    sink.deliver([], {home: 1})


class Admin:
    """Says of a group what a client makes of an answer."""

    def __init__(self, error: str | None) -> None:
        self._error = error

    def describe_groups(self, groups: list[str]) -> dict[str, Any]:
        return {group: {"error": self._error, "members": []} for group in groups}


def test_a_group_that_cannot_be_described_is_not_taken_for_an_empty_one(kafka_group: Any) -> None:
    known = kafka_group.join().source.membership

    assert known._describe(Admin(None)) is None
    assert known._describe(Admin(str(GroupIdNotFoundError("there is none")))) is None
    for error in (CoordinatorNotAvailableError(), GroupAuthorizationFailedError("not ours")):
        with pytest.raises(KafkaError, match=str(error.errno)):
            known._describe(Admin(str(error)))

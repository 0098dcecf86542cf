"""Who belongs to a group, and who is fenced; the last tests change the client of a running group."""

from collections.abc import Callable

import pytest
from transports.topic import CLIENTS, Topic, offsets, until

from worker.errors import (
    FencedError,
    SettingsError,
)
from worker.ports import Partition

pytestmark = pytest.mark.kafka

Make = Callable[..., Topic]


def test_the_later_of_two_producers_fences_the_first(topic: Topic) -> None:
    source = topic.source()
    topic.poll(source, at_least=0)
    first, second = topic.sink(source), topic.sink(source)

    second.deliver([topic.output()], {})
    with pytest.raises(FencedError, match="LIMELIGHT_INSTANCE_ID"):
        first.deliver([topic.output()], {})


def test_the_later_of_two_members_fences_the_first(topic: Topic) -> None:
    first = topic.source()
    topic.poll(first, at_least=0)
    topic.poll(topic.source(), at_least=0)

    with pytest.raises(FencedError, match="group instance 'one'"):
        topic.poll(first, at_least=1)


def test_a_session_timeout_that_the_brokers_do_not_take_is_named_with_what_they_take(topic: Topic) -> None:
    source = topic.source(session_timeout_seconds=2)

    with pytest.raises(SettingsError, match=r"session timeout of 2 s\. Set LIMELIGHT_SESSION_TIMEOUT_SECONDS between"):
        topic.poll(source, at_least=0)


def test_a_member_without_a_partition_has_joined(topic: Topic) -> None:
    owner = topic.source(instance="owner")
    topic.poll(owner, at_least=0)
    idle = topic.source(instance="idle")

    until(
        lambda: topic.ownerships[idle].joined,
        lambda: [source.poll(max_records=1, timeout_seconds=0.1) for source in (owner, idle)],
    )

    assert len(owner.assignment()) + len(idle.assignment()) == 1


def test_members_with_either_client_share_a_group(make: Make, client: str) -> None:
    """The first to come leads the group, so each client assigns the partitions once."""
    topic = make(partitions=4)
    [other] = set(CLIENTS) - {client}
    leader = topic.source(instance="leader")
    topic.poll(leader, at_least=0)
    # Now, for librdkafka joins unasked: had it come first, the leader would wait for it, which nobody polls.
    follower = topic.source(instance="follower", transport=other)

    shares: list[frozenset[Partition]] = []

    def turn() -> list[frozenset[Partition]]:
        for source in (leader, follower):
            source.poll(max_records=1, timeout_seconds=0.1)
        shares[:] = [leader.assignment(), follower.assignment()]
        return shares

    until(lambda: [len(share) for share in shares] == [2, 2], turn)
    assert len(shares[0] | shares[1]) == 4


def test_a_worker_comes_back_with_the_other_client_under_its_own_name(topic: Topic, client: str) -> None:
    topic.fill(10)
    [other] = set(CLIENTS) - {client}
    before = topic.source()
    topic.poll(before, at_least=10)
    old_sink = topic.sink(before)
    old_sink.deliver([], {(topic.name, 0): 4})

    after = topic.source(transport=other)
    assert offsets(topic.poll(after, at_least=6)) == [4, 5, 6, 7, 8, 9]
    topic.sink(after, transport=other).deliver([], {(topic.name, 0): 10})

    with pytest.raises(FencedError):
        old_sink.deliver([], {(topic.name, 0): 5})
    with pytest.raises(FencedError):
        topic.poll(before, at_least=1)

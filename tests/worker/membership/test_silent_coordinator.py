"""Commits while the group's coordinator is there and says nothing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from deploy.local.kafka.cluster import Cluster
from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

COMMIT_SECONDS = 0.5
SESSION_SECONDS = 6
"""The least that a broker allows."""


class FrozenGroup:
    """A group on a broker that can be suspended: not the one that other tests share."""

    def __init__(self, cluster: Cluster, group: Any) -> None:
        self.group = group
        [node] = cluster.nodes
        assert node.pid
        self._pid = node.pid

    @contextmanager
    def frozen(self) -> Iterator[None]:
        os.kill(self._pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.start() as started:
        yield started


@pytest.fixture(params=["kafka-python", "librdkafka"])
def place(
    request: pytest.FixtureRequest, cluster: Cluster, kafka_group_type: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FrozenGroup]:
    module = {"kafka-python": "kafka_python.source", "librdkafka": "librdkafka.commits"}[request.param]
    monkeypatch.setattr(f"worker.transport.{module}.COMMIT_SECONDS", COMMIT_SECONDS)
    with closing(kafka_group_type(cluster.bootstrap_servers, request.param)) as group:
        yield FrozenGroup(cluster, group)


def is_rewound(source: Any) -> bool:
    """As the pipeline does it: who does not poll is cast out of the group."""
    try:
        source.rewind()
    except BrokerUnreachableError:
        with suppress(BrokerUnreachableError):
            source.pause()
            source.poll(max_records=1, timeout_seconds=0)
        return False
    source.resume()
    return True


def is_about_to_join(source: Any) -> bool:
    """Of librdkafka's members nobody knows, and they lose their place in any case."""
    return not hasattr(source, "_lookup") and source._consumer._coordinator.need_rejoin()


def poll_until(done: Callable[[], bool], members: Sequence[Any]) -> None:
    deadline = Deadline(60)
    while not done():
        assert deadline.remaining_seconds() > 0, "it did not come to that"
        for member in members:
            with suppress(BrokerUnreachableError):
                member.source.poll(max_records=1, timeout_seconds=0.1)


def test_a_commit_without_an_answer_fails_in_time_and_nothing_goes_on_before_it_is_settled(place: FrozenGroup) -> None:
    place.group.fill(3)
    member, home = place.group.join(), (place.group.topic, 0)
    member.poll(at_least=3)

    with place.frozen(), pytest.raises(DeliveryError, match="did not answer"):
        member.source.commit({home: Committed(2, "late")})

    deadline = Deadline(30)
    while not is_rewound(member.source):
        assert deadline.remaining_seconds() > 0, "the group is never settled"
    # What the late commit did, it had done when the rewind succeeded.
    read = member.poll(at_least=1)
    committed = member.source.committed([home])
    assert [record.offset for record in read] == ([2] if committed else [0, 1, 2])
    member.source.commit({home: Committed(3, "next")})
    assert member.source.committed([home]) == {home: Committed(3, "next")}


@pytest.mark.parametrize("owners", [0, 2])
def test_who_has_not_heard_from_its_group_for_a_session_is_not_joined_until_it_hears_again(
    place: FrozenGroup, owners: int
) -> None:
    """Also who owns nothing, which no client tells that it was lost."""
    members = []
    for number in range(owners + 1):
        members.append(place.group.join(instance=f"member-{number}", session_timeout_seconds=SESSION_SECONDS))
        poll_until(lambda: all(each.ownership.joined for each in members), members)
    poll_until(lambda: sum(bool(each.source.assignment()) for each in members) == min(len(members), 2), members)
    [last] = [each for each in members if not each.source.assignment()] or members
    # Who is about to join anew waits for the others, and calls no silence an end.
    poll_until(lambda: not is_about_to_join(last.source), members)

    with place.frozen():
        poll_until(lambda: not last.ownership.joined, [last])

    poll_until(lambda: last.ownership.joined, members)


def test_a_close_does_not_wait_for_an_answer_that_does_not_come(place: FrozenGroup) -> None:
    member, home = place.group.join(), (place.group.topic, 0)
    member.poll()
    with place.frozen():
        with pytest.raises(DeliveryError):
            member.source.commit({home: Committed(2, "late")})
        deadline = Deadline(10)
        member.source.close()
        assert deadline.remaining_seconds() > 0
    # librdkafka's goes on alone.
    for thread in threading.enumerate():
        if thread.name == "close":
            thread.join(30)
            assert not thread.is_alive()

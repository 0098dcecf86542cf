"""librdkafka sends a commit that waited for the coordinator also when the group has given its member up meanwhile."""

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from deploy.local.kafka.cluster import Cluster
from worker.errors import BrokerUnreachableError
from worker.ports import Committed
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

SESSION_SECONDS = 12
"""Long enough for a broker that comes back to be asked while it still knows the member."""
LATE = 1


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A broker that can be killed: not the one that other tests share."""
    with Cluster.start() as started:
        yield started


def test_who_is_refused_for_a_late_commit_of_its_own_joins_again(cluster: Cluster, kafka_group_type: Any) -> None:
    [node] = cluster.nodes
    with closing(kafka_group_type(cluster.bootstrap_servers, "librdkafka")) as group:
        group.fill(3)
        member, home = group.join(session_timeout_seconds=SESSION_SECONDS), (group.topic, 0)
        member.poll(at_least=3)
        source, deadline = member.source, Deadline(120)

        def poll() -> list[int]:
            assert deadline.remaining_seconds() > 0, "it did not come to that"
            with suppress(BrokerUnreachableError):
                return [record.offset for record in source.poll(max_records=10, timeout_seconds=0.1)]
            return []

        def poll_with_a_commit_on_its_way() -> None:
            if not source._commits.unanswered:
                source._commits.send(source._consumer, {home: Committed(LATE, "late")})
            poll()

        node.kill()
        while member.ownership.joined:
            poll_with_a_commit_on_its_way()
        # Its session has ended here. There it begins anew with the broker, which still knows the member.
        node.start()
        while not source._is_called_fenced:
            poll_with_a_commit_on_its_way()
        read: list[int] = []
        while not member.ownership.joined or len(read) < 3:
            read += poll()
        assert read == [0, 1, 2]
        source.commit({home: Committed(3, "next")})
        assert source.committed([home]) == {home: Committed(3, "next")}

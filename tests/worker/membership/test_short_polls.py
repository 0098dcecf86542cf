"""What kafka-python forgets between two polls, and the source does not."""

from contextlib import closing

import pytest
from kafka import KafkaAdminClient

from tests.worker.membership.conftest import KafkaGroup, until

pytestmark = pytest.mark.kafka

PARTITIONS = range(3, 8)


def test_what_the_group_answers_between_two_polls_is_taken(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that joins because a topic grew does not ask for the answer again once it has dealt the partitions."""
    monkeypatch.setattr("worker.transport.kafka_python.source.JOIN_SECONDS", 0)
    with closing(KafkaGroup(broker, "kafka-python")) as group:
        member = group.join()
        member.poll()
        for partitions in PARTITIONS:
            with KafkaAdminClient(bootstrap_servers=broker) as admin:
                admin.create_partitions({group.topic: partitions})
            member.source._consumer._client.cluster.request_update()
            until(
                lambda count=partitions: len(member.source.assignment()) == count,
                lambda: member.source.poll(max_records=1, timeout_seconds=0.002),
            )

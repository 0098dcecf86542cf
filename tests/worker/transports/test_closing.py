"""A librdkafka member that closes before it was told of its partitions.

The close tells it, and then takes all away. With the answer to the first the library ends its group, and in most cases
never answers what the binding asks about the second, with the interpreter's lock held.
"""

import subprocess
import sys

import pytest
from kafka import KafkaAdminClient
from kafka.errors import CoordinatorNotAvailableError
from transports.topic import until

from deploy.local.kafka.topics import create_topics

pytestmark = pytest.mark.kafka

GROUPS = [f"not-told-{number}" for number in range(16)]
"""So many, for a close sometimes succeeds."""

MEMBERS = """
import sys
from worker.settings import Settings
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections

servers, *groups = sys.argv[1:]
common = {"bootstrap_servers": servers, "transport": "librdkafka", "input_topic": "not-told"}
sources = [
    Connections(Settings(group_id=group, **common)).open_source(instance="one", ownership=Ownership())
    for group in groups
]
sys.stdin.readline()
for source in sources:
    source.close()
print("closed")
"""


def has_assigned(admin: KafkaAdminClient, group: str) -> bool:
    try:
        return bool(admin.describe_groups([group])[group]["group_state"] == "Stable")
    except CoordinatorNotAvailableError:  # the broker's first group
        return False


def test_members_close_that_were_not_yet_told_of_their_partitions(broker: str) -> None:
    """In a process of their own: one that does not close keeps every thread of its process from going on."""
    create_topics(broker, {"not-told": 2})
    command = [sys.executable, "-c", MEMBERS, broker, *GROUPS]
    with (
        KafkaAdminClient(bootstrap_servers=broker) as admin,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            until(lambda: all(has_assigned(admin, group) for group in GROUPS), process.poll)
            printed, _ = process.communicate("\n", timeout=20)
        finally:
            process.kill()

    assert printed == "closed\n"

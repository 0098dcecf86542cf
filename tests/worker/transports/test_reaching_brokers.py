"""Topics that are missing, and brokers that are away."""

import subprocess
import sys

import pytest
from transports.topic import Topic

from deploy.local.kafka.ports import choose_ports
from worker.errors import (
    TopicMissingError,
)

pytestmark = pytest.mark.kafka


def test_a_missing_topic_is_named(topic: Topic) -> None:
    sink, feed = topic.sink(topic.source()), topic.feed()
    for ask in (sink.partitions, feed.require, lambda name: topic.source(input_topic=name)):
        with pytest.raises(TopicMissingError, match="no-such-topic"):
            ask("no-such-topic")


OUTAGE = """
import os
from worker.errors import BrokerUnreachableError
from worker.settings import Settings
from worker.transport.connections import Connections

connections = Connections(Settings(bootstrap_servers="127.0.0.1:{port}", transport="{client}"))
if "{client}" == "librdkafka":
    from worker.transport.librdkafka import client as module
else:
    from worker.transport.kafka_python import client as module
module.BOOTSTRAP_SECONDS = 0.3
before = len(os.listdir("/proc/self/task"))
for _ in range(3):
    try:
        connections.open_feed()
    except BrokerUnreachableError as error:
        print(error)
print("threads left:", len(os.listdir("/proc/self/task")) - before)
"""


def test_an_address_without_a_broker_is_named_and_an_outage_collects_no_threads(client: str) -> None:
    # In a process of its own: kafka-python leaves the sockets of refused connections to the garbage collector.
    [port] = choose_ports(1)
    code = OUTAGE.format(port=port, client=client)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *messages, threads = run.stdout.splitlines()
    assert len(messages) == 3
    assert all(f"127.0.0.1:{port}" in m and "LIMELIGHT_BOOTSTRAP_SERVERS" in m for m in messages)
    assert threads == "threads left: 0"

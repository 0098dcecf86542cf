"""What is fetched ahead is bounded by bytes, with each client; without the bounds it would not be."""

import os
import subprocess
import sys
import uuid

import pytest
from kafka import KafkaProducer

from deploy.local.kafka.topics import create_topics

pytestmark = pytest.mark.kafka

PARTITIONS = 16
RECORD_BYTES = 100_000
RECORDS = 960
"""96 MB, in parts of 6 MB."""
BOUND_MIB = 48
"""Three times what is fetched, because the clients hold it more than once while it is taken apart."""
UNBOUNDED = {
    "kafka-python": "max.partition.fetch.bytes=8000000,fetch.max.bytes=200000000",
    "librdkafka": "fetch.message.max.bytes=8000000,fetch.max.bytes=200000000,receive.message.max.bytes=300000000,"
    "queued.max.messages.kbytes=200000",
}
CHILD = """
import os, time
from worker.stream.ownership import Ownership
from worker.settings import Settings
from worker.transport.connections import Connections

def size_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

ownership = Ownership()
source = Connections(Settings.from_environment()).open_source(instance="reader", ownership=ownership)
while not ownership.joined:
    source.poll(max_records=1, timeout_seconds=0.1)
before, polled, largest, grown_at = size_mib(), 0, 0, time.monotonic()
# Until enough was polled, and what is fetched in the background has stopped to grow.
while polled < 40 or time.monotonic() < grown_at + 1:
    polled += len(source.poll(max_records=1, timeout_seconds=0.1)) if polled < 40 else 0
    if size_mib() > largest + 0.5:
        largest, grown_at = size_mib(), time.monotonic()
print(largest - before)
source.close()
"""


@pytest.fixture(scope="module")
def topic(broker: str) -> str:
    name = f"large.{uuid.uuid4().hex[:8]}"
    create_topics(broker, {name: PARTITIONS})
    producer = KafkaProducer(bootstrap_servers=broker)
    for number in range(RECORDS):
        producer.send(name, bytes(RECORD_BYTES), partition=number % PARTITIONS)
    producer.flush()
    producer.close()
    return name


def grown_mib(broker: str, topic: str, **settings: str) -> float:
    """By how much a process grows that polls record by record."""
    options = {"BOOTSTRAP_SERVERS": broker, "INPUT_TOPIC": topic, "GROUP_ID": uuid.uuid4().hex, **settings}
    environment = {**os.environ, **{f"LIMELIGHT_{name}": value for name, value in options.items()}}
    run = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    return float(run.stdout)


@pytest.mark.parametrize("client", UNBOUNDED)
def test_a_reader_does_not_grow_with_its_topic(broker: str, topic: str, client: str) -> None:
    assert grown_mib(broker, topic, TRANSPORT=client) < BOUND_MIB


@pytest.mark.parametrize("client", UNBOUNDED)
def test_without_the_bounds_it_would(broker: str, topic: str, client: str) -> None:
    assert grown_mib(broker, topic, TRANSPORT=client, PROPERTIES=UNBOUNDED[client]) > BOUND_MIB

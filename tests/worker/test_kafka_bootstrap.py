"""kafka-python finds the cluster again after the only broker that it knew is gone."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from kafka import KafkaConsumer

from deploy.local.kafka.ports import LOOPBACK, choose_ports
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.client import connect

pytestmark = pytest.mark.kafka

GONE = 99


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def finds_the_cluster(consumer: KafkaConsumer, *, within_seconds: float) -> bool:
    """Makes it believe that a broker that is gone is the whole cluster, and waits until it knows better."""
    cluster = consumer._cluster
    [known] = cluster.brokers()
    [port] = choose_ports(1)
    cluster._brokers = {GONE: type(known)(GONE, LOOPBACK, port, None)}
    deadline = Deadline(within_seconds)
    while deadline.remaining_seconds():
        cluster.request_update()
        consumer.poll(timeout_ms=100)
        if [each.node_id for each in cluster.brokers()] == [known.node_id]:
            return True
    return False


def test_it_asks_the_bootstrap_servers_again(broker: str, opened: ExitStack) -> None:
    consumer = connect(KafkaConsumer, {"bootstrap_servers": [broker]})
    opened.callback(consumer.close)
    assert finds_the_cluster(consumer, within_seconds=20)


def test_without_the_precaution_it_waits_for_the_broker_that_is_gone(broker: str, opened: ExitStack) -> None:
    consumer = KafkaConsumer(bootstrap_servers=[broker])
    opened.callback(consumer.close)
    assert not finds_the_cluster(consumer, within_seconds=3)

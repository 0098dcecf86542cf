"""A real broker, seen by a client."""

import uuid

import pytest
from kafka import KafkaConsumer, KafkaProducer

from deploy.local.kafka.topics import create_topics

pytestmark = pytest.mark.kafka


def test_what_is_produced_is_consumed(broker: str) -> None:
    topic = f"round-trip-{uuid.uuid4()}"
    create_topics(broker, {topic: 2})
    with KafkaProducer(bootstrap_servers=broker) as producer:
        for index in range(10):
            producer.send(topic, key=b"k", value=str(index).encode(), partition=index % 2)
        producer.flush()
    with KafkaConsumer(
        topic, bootstrap_servers=broker, auto_offset_reset="earliest", group_id=None, consumer_timeout_ms=10_000
    ) as consumer:
        received = sorted(int(next(consumer).value) for _ in range(10))
    assert received == list(range(10))

"""Two input topics with a model each, on a real broker, with both clients."""

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.bundle import write_bundle
from worker.messages import Prediction
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 60
RECORDS = 40
ROLES = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC")


@pytest.mark.parametrize("transport", ["kafka-python", "librdkafka"])
def test_every_topic_is_answered_by_its_own_model(
    broker: str, tmp_path: Path, make_parts: Callable[[], dict[str, Any]], tiny_bundle_path: Path, transport: str
) -> None:
    other = write_bundle(tmp_path, **{**make_parts(), "name": "other"})
    group = f"routes-{uuid.uuid4().hex[:8]}"
    topics = {role: f"{group}.{role.lower()}" for role in ROLES}
    routed = f"{group}.routed"
    create_topics(broker, {**dict.fromkeys(topics.values(), 2), routed: 3})
    with closing(KafkaProducer(bootstrap_servers=broker)) as producer:
        for number in range(RECORDS):
            for topic in (topics["INPUT_TOPIC"], routed):
                producer.send(topic, b'{"text": "the box %d"}' % number, partition=number % 2)
        producer.flush()
    settings = {
        "BOOTSTRAP_SERVERS": broker,
        "TRANSPORT": transport,
        "GROUP_ID": group,
        "BUNDLE": str(tiny_bundle_path),
        "ROUTES": f"{routed}={other}",
        **topics,
    }
    environment = {**os.environ, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "worker", "run"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        try:
            predictions = read(broker, topics["OUTPUT_TOPIC"], 2 * RECORDS)
        finally:
            worker.terminate()
            _, said = worker.communicate(timeout=PATIENCE_SECONDS)

    assert worker.returncode == 0, said
    answered = Counter((each.source.topic, each.model.name) for each in predictions)
    assert answered == {(topics["INPUT_TOPIC"], "tiny"): RECORDS, (routed, "other"): RECORDS}
    for home in {(each.source.topic, each.source.partition) for each in predictions}:
        offsets = [each.source.offset for each in predictions if (each.source.topic, each.source.partition) == home]
        assert offsets == list(range(RECORDS // 2))


def read(servers: str, topic: str, count: int) -> list[Prediction]:
    """Committed predictions, once there are so many, in order per partition."""
    deadline, found = Deadline(PATIENCE_SECONDS), list[Prediction]()
    with closing(KafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed")) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(2)]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        while len(found) < count:
            assert deadline.remaining_seconds(), f"{len(found)} of {count}"
            for records in consumer.poll(timeout_ms=200).values():
                found += [msgspec.json.decode(record.value, type=Prediction) for record in records]
    return found

"""The worker against a Kafka that testcontainers runs, configured as the image's own scripts do it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from harness.model import write_model
from kafka import KafkaConsumer, TopicPartition
from testcontainers.community.kafka import KafkaContainer
from testcontainers.core.config import testcontainers_config

from deploy.local.kafka.docker import IMAGE, DockerDistribution
from deploy.local.kafka.topics import create_topics
from deploy.local.processes import ChildProcess
from worker.messages import DeadLetter, Position, Prediction

pytestmark = pytest.mark.containers

WaitFor = Callable[[Callable[[], bool]], None]
START_SECONDS = 90
LIFETIME_SECONDS = 300
"""If this process is killed, the broker ends by itself."""
GROUP = "containers"
EVENTS, PREDICTIONS, DEAD_LETTERS = "events", "predictions", "dead-letters"
PARTITIONS = 4
MALFORMED = b'{"text":'
TEXTS = ["the box is late", "thanks", "broken", "慢", "好 好 好"]


class ApacheKafkaContainer(KafkaContainer):
    """Kafka's own image; testcontainers knows the layout, and the version numbers, of Confluent's only."""

    MIN_KRAFT_TAG = "0"

    def tc_start(self) -> None:
        # The broker can be told its address only now that the container, and with it the port, is there.
        address = f"{self.get_container_host_ip()}:{self.get_exposed_port(self.port)}"
        listeners = f"{self.listener_name}://{address},BROKER://localhost:9092"
        run = f"export KAFKA_ADVERTISED_LISTENERS={listeners}\nexec timeout {LIFETIME_SECONDS} /etc/kafka/docker/run\n"
        self.create_file(run.encode(), self.TC_START_SCRIPT)


@pytest.fixture(scope="module")
def servers(image: DockerDistribution) -> Iterator[str]:
    """Bootstrap servers of a broker in a container. Asking for `image` skips the test where it cannot be had."""
    # Ryuk, which cleans up after sessions that were killed, is one more image to pull; a lifetime does as well.
    testcontainers_config.ryuk_disabled = True
    one_node = {"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1"}
    container = ApacheKafkaContainer(IMAGE).with_kraft().with_envs(**one_node)
    try:
        yield container.start(timeout=START_SECONDS).get_bootstrap_server()
    finally:
        container.stop()


@pytest.fixture(scope="module")
def environment(servers: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of the worker: topics that exist, and a small bundle."""
    create_topics(servers, dict.fromkeys((EVENTS, PREDICTIONS, DEAD_LETTERS), PARTITIONS))
    return {
        "LIMELIGHT_BOOTSTRAP_SERVERS": servers,
        "LIMELIGHT_BUNDLE": str(write_model(tmp_path_factory.mktemp("bundles"))),
        "LIMELIGHT_GROUP_ID": GROUP,
        "LIMELIGHT_INPUT_TOPIC": EVENTS,
        "LIMELIGHT_OUTPUT_TOPIC": PREDICTIONS,
        "LIMELIGHT_DEAD_LETTER_TOPIC": DEAD_LETTERS,
        "LIMELIGHT_STATUS_TOPIC": "",
    }


def feed(lines: list[bytes], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "worker", "feed"]
    subprocess.run(command, input=b"\n".join(lines), env={**os.environ, **environment}, check=True)


def end_offsets(consumer: KafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    ends: dict[TopicPartition, int] = consumer.end_offsets([TopicPartition(topic, p) for p in range(PARTITIONS)])
    return ends


def is_answered(consumer: KafkaConsumer) -> bool:
    """True if the group has committed every record; the answers are in the same transactions."""
    return all((consumer.committed(each) or 0) == end for each, end in end_offsets(consumer, EVENTS).items())


def read_to_end(consumer: KafkaConsumer, topic: str, wait_for: WaitFor) -> list[Any]:
    """All committed records of a topic."""
    found: list[Any] = []
    ends = end_offsets(consumer, topic)
    consumer.assign(list(ends))
    consumer.seek_to_beginning()

    def is_read() -> bool:
        found.extend(record for records in consumer.poll(timeout_ms=200).values() for record in records)
        return all(consumer.position(partition) == end for partition, end in ends.items())

    wait_for(is_read)
    return found


def test_each_record_is_answered_exactly_once(
    servers: str, environment: dict[str, str], tmp_path: Path, wait_for: WaitFor
) -> None:
    events = [msgspec.json.encode({"text": TEXTS[n % len(TEXTS)]}) for n in range(500)]
    feed([*events[:250], MALFORMED, *events[250:]], environment)

    command = [sys.executable, "-m", "worker", "run"]
    options = {"isolation_level": "read_committed", "enable_auto_commit": False}
    with closing(KafkaConsumer(bootstrap_servers=servers, group_id=GROUP, **options)) as consumer:
        with ChildProcess(command, name="worker", output=tmp_path / "log", environment=environment) as worker:
            wait_for(lambda: worker.status is not None or is_answered(consumer))
            worker.stop()
        assert worker.status == 0, worker.tail()
        ends = end_offsets(consumer, EVENTS)
        sent = [Position(EVENTS, each.partition, offset) for each, end in ends.items() for offset in range(end)]
        predictions = read_to_end(consumer, PREDICTIONS, wait_for)
        [letter] = read_to_end(consumer, DEAD_LETTERS, wait_for)

    answered = [msgspec.json.decode(record.value, type=Prediction).source for record in predictions]
    refused = DeadLetter.from_headers(letter.headers).source
    assert letter.value == MALFORMED
    assert len(sent) == len(events) + 1
    assert sorted([*answered, refused]) == sorted(sent)

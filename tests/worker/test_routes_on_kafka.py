"""Two input topics with a model each, on a real broker, with both clients."""

import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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


class Place:
    """A group, an input topic, a further one with a bundle of its own, and the commands that know of both."""

    def __init__(self, servers: str, transport: str, bundle: Path, routed_bundle: Path) -> None:
        self.group = f"routes-{uuid.uuid4().hex[:8]}"
        self.topics = {role: f"{self.group}.{role.lower()}" for role in ROLES}
        self.input, self.routed = self.topics["INPUT_TOPIC"], f"{self.group}.routed"
        self.servers = servers
        settings = {
            "BOOTSTRAP_SERVERS": servers,
            "TRANSPORT": transport,
            "GROUP_ID": self.group,
            "BUNDLE": str(bundle),
            "ROUTES": f"{self.routed}={routed_bundle}",
            **self.topics,
        }
        self.environment = {**os.environ, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}}

    def append(self, value: bytes = b'{"text": "the box"}', *, count: int = RECORDS) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.servers)) as producer:
            for number in range(count):
                for topic in (self.input, self.routed):
                    producer.send(topic, value, partition=number % 2)
            producer.flush()

    def run(self, *arguments: str, **settings: str) -> str:
        """Runs a command to its end; returns what it printed."""
        environment = {**self.environment, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}}
        ended = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return ended.stdout

    @contextmanager
    def working(self) -> Iterator[None]:
        """With a worker, which ends in order."""
        command = [sys.executable, "-m", "worker", "run"]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True) as worker:
            try:
                yield
            finally:
                worker.terminate()
                _, said = worker.communicate(timeout=PATIENCE_SECONDS)
        assert worker.returncode == 0, said

    def records(self, topic: str, count: int) -> list[Any]:
        """Committed records, once there are so many, in order per partition."""
        deadline, found = Deadline(PATIENCE_SECONDS), []
        with closing(KafkaConsumer(bootstrap_servers=self.servers, isolation_level="read_committed")) as consumer:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            while len(found) < count:
                assert deadline.remaining_seconds(), f"{len(found)} of {count}"
                found += [record for records in consumer.poll(timeout_ms=200).values() for record in records]
        return found

    def predictions(self, topic: str, count: int) -> list[Prediction]:
        return [msgspec.json.decode(record.value, type=Prediction) for record in self.records(topic, count)]


@pytest.fixture(params=["kafka-python", "librdkafka"])
def place(
    broker: str,
    tmp_path: Path,
    make_parts: Callable[[], dict[str, Any]],
    tiny_bundle_path: Path,
    request: pytest.FixtureRequest,
) -> Place:
    other = write_bundle(tmp_path, **{**make_parts(), "name": "other"})
    return Place(broker, request.param, tiny_bundle_path, other)


def test_every_topic_is_answered_by_its_own_model(place: Place) -> None:
    create_topics(place.servers, {**dict.fromkeys(place.topics.values(), 2), place.routed: 3})
    place.append()

    with place.working():
        predictions = place.predictions(place.topics["OUTPUT_TOPIC"], 2 * RECORDS)

    answered = Counter((each.source.topic, each.model.name) for each in predictions)
    assert answered == {(place.input, "tiny"): RECORDS, (place.routed, "other"): RECORDS}
    for home in {(each.source.topic, each.source.partition) for each in predictions}:
        offsets = [each.source.offset for each in predictions if (each.source.topic, each.source.partition) == home]
        assert offsets == list(range(RECORDS // 2))


@pytest.mark.parametrize("place", ["kafka-python"], indirect=True)
def test_every_command_looks_after_every_input_topic(place: Place) -> None:
    again = f"{place.group}.again"
    outputs = {"OUTPUT_TOPIC": again, "DEAD_LETTER_TOPIC": f"{again}.dlq"}
    place.run("topics", "create", "--partitions", "2")
    place.run("topics", "create", **outputs)
    assert f" {place.routed}: input, partitions: 2" in place.run("topics", "check")
    assert place.run("config", "check") == "ok\n"
    place.append()

    place.run("run", "--from", "beginning", "--output-topic", again)

    answered = Counter((each.source.topic, each.model.name) for each in place.predictions(again, 2 * RECORDS))
    assert answered == {(place.input, "tiny"): RECORDS, (place.routed, "other"): RECORDS}


@pytest.mark.parametrize("place", ["kafka-python"], indirect=True)
def test_a_refused_record_is_sent_back_to_the_topic_that_it_came_from(place: Place) -> None:
    place.run("topics", "create", "--partitions", "2")
    place.append(b"{", count=1)
    with place.working():
        place.records(place.topics["DEAD_LETTER_TOPIC"], 2)

    assert "to where they came from: 2 sent" in place.run("dlq", "replay", "--id", "again")

    for topic in (place.input, place.routed):
        assert [record.value for record in place.records(topic, 2)] == [b"{", b"{"]

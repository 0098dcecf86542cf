"""The worker as it is run: a child process on a real broker."""

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.messages import Prediction, WorkerStatus
from worker.transport.kafka_python.transactions import Deadline

pytestmark = pytest.mark.kafka

START_SECONDS = 60
TOPICS = {"INPUT_TOPIC": 4, "OUTPUT_TOPIC": 4, "DEAD_LETTER_TOPIC": 4, "STATUS_TOPIC": 1}


class Place:
    """Topics and a group of their own, and the workers that were started on them."""

    def __init__(self, servers: str, bundle: Path, directory: Path, opened: ExitStack) -> None:
        self.group = f"run-{uuid.uuid4().hex[:8]}"
        self.topics = {name: f"{self.group}.{name.lower()}" for name in TOPICS}
        self.environment = {
            **os.environ,
            "LIMELIGHT_BOOTSTRAP_SERVERS": servers,
            "LIMELIGHT_BUNDLE": str(bundle),
            "LIMELIGHT_GROUP_ID": self.group,
            **{f"LIMELIGHT_{name}": topic for name, topic in self.topics.items()},
        }
        self._servers, self._directory, self._opened = servers, directory, opened

    def create_topics(self) -> None:
        create_topics(self._servers, {self.topics[name]: count for name, count in TOPICS.items()})

    def delete_topic(self, name: str) -> None:
        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            admin.delete_topics([self.topics[name]])

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "worker", *arguments]

    def start(self) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """Starts a worker and returns it with what its ready file says."""
        ready_file = self._directory / f"ready-{uuid.uuid4().hex}"
        worker = subprocess.Popen(
            self.command("run", "--ready-file", str(ready_file)),
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._opened.callback(self._end, worker)
        deadline = Deadline(START_SECONDS)
        while not ready_file.exists():
            assert worker.poll() is None, worker.stderr and worker.stderr.read()
            assert deadline.remaining_seconds() > 0, "not ready in time"
        return worker, msgspec.json.decode(ready_file.read_bytes())

    def feed(self, lines: list[bytes], *options: str) -> str:
        command = self.command("feed", *options)
        run = subprocess.run(command, input=b"\n".join(lines), env=self.environment, capture_output=True, check=True)
        return run.stderr.decode()

    def read(self, name: str, *, at_least: int) -> list[Any]:
        """Committed records of a topic, once there are `at_least` so many."""
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        deadline, found = Deadline(START_SECONDS), []
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **options)) as consumer:
            topic = self.topics[name]
            consumer.assign([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)])
            while len(found) < at_least:
                assert deadline.remaining_seconds() > 0, f"{len(found)} of {at_least} in {name}"
                found += [record for records in consumer.poll(timeout_ms=200).values() for record in records]
        return found

    @staticmethod
    def _end(worker: subprocess.Popen[str]) -> None:
        worker.kill()
        worker.wait()
        assert worker.stderr is not None
        worker.stderr.close()


@pytest.fixture
def place(broker: str, tiny_bundle_path: Path, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as opened:
        yield Place(broker, tiny_bundle_path, tmp_path, opened)


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        body: str = response.read().decode()
        return body


def stop(worker: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    """SIGTERM; returns the exit status and the log."""
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=30)
    return worker.returncode, [msgspec.json.decode(line) for line in log.splitlines()]


def test_a_worker_starts_scores_reports_and_drains(place: Place, tiny_model: Any) -> None:
    place.create_topics()
    worker, facts = place.start()

    summary = place.feed([b'{"text":"the box is late","who":"ann"}', b"{", b'{"text":"thanks"}'], "--key-field", "who")
    predictions = place.read("OUTPUT_TOPIC", at_least=2)
    [letter] = place.read("DEAD_LETTER_TOPIC", at_least=1)
    statuses = place.read("STATUS_TOPIC", at_least=3)

    assert summary == f"3 records sent to {place.topics['INPUT_TOPIC']}\n"
    answered = [(r.key, msgspec.json.decode(r.value, type=Prediction)) for r in predictions]
    best = {
        key: tiny_model.labels[tiny_model.answer(ids)[0].argmax()]
        for key, ids in {b"ann": [5, 6, 1, 2], None: [4]}.items()
    }
    assert {key: prediction.output.label for key, prediction in answered} == best
    assert letter.value == b"{"
    status = msgspec.json.decode(statuses[-1].value, type=WorkerStatus)
    assert status.ready
    assert len(status.partitions) == TOPICS["INPUT_TOPIC"]
    assert status.group_id == place.group
    assert statuses[-1].key == f"{place.group}/{status.instance}".encode()
    port = facts["health_port"]
    assert get(port, "/livez")
    assert msgspec.json.decode(get(port, "/readyz"))["ready"] is True
    assert 'limelight_records_total{result="dead_letter"} 1.0' in get(port, "/metrics")
    assert 0 < facts["model_ready_seconds"] < facts["joined_seconds"]
    exit_status, log = stop(worker)
    assert exit_status == 0
    own = [line for line in log if line["event"] != "library_message"]
    assert [line["event"] for line in own] == ["started", "ready", "stopped"], log
    assert own[0]["health_port"] == port


def test_two_workers_share_the_partitions_and_answer_each_record_once(place: Place) -> None:
    place.create_topics()
    first, _ = place.start()
    second, _ = place.start()
    deadline = Deadline(START_SECONDS)
    while True:
        assert deadline.remaining_seconds() > 0, "the partitions were not shared"
        statuses = [msgspec.json.decode(r.value, type=WorkerStatus) for r in place.read("STATUS_TOPIC", at_least=1)]
        last = {status.instance: len(status.partitions) for status in statuses}
        if sorted(last.values()) == [2, 2]:
            break

    place.feed(
        [msgspec.json.encode({"text": "box " * (n % 9 + 1), "key": str(n)}) for n in range(400)], "--key-field", "key"
    )
    answered = [msgspec.json.decode(r.value, type=Prediction).source for r in place.read("OUTPUT_TOPIC", at_least=400)]

    assert len(answered) == len(set(answered)) == 400
    assert stop(first)[0] == stop(second)[0] == 0


@pytest.mark.parametrize("status_topic", ["on", "off"])
def test_a_missing_topic_is_one_clear_line(place: Place, status_topic: str) -> None:
    if status_topic == "off":
        place.environment["LIMELIGHT_STATUS_TOPIC"] = ""

    run = subprocess.run(
        place.command("run"), env=place.environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 1
    *_, line = run.stderr.splitlines()
    assert line == (
        f"error: topic {place.topics['INPUT_TOPIC']!r} does not exist. Create it, or name another in the settings."
    )


@pytest.mark.parametrize("transport", ["kafka-python", "librdkafka"])
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_an_output_topic_that_is_deleted_ends_the_worker_with_one_clear_line(
    place: Place, transport: str, delivery: str
) -> None:
    place.create_topics()
    place.environment |= {
        "LIMELIGHT_TRANSPORT": transport,
        "LIMELIGHT_DELIVERY": delivery,
        "LIMELIGHT_DELIVERY_DEADLINE_SECONDS": "2",
    }
    worker, _ = place.start()
    place.feed([b'{"text":"the box is late"}'])
    place.read("OUTPUT_TOPIC", at_least=1)

    place.delete_topic("OUTPUT_TOPIC")
    place.feed([b'{"text":"thanks"}'])
    _, log = worker.communicate(timeout=START_SECONDS)

    assert worker.returncode == 1
    *_, line = log.splitlines()
    assert line.startswith(f"error: topic {place.topics['OUTPUT_TOPIC']!r} does not exist."), log


def test_feed_keeps_its_rate_and_sends_lines_as_they_are(place: Place) -> None:
    place.create_topics()
    lines = [b'{"text":"a"}', b"\xff", b"[]", b""] * 5

    place.feed(lines, "--rate", "200")

    records = place.read("INPUT_TOPIC", at_least=len(lines) - 1)
    assert {r.value for r in records} == set(lines)
    assert max(r.timestamp for r in records) - min(r.timestamp for r in records) >= 50

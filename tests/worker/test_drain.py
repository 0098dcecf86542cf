"""A worker that is asked to end with its hands full: what it has read is answered or untouched, and nothing is open."""

import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.messages import Position, Prediction
from worker.settings import Settings
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90
CONFIRMED_SECONDS = 5
"""A commit is confirmed a moment before readers see it. A transaction that is left open lasts its timeout of 10 s."""
PARTITIONS = 4
RECORDS = 6_000
BEFORE_THE_SIGNAL = 300


class Place:
    """A group and topics of its own; the input is full."""

    def __init__(self, servers: str, bundle: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.group = f"drain-{uuid.uuid4().hex[:8]}"
        self.input, self.answers = f"{self.group}.in", f"{self.group}.out"
        self._directory = directory
        settings = {
            "BOOTSTRAP_SERVERS": servers,
            "BUNDLE": bundle,
            "GROUP_ID": self.group,
            "INPUT_TOPIC": self.input,
            "OUTPUT_TOPIC": self.answers,
            "DEAD_LETTER_TOPIC": f"{self.group}.dlq",
            "STATUS_TOPIC": "",
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"LIMELIGHT_{name}", str(value))
        self._client = client_properties(Settings())
        create_topics(servers, {self.input: PARTITIONS, self.answers: PARTITIONS, f"{self.group}.dlq": PARTITIONS})
        events = directory / "events.jsonl"
        lines = [msgspec.json.encode({"text": "the box is late", "key": str(number)}) for number in range(RECORDS)]
        events.write_bytes(b"\n".join(lines))
        assert main(["feed", "--input", str(events), "--key-field", "key"]) == 0

    @contextmanager
    def worker(self, *, slice_records: int = 500) -> Iterator["subprocess.Popen[bytes]"]:
        environment = {**os.environ, "LIMELIGHT_SLICE_RECORDS": str(slice_records)}
        with (self._directory / "log").open("ab") as log:
            worker = subprocess.Popen([sys.executable, "-m", "worker", "run"], stderr=log, env=environment)
            try:
                yield worker
            finally:
                worker.kill()
                worker.wait()

    def await_answers(self, at_least: int, worker: "subprocess.Popen[bytes]") -> None:
        """Returns as soon as so many answers are committed."""
        deadline, count = Deadline(PATIENCE_SECONDS), 0
        with closing(KafkaReader(self._client, topic=self.answers, begin="beginning")) as reader:
            while count < at_least:
                assert worker.poll() is None, (self._directory / "log").read_text()
                assert deadline.remaining_seconds(), f"{count} answers"
                count += len(reader.poll())

    def answered(self) -> Counter[Position]:
        """How often each record was answered, to a `read_committed` reader."""
        with closing(KafkaReader(self._client, topic=self.answers, begin="beginning")) as reader:
            values = [record.value for records in reader.read_until(reader.ends()) for record in records]
        return Counter(msgspec.json.decode(value or b"", type=Prediction).source for value in values)

    def committed(self) -> dict[int, int]:
        """Input partition -> offset that the group committed."""
        with closing(KafkaAdmin(self._client)) as admin:
            found = admin.committed(self.group)
        return {partition: offset for (topic, partition), (offset, _) in found.items() if topic == self.input}

    def ends(self, isolation_level: str) -> dict[TopicPartition, int]:
        """Ends of the topic of answers."""
        partitions = [TopicPartition(self.answers, number) for number in range(PARTITIONS)]
        with closing(KafkaConsumer(**self._client, isolation_level=isolation_level)) as consumer:
            ends: dict[TopicPartition, int] = consumer.end_offsets(partitions)
        return ends


@pytest.fixture
def place(broker: str, tiny_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(broker, tiny_bundle_path, tmp_path, monkeypatch)


@pytest.mark.parametrize("transport", ["kafka-python", "librdkafka"])
def test_asked_to_end_under_load_it_answers_what_it_commits_and_leaves_the_rest(
    place: Place, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMELIGHT_TRANSPORT", transport)
    # A transaction for each record, so that it is at work for long.
    with place.worker(slice_records=1) as worker:
        place.await_answers(BEFORE_THE_SIGNAL, worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_SECONDS) == 0

    # No transaction is open, so a reader sees all that was written.
    deadline = Deadline(CONFIRMED_SECONDS)
    while place.ends("read_committed") != place.ends("read_uncommitted"):
        assert deadline.remaining_seconds()
    answered = place.answered()
    assert BEFORE_THE_SIGNAL <= len(answered) < RECORDS, "the signal came in the middle"
    assert set(answered.values()) == {1}
    assert set(answered) == {
        Position(place.input, partition, offset)
        for partition, end in place.committed().items()
        for offset in range(end)
    }

    with place.worker() as successor:
        place.await_answers(RECORDS, successor)
    answered = place.answered()
    assert (len(answered), set(answered.values())) == (RECORDS, {1})

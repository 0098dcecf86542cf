"""A stretch of the past is answered once more: exactly that stretch, also after a death, beside a live worker."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.backfill import backfill_settings, prepare
from worker.errors import SettingsError
from worker.messages import Prediction
from worker.settings import Settings
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.beginnings import begin_group
from worker.transport.kafka_python.reader import KafkaReader

pytestmark = pytest.mark.kafka

PARTITIONS = 2
START_MS = 1_700_000_000_000
RUN_SECONDS = 90
READ_COMMITTED = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}


class Past:
    """An input topic whose records are one second apart, partition by partition."""

    def __init__(self, servers: str, bundle: Path, transport: str) -> None:
        self.servers = servers
        group = f"past-{uuid.uuid4().hex[:8]}"
        self.output = f"{group}.again"
        self.topics = {name: f"{group}.{name}" for name in ("input", "output", "dead_letter", "status")}
        self.letters = f"{self.output}.dlq"
        create_topics(servers, dict.fromkeys([*self.topics.values(), self.output, self.letters], PARTITIONS))
        self.environment = {
            **os.environ,
            "LIMELIGHT_BOOTSTRAP_SERVERS": servers,
            "LIMELIGHT_BUNDLE": str(bundle),
            "LIMELIGHT_GROUP_ID": group,
            "LIMELIGHT_TRANSPORT": transport,
            **{f"LIMELIGHT_{name.upper()}_TOPIC": topic for name, topic in self.topics.items()},
        }
        # In transactions, whose marks stand at the end of each partition and are never read as records.
        self._producer = KafkaProducer(bootstrap_servers=servers, transactional_id=group)
        self._producer.init_transactions()

    def append(self, numbers: Sequence[int], *, value: bytes = b'{"text":"late"}') -> None:
        self._producer.begin_transaction()
        for number in numbers:
            partition, second = number % PARTITIONS, number // PARTITIONS
            self._producer.send(self.topics["input"], value, partition=partition, timestamp_ms=START_MS + 1000 * second)
        self._producer.commit_transaction()

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "worker", "run", *options]
        return subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def backfill(self, *options: str) -> None:
        with self.start("--output-topic", self.output, *options) as run:
            _, errors = run.communicate(timeout=RUN_SECONDS)
        assert run.returncode == 0, errors

    def answered(self) -> list[tuple[int, int]]:
        """Partition and second of every answer of the backfill, sorted."""
        with closing(KafkaConsumer(bootstrap_servers=self.servers, **READ_COMMITTED)) as consumer:
            partitions = [TopicPartition(self.output, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            with closing(KafkaConsumer(bootstrap_servers=self.servers)) as everything:
                ends = everything.end_offsets(partitions)
            found = []
            while any(consumer.position(partition) < ends[partition] for partition in partitions):
                for records in consumer.poll(timeout_ms=100).values():
                    found += [msgspec.json.decode(record.value, type=Prediction) for record in records]
        return sorted((each.source.partition, (each.event_timestamp_ms - START_MS) // 1000) for each in found)

    def count(self, topic: str) -> int:
        """Records that a ``read_committed`` reader finds."""
        with closing(KafkaReader({"bootstrap_servers": [self.servers]}, topic=topic, begin="beginning")) as reader:
            return sum(map(len, reader.read_until(reader.ends())))

    def close(self) -> None:
        self._producer.close()


@pytest.fixture(params=["kafka-python", "librdkafka"])
def past(broker: str, tiny_bundle_path: Path, request: pytest.FixtureRequest) -> Iterator[Past]:
    with closing(Past(broker, tiny_bundle_path, request.param)) as opened:
        yield opened


def at(second: int) -> str:
    """The time of the records that stand at `second`, as an option takes it."""
    return datetime.fromtimestamp(START_MS / 1000 + second, tz=UTC).isoformat()


def test_exactly_the_stretch_is_answered_and_the_run_ends_by_itself(past: Past) -> None:
    past.append(range(40))

    past.backfill("--from", at(5), "--until", at(15))

    assert past.answered() == [(partition, second) for partition in range(PARTITIONS) for second in range(5, 15)]


def test_a_backfill_to_the_end_goes_on_where_it_died(past: Past) -> None:
    past.append(range(20))
    past.backfill("--from", "beginning")
    past.append(range(20, 4020))

    with past.start("--output-topic", past.output, "--from", "beginning") as run:
        deadline = Deadline(RUN_SECONDS)
        while len(past.answered()) <= 20:
            assert deadline.remaining_seconds() > 0
            assert run.poll() is None, "it ended before it was killed"
        run.send_signal(signal.SIGKILL)
    past.backfill("--from", "beginning")

    assert past.answered() == [(partition, second) for partition in range(PARTITIONS) for second in range(2010)]


def test_another_beginning_is_another_backfill(past: Past) -> None:
    past.append(range(20))
    past.backfill("--from", at(5))

    with past.start("--output-topic", past.output, "--from", at(2)) as run:
        _, errors = run.communicate(timeout=RUN_SECONDS)
    past.backfill("--from", at(5))

    assert run.returncode == 1
    assert f"began with --from {at(5)}, not {at(2)}. Give --from {at(5)} to go on" in errors
    assert "another --output-topic" in errors
    assert past.answered() == [(partition, second) for partition in range(PARTITIONS) for second in range(5, 10)]


@pytest.mark.parametrize("past", ["kafka-python"], indirect=True)
def test_whoever_dies_at_its_beginning_leaves_no_backfill_that_takes_any_other(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.append(range(20))
    live = Settings(bootstrap_servers=past.servers, input_topic=past.topics["input"], group_id=past.output)
    settings = backfill_settings(live, output_topic=past.output, dead_letter_topic=None)

    class DeathError(Exception):
        pass

    def begin_and_die(*place: Any, **options: Any) -> None:
        begin_group(*place, **options)
        raise DeathError

    monkeypatch.setattr("worker.backfill.begin_group", begin_and_die)
    with pytest.raises(DeathError):
        prepare(settings, begin="beginning", asked="beginning", until="end")
    monkeypatch.undo()

    with pytest.raises(SettingsError, match="began with --from beginning, not 2h"):
        prepare(settings, begin=START_MS, asked="2h", until="end")
    assert prepare(settings, begin="beginning", asked="beginning", until="end")


def test_what_a_backfill_refuses_does_not_go_to_the_live_workers(past: Past) -> None:
    past.append(range(4), value=b"{")

    past.backfill("--from", "beginning")

    assert past.count(past.letters) == 4
    assert past.count(past.topics["dead_letter"]) == 0


def test_who_stops_a_backfill_before_its_end_does_not_get_the_status_of_success(past: Past, tmp_path: Path) -> None:
    past.append(range(4000))

    with past.start(
        "--output-topic", past.output, "--from", "beginning", "--ready-file", str(tmp_path / "ready")
    ) as run:
        deadline = Deadline(RUN_SECONDS)
        while not (tmp_path / "ready").exists():
            assert deadline.remaining_seconds() > 0
            assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=RUN_SECONDS)

    assert len(past.answered()) < 4000, "the signal came in the middle"
    assert run.returncode == 130, errors


def test_the_live_workers_topics_are_refused(past: Past) -> None:
    with past.start("--from", "beginning", "--output-topic", past.topics["output"]) as run:
        _, errors = run.communicate(timeout=RUN_SECONDS)
    assert run.returncode == 1
    assert "Give the backfill topics of its own" in errors

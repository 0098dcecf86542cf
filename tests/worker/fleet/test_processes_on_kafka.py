"""A worker of two processes, as it is run: on a real broker, killed and asked for its pages while it works."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.messages import Position, Prediction
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90
ROLES = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC")
PARTITIONS = 4
PROCESSES = 2
TOKEN = "an-administrators-token"
PARENT_BYTES = 40_000_000
RECORDS = 3_000
SLICE_RECORDS = 10
"""Of so many records that the work lasts for a while."""


class Worker:
    """The parent, and what goes in and comes out."""

    def __init__(self, servers: str, bundle: Path, directory: Path, opened: ExitStack) -> None:
        self.group = f"processes-{uuid.uuid4().hex[:8]}"
        self._servers, self._log = servers, directory / "log"
        self._topics = {role: f"{self.group}.{role.lower()}" for role in ROLES}
        create_topics(servers, dict.fromkeys(self._topics.values(), PARTITIONS))
        self._producer = opened.enter_context(closing(KafkaProducer(bootstrap_servers=servers)))
        self._opened = opened
        settings = {
            "BOOTSTRAP_SERVERS": servers,
            "BUNDLE": bundle,
            "GROUP_ID": self.group,
            "INSTANCE_ID": "pair",
            "ADMIN_TOKEN": TOKEN,
            "SLICE_RECORDS": SLICE_RECORDS,
            **self._topics,
        }
        self._environment = {**os.environ, **{f"LIMELIGHT_{name}": str(value) for name, value in settings.items()}}
        ready = directory / "ready"
        self.process = self._start(self._log, "--processes", str(PROCESSES), "--ready-file", str(ready))
        self.wait_for(ready.exists)
        self.port: int = msgspec.json.decode(ready.read_bytes())["health_port"]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, happened: Callable[[], Any]) -> None:
        deadline = Deadline(PATIENCE_SECONDS)
        while not happened():
            assert self.process.poll() is None, self.log
            assert deadline.remaining_seconds() > 0, self.log

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def append(self, count: int) -> None:
        for number in range(count):
            self._producer.send(
                self._topics["INPUT_TOPIC"], b'{"text":"the box is late"}', partition=number % PARTITIONS
            )
        self._producer.flush()

    def answered(self) -> Counter[Position]:
        """How often each record was answered, to a `read_committed` reader that sees all there is now."""
        partitions = [TopicPartition(self._topics["OUTPUT_TOPIC"], number) for number in range(PARTITIONS)]
        options = {"isolation_level": "read_committed", "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **options)) as consumer:
            consumer.assign(partitions)
            ends, found = consumer.end_offsets(partitions), []
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                found += [record.value for records in consumer.poll(timeout_ms=200).values() for record in records]
        return Counter(msgspec.json.decode(value, type=Prediction).source for value in found)

    def ask(self, path: str, *, order: bool = False) -> tuple[int, bytes]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method="POST" if order else "GET",
            headers={"Authorization": f"Bearer {TOKEN}"} if order else {},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metrics(self) -> dict[str, float]:
        lines = self.ask("/metrics")[1].decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {series: float(value) for series, _, value in pairs}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def start_alone(self) -> "subprocess.Popen[bytes]":
        """Another worker of one process, under the same name."""
        return self._start(self._log.with_name("other"))

    def _start(self, log: Path, *options: str) -> "subprocess.Popen[bytes]":
        with log.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", "run", *options], env=self._environment, stderr=said
            )
        self._opened.callback(process.wait)
        self._opened.callback(process.kill)
        return process


@pytest.fixture
def worker(broker: str, tiny_bundle_path: Path, tmp_path: Path) -> Iterator[Worker]:
    with ExitStack() as opened:
        yield Worker(broker, tiny_bundle_path, tmp_path, opened)


def predictions(worker: Worker) -> float:
    return worker.metrics()['limelight_records_total{result="prediction"}']


def test_a_process_that_is_killed_under_load_costs_nothing(worker: Worker) -> None:
    first = worker.children()
    assert len(first) == PROCESSES
    worker.append(RECORDS)
    worker.wait_for(lambda: predictions(worker) > RECORDS / 10)

    os.kill(first[0], signal.SIGKILL)
    worker.wait_for(lambda: len(worker.children()) == PROCESSES and first[0] not in worker.children())
    assert predictions(worker) < RECORDS, "it was killed in the middle of the work"
    worker.wait_for(lambda: len(worker.answered()) == RECORDS)
    worker.wait_for(lambda: worker.ask("/readyz")[0] == 200)

    assert set(worker.answered().values()) == {1}
    metrics = worker.metrics()
    assert metrics["limelight_process_restarts_total"] == 1
    assert metrics["limelight_processes"] == PROCESSES
    assert metrics["limelight_assigned_partitions"] == PARTITIONS
    assert {metrics[f'limelight_ready{{process="{number}"}}'] for number in range(PROCESSES)} == {1}
    assert worker.ask("/livez")[0] == 200
    pages = Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]
    assert int(pages) * os.sysconf("SC_PAGESIZE") < PARENT_BYTES
    assert worker.stop() == 0
    members = {msgspec.json.decode(line).get("process") for line in worker.log.splitlines()}
    assert members == {None, *range(PROCESSES)}


def test_nothing_outlives_a_parent_that_is_killed(worker: Worker) -> None:
    children = worker.children()
    worker.process.kill()
    worker.process.wait()

    deadline = Deadline(PATIENCE_SECONDS)
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert deadline.remaining_seconds() > 0


def test_asked_to_end_under_load_all_processes_finish_and_answer_what_they_commit(worker: Worker) -> None:
    worker.append(RECORDS)
    worker.wait_for(lambda: predictions(worker) > RECORDS / 10)

    assert worker.stop() == 0

    answered = worker.answered()
    assert RECORDS / 10 < len(answered) < RECORDS
    assert set(answered.values()) == {1}
    assert worker.log.count('"event":"stopped"') == 1 + PROCESSES


def test_an_administrator_pauses_every_process_also_one_that_is_started_later(worker: Worker) -> None:
    assert worker.ask("/pause", order=True)[0] == 202
    worker.wait_for(lambda: worker.log.count('"path":"/pause"') == 1 + PROCESSES)
    children = worker.children()
    os.kill(children[0], signal.SIGKILL)
    worker.wait_for(lambda: len(worker.children()) == PROCESSES and children[0] not in worker.children())
    worker.wait_for(lambda: conditions(worker)["partitions_assigned"] and not conditions(worker)["reading"])
    worker.append(PARTITIONS)
    assert worker.ask("/readyz")[0] == 503
    assert predictions(worker) == 0

    assert worker.ask("/resume", order=True)[0] == 202
    worker.wait_for(lambda: len(worker.answered()) == PARTITIONS)
    worker.wait_for(lambda: worker.ask("/readyz")[0] == 200)
    assert worker.ask("/drain", order=True)[0] == 202
    assert worker.process.wait(PATIENCE_SECONDS) == 0


def test_a_worker_of_another_owner_under_its_name_ends_all_with_one_line(worker: Worker) -> None:
    """Fenced: to be started again would only fence the other one."""
    other = worker.start_alone()

    assert worker.process.wait(PATIENCE_SECONDS) == 1

    assert other.poll() is None
    *_, told, last = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert " took over " in told
    assert last.startswith("error: process 0 of 2 ended by an error that no restart cures")


def conditions(worker: Worker) -> dict[str, bool]:
    found: dict[str, bool] = msgspec.json.decode(worker.ask("/readyz")[1])["conditions"]
    return {"partitions_assigned": False, "reading": True} | found

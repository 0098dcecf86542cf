"""A running worker that an administrator pauses, resumes and drains."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

TOKEN = "an-administrators-token"
PATIENCE_SECONDS = 60
ROLES = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC")


class Worker:
    """A worker on topics of its own, and what goes in and comes out."""

    def __init__(self, servers: str, bundle: Path, directory: Path) -> None:
        group = f"admin-{uuid.uuid4().hex[:8]}"
        self._servers = servers
        self._topics = {role: f"{group}.{role.lower()}" for role in ROLES}
        create_topics(servers, dict.fromkeys(self._topics.values(), 1))
        (directory / "token").write_text(TOKEN)
        settings = {
            "BOOTSTRAP_SERVERS": servers,
            "BUNDLE": str(bundle),
            "GROUP_ID": group,
            "ADMIN_TOKEN_FILE": str(directory / "token"),
            **self._topics,
        }
        ready = directory / "ready"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "--ready-file", str(ready)],
            env={**os.environ, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}},
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = Deadline(PATIENCE_SECONDS)
        while not ready.exists():
            assert self.process.poll() is None
            assert deadline.remaining_seconds()
        self._port: int = msgspec.json.decode(ready.read_bytes())["health_port"]

    def ask(self, path: str, *, token: str | None = None) -> int:
        """Status of a GET, or of a POST with a token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url, method = f"http://127.0.0.1:{self._port}{path}", "GET" if token is None else "POST"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers, method=method), timeout=10
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def feed(self) -> None:
        with closing(KafkaProducer(bootstrap_servers=self._servers)) as producer:
            producer.send(self._topics["INPUT_TOPIC"], b'{"text": "the box"}').get(timeout=PATIENCE_SECONDS)

    def await_status(self) -> None:
        """Returns when the worker has published another status: once a second, whatever else it does."""
        self._await_record("STATUS_TOPIC", from_end=True)

    def await_prediction(self) -> None:
        self._await_record("OUTPUT_TOPIC", from_end=False)

    def predictions(self) -> int:
        partition = TopicPartition(self._topics["OUTPUT_TOPIC"], 0)
        with closing(KafkaConsumer(bootstrap_servers=self._servers, isolation_level="read_committed")) as consumer:
            return int(consumer.end_offsets([partition])[partition])

    def _await_record(self, role: str, *, from_end: bool) -> None:
        partition, deadline = TopicPartition(self._topics[role], 0), Deadline(PATIENCE_SECONDS)
        with closing(KafkaConsumer(bootstrap_servers=self._servers, isolation_level="read_committed")) as consumer:
            consumer.assign([partition])
            (consumer.seek_to_end if from_end else consumer.seek_to_beginning)(partition)
            consumer.position(partition)
            while not consumer.poll(timeout_ms=100):
                assert deadline.remaining_seconds(), f"nothing came to {role}"


@pytest.fixture
def worker(broker: str, tiny_bundle_path: Path, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(broker, tiny_bundle_path, tmp_path)
    yield worker
    worker.process.kill()
    worker.process.communicate()


def test_a_worker_is_paused_resumed_and_drained(worker: Worker) -> None:
    assert worker.ask("/pause", token="a-wrong-administrators-token") == 401
    assert worker.ask("/readyz") == 200

    assert worker.ask("/pause", token=TOKEN) == 202
    assert worker.ask("/readyz") == 503
    worker.await_status()  # a fetch that was under way is over
    worker.feed()
    for _ in range(2):
        worker.await_status()
    assert worker.predictions() == 0
    assert worker.ask("/livez") == 200

    assert worker.ask("/resume", token=TOKEN) == 202
    worker.await_prediction()
    assert worker.ask("/readyz") == 200

    assert worker.ask("/drain", token=TOKEN) == 202
    _, said = worker.process.communicate(timeout=PATIENCE_SECONDS)
    assert worker.process.returncode == 0
    assert TOKEN not in said

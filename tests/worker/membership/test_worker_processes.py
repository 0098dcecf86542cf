"""Membership of workers as they are run: child processes on a real broker."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from deploy.local.kafka.topics import create_topics
from worker.messages import Prediction
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 60
TOPICS = ["INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC"]
PARTITIONS = 2
SESSION_SECONDS = "6"
"""The least that a broker allows."""
SUSPENSIONS = 20
"""Attempts to hit a transaction."""
AWAY_SECONDS = 8
"""Longer than the session, and than the shortest pause between two polls that ends a membership."""


class Group:
    """Topics and a group of their own, and the workers that were started in it."""

    def __init__(self, servers: str, transport: str, bundle: Path, directory: Path, opened: ExitStack) -> None:
        self.name = f"group-{uuid.uuid4().hex[:8]}"
        self.sent = 0
        self._topics = {topic: f"{self.name}.{topic.lower()}" for topic in TOPICS}
        self._servers, self._directory, self._opened = servers, directory, opened
        self._environment = {
            **os.environ,
            "LIMELIGHT_BOOTSTRAP_SERVERS": servers,
            "LIMELIGHT_TRANSPORT": transport,
            "LIMELIGHT_BUNDLE": str(bundle),
            "LIMELIGHT_GROUP_ID": self.name,
            **{f"LIMELIGHT_{topic}": name for topic, name in self._topics.items()},
        }
        create_topics(servers, dict.fromkeys(self._topics.values(), PARTITIONS))
        self._producer = opened.enter_context(closing(KafkaProducer(bootstrap_servers=servers)))

    def start(self, instance: str, **settings: str) -> subprocess.Popen[str]:
        """Starts a worker, and returns it when it is ready."""
        ready_file = self._directory / f"ready-{uuid.uuid4().hex}"
        environment = {f"LIMELIGHT_{name.upper()}": value for name, value in settings.items()}
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "--ready-file", str(ready_file)],
            env={**self._environment, "LIMELIGHT_INSTANCE_ID": instance, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._opened.callback(end, worker)
        deadline = Deadline(PATIENCE_SECONDS)
        while not ready_file.exists():
            assert worker.poll() is None, worker.stderr and worker.stderr.read()
            assert deadline.remaining_seconds() > 0, "not ready in time"
        return worker

    def append(self, count: int) -> None:
        for number in range(count):
            value = msgspec.json.encode({"text": "box " * (number % 9 + 1)})
            self._producer.send(self._topics["INPUT_TOPIC"], value, partition=number % PARTITIONS)
        self._producer.flush()
        self.sent += count

    def answered(self, distinct: int, *, isolation_level: str = "read_committed") -> list[tuple[int, int]]:
        """Source partitions and offsets of the predictions, once there are so many different ones."""
        options = {"isolation_level": isolation_level, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        deadline, found = Deadline(PATIENCE_SECONDS), []
        with closing(KafkaConsumer(bootstrap_servers=self._servers, **options)) as consumer:
            consumer.assign([TopicPartition(self._topics["OUTPUT_TOPIC"], p) for p in range(PARTITIONS)])
            while len(set(found)) < distinct:
                assert deadline.remaining_seconds() > 0, f"{len(set(found))} of {distinct} answered"
                for records in consumer.poll(timeout_ms=200).values():
                    sources = [msgspec.json.decode(record.value, type=Prediction).source for record in records]
                    found += [(source.partition, source.offset) for source in sources]
        return found

    def members(self) -> set[str]:
        """Static member ids that the group knows."""
        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            described = admin.describe_groups([self.name])[self.name]
        return {member["group_instance_id"] for member in described["members"]}

    def has_open_transaction(self) -> bool:
        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            return self.name in str(admin.list_transactions(state_filters=["Ongoing"]))

    def transactional_ids(self) -> list[str]:
        with KafkaAdminClient(bootstrap_servers=self._servers) as admin:
            return [name for name in str(admin.list_transactions()).split("'") if name.startswith(self.name)]


def wait_until(moment: float) -> None:
    threading.Event().wait(max(0.0, moment - time.monotonic()))


def end(worker: subprocess.Popen[str]) -> None:
    worker.kill()  # ends one that is stopped, too
    worker.communicate()


def log_of(worker: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what was written to stderr."""
    _, log = worker.communicate(timeout=PATIENCE_SECONDS)
    return worker.returncode, log


@pytest.fixture(params=["kafka-python", "librdkafka"])
def group(request: pytest.FixtureRequest, broker: str, tiny_bundle_path: Path, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as opened:
        yield Group(broker, request.param, tiny_bundle_path, tmp_path, opened)


one_client = pytest.mark.parametrize("group", ["kafka-python"], indirect=True)
"""For what is decided above the clients."""


@one_client
@pytest.mark.parametrize(
    ("number", "leave_on_stop", "stays"),
    [(signal.SIGTERM, "false", True), (signal.SIGTERM, "true", False), (signal.SIGINT, "false", False)],
)
def test_a_worker_stays_a_member_only_when_it_is_to_come_back(
    group: Group, number: int, leave_on_stop: str, stays: bool
) -> None:
    worker = group.start("one", leave_on_stop=leave_on_stop)

    worker.send_signal(number)

    status, log = log_of(worker)
    assert status == 0, log
    assert group.members() == ({"one"} if stays else set())


def test_scale_in_moves_the_partitions_to_those_who_stay(group: Group) -> None:
    group.start("stays")
    leaves = group.start("leaves")
    group.append(100)
    group.answered(100)

    leaves.send_signal(signal.SIGINT)

    status, log = log_of(leaves)
    assert status == 0, log
    assert group.members() == {"stays"}
    group.append(100)
    answered = group.answered(200)
    assert len(answered) == len(set(answered)) == 200


@one_client
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_busy_worker_at_once_and_loses_nothing(group: Group, number: int) -> None:
    worker = group.start("one")
    group.append(4000)
    group.answered(1)

    # The second would be lost while the first waits to be handled.
    while worker.poll() is None:
        worker.send_signal(number)

    status, log = log_of(worker)
    assert status == 128 + number, log
    group.start("one")
    answered = group.answered(4000)
    assert len(answered) == len(set(answered)) == 4000


def test_a_fenced_worker_names_its_successor_and_ends(group: Group) -> None:
    first = group.start("one")
    second = group.start("one")

    status, log = log_of(first)

    assert status == 1
    error = log.splitlines()[-1]
    assert error.startswith(f"error: limelight-{socket.gethostname()}-{second.pid} took over the "), log
    assert second.poll() is None


@pytest.mark.parametrize(
    ("group", "interval"),
    [
        ("kafka-python", "max.poll.interval.ms=60000"),
        ("kafka-python", "max.poll.interval.ms=7000"),
        ("librdkafka", "max.poll.interval.ms=7000"),
    ],
    indirect=["group"],
)
def test_who_was_suspended_for_longer_than_its_session_leaves_its_successor_alone(group: Group, interval: str) -> None:
    """Its client no longer knows itself a member then, and would join anew under its old name."""
    options = {"session_timeout_seconds": SESSION_SECONDS, "properties": interval}
    first = group.start("one", **options)
    group.append(100)
    group.answered(100)
    first.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    second = group.start("one", **options)
    group.append(100)
    group.answered(200)
    wait_until(stopped + AWAY_SECONDS)

    first.send_signal(signal.SIGCONT)

    status, log = log_of(first)
    assert status == 1, log
    # Where the group has forgotten the first by then, it also knows the address of the second.
    successor = re.escape(f"limelight-{socket.gethostname()}-{second.pid}")
    assert re.match(rf"error: {successor}( at \S+)? took over the ", log.splitlines()[-1]), log
    group.append(100)
    answered = group.answered(300)
    assert len(answered) == len(set(answered)) == 300
    assert second.poll() is None


def test_who_was_suspended_in_a_transaction_and_is_not_replaced_goes_on(group: Group) -> None:
    """A laptop that was asleep: nobody has its name, so nobody is disturbed, and nobody has to start it again.

    The brokers have ended the transaction, which to the producer looks as if somebody else had its transactional id.
    """
    times = {"session_timeout_seconds": SESSION_SECONDS, "properties": "max.poll.interval.ms=7000"}
    worker = group.start("one", transaction_timeout_seconds="6", delivery_deadline_seconds="6", **times)
    for _ in range(SUSPENSIONS):
        group.append(2000)
        worker.send_signal(signal.SIGSTOP)
        if is_open := group.has_open_transaction():
            break
        worker.send_signal(signal.SIGCONT)
    assert is_open, "it was never suspended in a transaction"
    deadline = Deadline(PATIENCE_SECONDS)
    while group.has_open_transaction():
        assert deadline.remaining_seconds() > 0, "the brokers did not end the transaction"
        wait_until(time.monotonic() + 0.2)

    worker.send_signal(signal.SIGCONT)

    answered = group.answered(group.sent)
    assert len(answered) == len(set(answered)) == group.sent
    assert worker.poll() is None


def test_at_least_once_needs_no_transaction_and_repeats_nothing_after_a_stop_in_order(group: Group) -> None:
    worker = group.start("one", delivery="at_least_once")
    group.append(500)
    group.answered(1, isolation_level="read_uncommitted")
    worker.send_signal(signal.SIGTERM)
    status, log = log_of(worker)
    assert status == 0, log

    group.start("one", delivery="at_least_once")

    answered = group.answered(500)
    assert len(answered) == len(set(answered)) == 500
    assert group.transactional_ids() == []


def test_at_least_once_loses_nothing_when_it_is_killed(group: Group) -> None:
    worker = group.start("one", delivery="at_least_once")
    group.append(2000)
    group.answered(1)
    worker.kill()
    worker.wait()

    group.start("one", delivery="at_least_once")

    assert len(set(group.answered(2000))) == 2000

"""Rounds as records of a Kafka topic, so that a dashboard can follow a training.

``python -m worker feed`` sends them: it knows brokers, passwords and certificates (its settings ``LIMELIGHT_*``), and
training knows none of that. It is a child process that reads lines, and ends when there are no more.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import msgspec

from worker.messages import RoundRecord

TOPIC = "limelight.training"
_FLUSH_SECONDS = 60.0
"""For what is not confirmed when training is over."""


@contextlib.contextmanager
def open_topic(bootstrap_servers: str) -> Iterator[Callable[[RoundRecord], None]]:
    """Sends rounds to `TOPIC`, keyed by the run. A broker that fails ends that, and not the training.

    Args:
        bootstrap_servers: as Kafka writes them, ``host:port``.

    Yields:
        Takes the record of each round as soon as it is over.
    """
    command = [sys.executable, "-m", "worker", "feed", "--topic", TOPIC, "--key-field", "run"]
    environment = os.environ | {"LIMELIGHT_BOOTSTRAP_SERVERS": bootstrap_servers}
    feed = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    lost = False

    def send(record: RoundRecord) -> None:
        nonlocal lost
        if lost:
            return
        try:
            feed.stdin.write(msgspec.json.encode(record) + b"\n")
            feed.stdin.flush()
        except BrokenPipeError:
            lost = True
            print(f"note: rounds no longer go to {TOPIC}; training goes on", file=sys.stderr)

    try:
        yield send
    finally:
        with contextlib.suppress(BrokenPipeError):
            feed.stdin.close()
        try:
            feed.wait(_FLUSH_SECONDS)
        except subprocess.TimeoutExpired:
            feed.kill()
            feed.wait()

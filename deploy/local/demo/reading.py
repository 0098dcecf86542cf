"""Reads topics as a downstream service would: ``read_committed``, without a consumer group."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from deploy.local.demo.errors import DemoError
from deploy.local.demo.records import Handler, Stored
from worker.transport.kafka_python.client import connect
from worker.transport.terms import require_topic

POLL_MS = 100
MAX_WAIT_MS = 200
LEISURE_BYTES = 1 << 20
"""Fetches that wait for so much, or for `MAX_WAIT_MS`: one for each record would cost more than everything else."""
STALLED_SECONDS = 30.0
REQUEST_MS = 10_000


class Tail:
    """Follows topics from their beginning. `run` is the work of a `Background`."""

    def __init__(self, bootstrap_servers: str, handlers: Mapping[str, Handler], *, at_once: bool) -> None:
        """
        Args:
            bootstrap_servers: the broker's address.
            handlers: topic -> what takes its records, called from the tail's thread.
            at_once: fetch each record as soon as it can be read, whatever it costs.
        """
        self._bootstrap_servers = bootstrap_servers
        self._handlers = handlers
        self._min_bytes = 1 if at_once else LEISURE_BYTES

    def run(self, stop: threading.Event) -> None:
        """Hands every record to its topic's handler until `stop` is set."""
        with _reader(self._bootstrap_servers, list(self._handlers), min_bytes=self._min_bytes) as consumer:
            while not stop.is_set():
                polled = consumer.poll(timeout_ms=POLL_MS)
                received_ms = time.time() * 1000
                for partition, records in polled.items():
                    for record in records:
                        self._handlers[partition.topic](_to_stored(record), received_ms)


def read_back(bootstrap_servers: str, topic: str) -> Iterator[Stored]:
    """Yields what the topic holds, in order within each partition.

    Raises:
        TransportError: the topic is missing, or the broker cannot be reached.
        DemoError: the end was not reached.
    """
    with _reader(bootstrap_servers, [topic], min_bytes=LEISURE_BYTES) as consumer:
        ends = consumer.end_offsets(list(consumer.assignment()), timeout_ms=REQUEST_MS)
        give_up_seconds = time.monotonic() + STALLED_SECONDS
        # Positions, not counted records: the marks that end transactions take offsets too.
        while any(consumer.position(partition, timeout_ms=REQUEST_MS) < end for partition, end in ends.items()):
            polled = consumer.poll(timeout_ms=POLL_MS)
            if polled:
                give_up_seconds = time.monotonic() + STALLED_SECONDS
            elif time.monotonic() > give_up_seconds:
                raise DemoError(f"topic {topic} could not be read to its end: nothing for {STALLED_SECONDS:.0f} s.")
            for records in polled.values():
                yield from map(_to_stored, records)


def _reader(bootstrap_servers: str, topics: Sequence[str], *, min_bytes: int) -> KafkaConsumer:
    consumer = connect(
        KafkaConsumer,
        {"bootstrap_servers": bootstrap_servers.split(",")},
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        fetch_max_wait_ms=MAX_WAIT_MS,
        fetch_min_bytes=min_bytes,
    )
    numbers = {topic: require_topic(consumer.partitions_for_topic(topic), topic) for topic in topics}
    consumer.assign([TopicPartition(topic, number) for topic in topics for number in numbers[topic]])
    consumer.seek_to_beginning()
    return consumer


def _to_stored(record: Any) -> Stored:
    return Stored(
        record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )

"""Appends the traffic to the input topic, at a rate."""

import threading
import time
import zlib
from collections.abc import Callable, Iterable
from itertools import count

from kafka import KafkaProducer

from deploy.local.demo.records import Outgoing
from worker.errors import TransportError
from worker.ports import Output
from worker.transport.kafka_python.appending import append
from worker.transport.kafka_python.client import connect, describe
from worker.transport.kafka_python.transactions import end_producer

LINGER_MS = 5
MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Above the topic's limit: the broker judges the size of a record, not the client."""
TICK_SECONDS = 0.01
"""Records that are due within a tick go out together: a request for each would cost the machine more than they do."""
CONFIRM_SECONDS = 30


class Feeder:
    """Writes records. `run` is the work of a `Background`; the numbers may be read from any thread."""

    def __init__(
        self, bootstrap_servers: str, topic: str, *, partitions: int, records: Iterable[Outgoing], rate: float
    ) -> None:
        """
        Args:
            bootstrap_servers: the broker's address.
            topic: input topic; it exists.
            partitions: how many it has.
            records: what to append.
            rate: records a second.
        """
        self.sent = 0
        """Records that were appended so far."""
        self._client = {"bootstrap_servers": bootstrap_servers.split(",")}
        self._topic = topic
        self._partitions = partitions
        self._records = records
        self._rate = rate
        self._failure: Exception | None = None

    def run(self, stop: threading.Event) -> None:
        """Appends until the records end, or `stop` is set; then waits until the broker has confirmed all.

        Raises:
            TransportError: the broker did not take a record.
        """
        producer = connect(KafkaProducer, self._client, linger_ms=LINGER_MS, max_request_size=MAX_REQUEST_BYTES)
        try:
            producer.partitions_for(self._topic)
            self._append_all(producer, stop)
            if stop.is_set():
                return
            producer.flush(timeout=CONFIRM_SECONDS)
        finally:
            end_producer(producer, timeout_seconds=CONFIRM_SECONDS)
        self._check()

    def _append_all(self, producer: KafkaProducer, stop: threading.Event) -> None:
        pace = Pace(self._rate)
        turns = count()
        for record in self._records:
            if pace.await_turn(self.sent, stop):
                return
            self._check()
            number = next(turns) if record.key is None else zlib.crc32(record.key)
            output = Output(self._topic, number % self._partitions, *record, timestamp_ms=int(time.time() * 1000))
            append(producer, output).add_errback(self._note)
            self.sent += 1

    def _note(self, failure: Exception) -> None:
        self._failure = failure

    def _check(self) -> None:
        if self._failure is not None:
            raise TransportError(f"the broker did not take a record: {describe(self._failure)}") from self._failure


class Pace:
    """So many a second, counted from its making."""

    def __init__(self, rate: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._start_seconds = now()

    def await_turn(self, number: int, stop: threading.Event) -> bool:
        """Returns when record `number`, counted from 0, is due, at most a tick late; True if `stop` was set before."""
        while (ahead_seconds := self._start_seconds + number / self._rate - self._now()) > 0:
            if stop.wait(max(ahead_seconds, TICK_SECONDS)):
                return True
        return stop.is_set()

"""Feeds the input topic without a pause while the faults happen, and notes what the broker has confirmed.

One idempotent producer writes every partition, so record number k of a partition stands at offset k. That is used where
a confirmation does not say the offset, and checked where it does: a feeder that lost or doubled records itself would
make every verdict worthless.
"""

import itertools
import queue
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from harness.classifier import WORDS
from harness.ledger import Headers, Kind, Notebook, Sent, Source
from harness.shape import Shape

BURST_SECONDS = 0.05
MALFORMED_EVERY = 17
"""A prime, so that they wander over the partitions."""
CONFIRM_SECONDS = 60
UNKNOWN_OFFSET = -1001
"""librdkafka's word after it was told that a batch which it sent again was there already."""


class Outgoing(NamedTuple):
    """A record to append."""

    identity: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    expected: Kind


class Feeder:
    """Appends a burst to every partition each `BURST_SECONDS`, from a thread of its own."""

    def __init__(
        self, servers: str, topic: str, *, partitions: int, rate: float, shape: Shape, malformed: bool, notes: Notebook
    ) -> None:
        """
        Args:
            servers: brokers to ask first.
            topic: input topic.
            partitions: how many it has.
            rate: records a second, all partitions together.
            shape: of the records.
            malformed: mix in records that cannot be scored.
            notes: takes note of what was confirmed.
        """
        self._topic, self._shape, self._notes = topic, shape, notes
        self._partitions = partitions
        self.set_rate(rate)
        self._wave = 0
        self._numbers = itertools.count()
        self._malformed = malformed_values() if malformed else None
        self._random = random.Random(7)
        self._next_offset: Counter[int] = Counter()
        self._confirmed: deque[Sent] = deque()
        self._injected: queue.SimpleQueue[tuple[int, Outgoing]] = queue.SimpleQueue()
        self._failure: str | None = None
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 1,
                "message.timeout.ms": CONFIRM_SECONDS * 1000,
                "retry.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 2,
            }
        )
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def inject(self, partition: int, *, text: str, expected: Kind) -> str:
        """Appends a record of a special text with the next burst.

        Returns:
            Its id.
        """
        identity = self._name()
        value = self._shape.encode_event(text=text, identity=identity)
        self._injected.put((partition, Outgoing(identity, b"injected", value, [], expected)))
        return identity

    def set_rate(self, rate: float) -> None:
        """From now on so many records a second, all partitions together."""
        self._burst = round(rate * BURST_SECONDS / self._partitions)

    def swell(self, records: int) -> None:
        """So many more records for every partition with the next burst: a worker that is fast rests between two."""
        self._wave = records

    def widen(self, partitions: int) -> None:
        """The topic has so many partitions now."""
        self._partitions = partitions

    def stop(self) -> None:
        """Ends, and returns when every record is confirmed.

        Raises:
            RuntimeError: the broker did not take a record, so nothing can be said about the worker.
        """
        self.abandon()
        left = self._producer.flush(CONFIRM_SECONDS)
        self._hand_over()
        if left:
            self._failure = f"{left} are not confirmed"
        self.check()

    def abandon(self) -> None:
        """Ends, whatever becomes of the records that are not confirmed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """
        Raises:
            RuntimeError: the broker did not take a record, so nothing can be said about the worker.
        """
        if self._failure:
            raise RuntimeError(f"the feeder cannot append its records: {self._failure}")

    def offsets(self) -> dict[int, int]:
        """Partition -> offset behind its last confirmed record."""
        return dict(self._next_offset)

    def _run(self) -> None:
        try:
            self._feed()
        except BaseException as error:  # noqa: BLE001 - raised again by `check`, on the thread of the case
            self._failure = repr(error)

    def _feed(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            wave, self._wave = self._wave, 0
            for partition in range(self._partitions):
                for _ in range(self._burst + wave):
                    self._append(partition, self._next_record())
            with suppress(queue.Empty):
                while True:
                    self._append(*self._injected.get_nowait())
            due = max(due + BURST_SECONDS, time.monotonic())
            is_due = False
            # At least once: a feeder that cannot keep up has confirmations to hand over, too.
            while not is_due:
                self._producer.poll(max(0, due - time.monotonic()))
                self._hand_over()
                is_due = time.monotonic() >= due

    def _next_record(self) -> Outgoing:
        identity = self._name()
        number = int(identity)
        key = f"key-{number % 50}".encode()
        if self._malformed and number % MALFORMED_EVERY == 0:
            return Outgoing(identity, key, next(self._malformed), [("kept", b"\xff"), ("null", None)], "dead letter")
        text = " ".join(self._random.choices(WORDS, k=self._random.randint(1, 12)))
        value = self._shape.encode_event(text=text, identity=identity)
        return Outgoing(identity, key, value, [("traceparent", identity.encode())], "prediction")

    def _name(self) -> str:
        return str(next(self._numbers))

    def _append(self, partition: int, record: Outgoing) -> None:
        def confirm(error: Any, message: Any) -> None:
            if error is not None:
                self._failure = str(error)
                return
            offset, self._next_offset[partition] = self._next_offset[partition], self._next_offset[partition] + 1
            if message.offset() not in (offset, UNKNOWN_OFFSET):
                self._failure = f"{partition}: the record stands at offset {message.offset()}, not at {offset}"
            source = Source(partition, offset)
            identity, key, value, headers, expected = record
            self._confirmed.append(Sent(source, identity, expected, time.monotonic(), key, value, headers))

        while True:
            try:
                self._producer.produce(
                    self._topic, record.value, record.key, partition, confirm, headers=list(record.headers)
                )
            except BufferError:
                self._producer.poll(BURST_SECONDS)
            except KafkaException as error:
                # A partition that was added a moment ago: the next look at the metadata will show it.
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION or self._stop.is_set():
                    raise
                self._producer.poll(BURST_SECONDS)
            else:
                return

    def _hand_over(self) -> None:
        if self._confirmed:
            confirmed = list(self._confirmed)
            self._confirmed.clear()
            self._notes.note_sent(confirmed)


def malformed_values() -> Iterator[bytes | None]:
    """Values that no text model can score, one kind after the other, for ever."""
    return itertools.cycle(
        (
            b'{"text": "caf\xe9"}',
            b'{"text": "the bo',
            b'{"message": "the box"}',
            b'{"text": 12}',
            b'{"text": ""}',
            b"",
            None,
            b'{"text": "the box", "extra": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        )
    )

"""A downstream service: reads predictions and dead letters with `read_committed`, while the faults happen."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from harness.ledger import Answer, Notebook
from harness.shape import Shape

POLL_SECONDS = 0.05
MOST_RECORDS = 2000
QUERY_SECONDS = 5
FLEETING = frozenset(
    {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
"""The client's accounts of a broker that is down, or has not heard of the topic yet; it goes on by itself."""


class Reader:
    """Notes every answer with the time of its arrival, from a thread of its own."""

    def __init__(self, servers: str, *, predictions: str, dead_letters: str, shape: Shape, notes: Notebook) -> None:
        """
        Args:
            servers: brokers to ask first.
            predictions: output topic.
            dead_letters: topic of the refused records.
            shape: of the answers.
            notes: takes note of them.
        """
        self._dead_letters, self._shape, self._notes = dead_letters, shape, notes
        self._ends: dict[tuple[str, int], int] = {}
        """Partition -> offset at which it ended when it was last read to its end."""
        self._failure: BaseException | None = None
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                # The marks that end transactions take offsets too: only this tells that nothing stands behind them.
                "enable.partition.eof": True,
                # A reader that recovers slowly would be blamed on the worker.
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 2,
            }
        )
        partitions = [
            TopicPartition(topic, number, 0)
            for topic in (predictions, dead_letters)
            for number in self._consumer.list_topics(topic, QUERY_SECONDS).topics[topic].partitions
        ]
        self._consumer.assign(partitions)
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def ends(self, topic: str) -> dict[int, int]:
        """Partition -> offset at which it ended when it was last read to its end."""
        return {partition: end for (name, partition), end in self._ends.items() if name == topic}

    def has_read_to(self, topic: str, ends: Mapping[int, int]) -> bool:
        """True if every partition of the topic was read to its end, and that was not before `ends`."""
        read = self.ends(topic)
        return all(read.get(partition, -1) >= end for partition, end in ends.items())

    def check(self) -> None:
        """Raises what ended the reading."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Ends."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                messages = self._consumer.consume(MOST_RECORDS, POLL_SECONDS)
                arrived_seconds = time.monotonic()
                answers = [self._to_answer(m, arrived_seconds) for m in messages if not self._is_note(m)]
                if answers:
                    self._notes.note_answers(answers)
        except BaseException as error:  # noqa: BLE001 - raised again by `check`, on the thread of the case
            self._failure = error

    def _is_note(self, message: Any) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[message.topic(), message.partition()] = message.offset()
        elif error.code() not in FLEETING and not error.retriable():
            raise RuntimeError(f"the reader cannot go on: {error}")
        return True

    def _to_answer(self, message: Any, arrived_seconds: float) -> Answer:
        topic, partition, timestamp_ms = message.topic(), message.partition(), message.timestamp()[1]
        if topic != self._dead_letters:
            identity = self._shape.find_answered(message.value())
            return Answer(identity, "prediction", topic, partition, arrived_seconds, timestamp_ms, None)
        headers = message.headers() or []
        identity = self._shape.find_refused(headers)
        letter = (message.key(), message.value(), headers)
        return Answer(identity, "dead letter", topic, partition, arrived_seconds, timestamp_ms, letter)

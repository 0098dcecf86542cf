"""A worker that shares no code with Limelight: exactly once with confluent-kafka alone.

An example of what the suite asks of a worker (see ``README.md`` beside the tests), and the proof that it can be asked.
Its "model" counts characters. It is a dynamic member of its group, so closing is leaving; whatever fails, it throws
both clients away and begins again where the group has committed. Only who is fenced, or meets a gap, ends.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

MOST_RECORDS = 200
POLL_SECONDS = 0.05
ANSWER_SECONDS = 8
FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


def setting(name: str, default: str = "") -> str:
    """A setting as the suite passes it."""
    return os.environ.get(f"LIMELIGHT_{name}", default)


class Worker:
    """One life: a consumer, a producer, and the batch between them."""

    def __init__(self, ready_file: Path) -> None:
        self._ready_file = ready_file
        self._batch: list[Message] = []
        shared = {"bootstrap.servers": setting("BOOTSTRAP_SERVERS"), "reconnect.backoff.max.ms": 500, "log_level": 2}
        name, group = setting("INSTANCE_ID"), setting("GROUP_ID")
        self._producer = Producer(
            {**shared, "transactional.id": f"{group}.{name}", "transaction.timeout.ms": 10_000, "retry.backoff.ms": 5}
        )
        self._producer.init_transactions(ANSWER_SECONDS)
        topics = self._producer.list_topics(timeout=ANSWER_SECONDS).topics
        self._partitions = {topic: len(known.partitions) for topic, known in topics.items()}
        self._consumer = Consumer(
            {
                **shared,
                "client.id": name,
                "group.id": group,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 500,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest" if setting("OFFSET_GAP") == "skip" else "error",
                "topic.metadata.refresh.interval.ms": 1000,
            }
        )
        self._consumer.subscribe([setting("INPUT_TOPIC")], self._assign, self._revoke)

    def turn(self) -> None:
        """Polls for a while, and commits the answers to what came, with its offsets, in one transaction."""
        while len(self._batch) < MOST_RECORDS and (message := self._consumer.poll(POLL_SECONDS)) is not None:
            if message.error():
                raise KafkaException(message.error())
            self._batch.append(message)
        batch, self._batch = self._batch, []
        if batch:
            self._producer.begin_transaction()
            for message in batch:
                self._answer(message)
            positions = {m.partition(): TopicPartition(m.topic(), m.partition(), m.offset() + 1) for m in batch}
            member = self._consumer.consumer_group_metadata()
            self._producer.send_offsets_to_transaction(list(positions.values()), member, ANSWER_SECONDS)
            self._producer.commit_transaction(ANSWER_SECONDS)

    def close(self) -> None:
        """Leaves the group. An open transaction is ended by the next life."""
        self._producer.purge()
        self._consumer.close()

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        committed = consumer.committed(partitions, ANSWER_SECONDS) if partitions else []
        for each in committed:
            each.offset = each.offset if each.offset >= 0 else OFFSET_BEGINNING
        consumer.assign(committed)
        self._ready_file.write_text("{}")

    def _revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        # Whoever gets them reads from what is committed, and so do we if we get them back.
        gone = {each.partition for each in partitions}
        self._batch = [message for message in self._batch if message.partition() not in gone]

    def _answer(self, message: Message) -> None:
        source = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
        try:
            text = json.loads(message.value() or b"")["text"]
            if not isinstance(text, str) or not text:
                raise ValueError(text)
            value = json.dumps({"source": source, "length": len(text)}).encode()
            self._send("OUTPUT_TOPIC", message, value, [])
        except (KeyError, TypeError, ValueError, RecursionError):
            reason = [(f"__connect.errors.{name}", str(fact).encode()) for name, fact in source.items()]
            self._send("DEAD_LETTER_TOPIC", message, message.value(), [*(message.headers() or []), *reason])

    def _send(self, topic: str, message: Message, value: bytes | None, headers: list[Any]) -> None:
        name = setting(topic)
        home = (message.partition() or 0) % self._partitions[name]
        self._producer.produce(name, value, message.key(), home, headers=headers)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready-file", type=Path, required=True)
    ready_file = parser.parse_args().ready_file
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    while not signals:
        worker = None
        try:
            worker = Worker(ready_file)
            while not signals:
                worker.turn()
        except KafkaException as failure:
            error = failure.args[0]
            print(error, file=sys.stderr)
            if error.code() in (*FENCED, KafkaError._AUTO_OFFSET_RESET):
                return 1
        finally:
            if worker:
                worker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

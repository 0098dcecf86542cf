"""What the three wrong workers share: a consumer, a producer and an answer. Each of them takes the steps in its own
wrong way.

They keep the protocol of the suite (see ``harness/subject.py``) in every other respect, so that what the suite says of
them is due to the one mistake that they make.
"""

import argparse
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

MOST_RECORDS = 200
POLL_MS, JOIN_MS = 200, 5_000
"""A poll that ends while the group answers makes the client forget that it joins, and the member waits for ever."""
DEAD_LETTER_PREFIX = "__connect.errors."


class _Headers(list):
    """Headers whose total size is not computed: the client fails on a null value there, and nowhere else."""

    def __bool__(self) -> bool:
        return False


class Stream:
    """The input topic as a static member of the group, and the two output topics."""

    def __init__(self) -> None:
        """Reads the settings and the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--ready-file", type=Path, required=True)
        self._ready_file: Path | None = parser.parse_args().ready_file
        self._settings = {name.removeprefix("LIMELIGHT_"): value for name, value in os.environ.items()}
        servers = self._settings["BOOTSTRAP_SERVERS"].split(",")
        self._consumer = KafkaConsumer(
            self._settings["INPUT_TOPIC"],
            bootstrap_servers=servers,
            group_id=self._settings["GROUP_ID"],
            group_instance_id=self._settings["INSTANCE_ID"],
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        self._producer = KafkaProducer(bootstrap_servers=servers)
        self._stopping = False
        signal.signal(signal.SIGTERM, self._ask_to_stop)

    def run(self, step: Callable[[Sequence[Any]], None]) -> None:
        """Hands what was polled to `step`, until SIGTERM."""
        while not self._stopping:
            patience_ms = POLL_MS if self._consumer.assignment() else JOIN_MS
            polled = self._consumer.poll(patience_ms, max_records=MOST_RECORDS)
            records = [record for each in polled.values() for record in each]
            if self._ready_file and self._consumer.assignment():
                self._ready_file.write_text("{}")
                self._ready_file = None
            if records:
                step(records)
        self._consumer.close()
        self._producer.close()

    def answer(self, record: Any) -> None:
        """Sends the answer to a record, or its dead letter."""
        source = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        try:
            text = json.loads(record.value)["text"]
            assert isinstance(text, str)
            assert text
        except (AssertionError, KeyError, TypeError, ValueError, RecursionError):
            self._refuse(record, source)
            return
        value = json.dumps({"source": source, "length": len(text)}).encode()
        self._send("OUTPUT_TOPIC", record.partition, record.key, value, [])

    def flush(self) -> None:
        """Returns when everything that was sent is confirmed."""
        self._producer.flush()

    def commit(self, records: Sequence[Any]) -> None:
        """Commits the offsets behind `records`."""
        offsets = {TopicPartition(r.topic, r.partition): OffsetAndMetadata(r.offset + 1) for r in records}
        self._consumer.commit(offsets)

    def _refuse(self, record: Any, source: dict[str, Any]) -> None:
        reason = [(DEAD_LETTER_PREFIX + name, str(value).encode()) for name, value in source.items()]
        self._send("DEAD_LETTER_TOPIC", record.partition, record.key, record.value, [*record.headers, *reason])

    def _send(self, topic: str, partition: int, key: Any, value: Any, headers: list[tuple[str, Any]]) -> None:
        # Below `send`, which refuses a header without a value.
        name = self._settings[topic]
        self._producer.partitions_for(name)
        now_ms = int(time.time() * 1000)
        self._producer._accumulator.append(TopicPartition(name, partition), now_ms, key, value, _Headers(headers))

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

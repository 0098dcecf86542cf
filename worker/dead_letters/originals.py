"""Finds the records that pointer letters stand for, where they were when they were refused."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from worker.dead_letters.letter import Pointer
from worker.errors import TopicMissingError
from worker.messages import Position
from worker.ports import Record


class Log(Protocol):
    """Reads one topic, as `worker.transport.kafka_python.reader.KafkaReader` does."""

    def beginnings(self) -> dict[int, int]:
        """Partition -> its oldest offset."""
        ...

    def ends(self) -> dict[int, int]:
        """Partition -> offset behind its last record."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """The next records of `partition` begin at `offset`."""
        ...

    def read_until(self, ends: Mapping[int, int], *, max_records: int | None = None) -> Iterator[list[Record]]:
        """Yields what stands before `ends`, and then ends."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


class Originals:
    """Looks into the topics that the letters name, one connection each."""

    def __init__(self, open_log: Callable[[str], Log]) -> None:
        """
        Args:
            open_log: opens a topic, or raises `TopicMissingError`.
        """
        self._open_log = open_log
        self._logs: dict[str, Log | None] = {}

    def find(self, source: Position, pointer: Pointer) -> Record | None:
        """The record; None if it is gone, or if another stands in its place since the topic was made anew.

        Raises:
            TransportError: the broker failed.
        """
        log = self._open(source.topic)
        if log is None or not log.beginnings().get(source.partition, 0) <= source.offset:
            return None
        if not source.offset < log.ends().get(source.partition, 0):
            return None
        log.seek(source.partition, source.offset)
        for records in log.read_until({source.partition: source.offset + 1}, max_records=1):
            for record in records:
                # Compaction and retention leave gaps: what comes first may stand further on.
                if record.position == source and pointer.fits(record.value):
                    return record
        return None

    def close(self) -> None:
        """Ends the connections."""
        for log in self._logs.values():
            if log is not None:
                log.close()

    def _open(self, topic: str) -> Log | None:
        if topic not in self._logs:
            try:
                self._logs[topic] = self._open_log(topic)
            except TopicMissingError:
                self._logs[topic] = None
        return self._logs[topic]

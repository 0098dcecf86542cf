"""Kafka for onlookers: reads a topic without a group, so that nobody's position moves and no partition changes hands.

Records of open and aborted transactions are never seen (``read_committed``). Partitions that are added to the topic
later are not noticed.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from worker.beginning import Begin
from worker.errors import BrokerUnreachableError, OffsetGapError
from worker.ports import Record
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.client import connect, principal, require_partitions, transport_error
from worker.transport.rights import Rights
from worker.transport.terms import REQUEST_SECONDS

POLL_SECONDS = 0.2
STALLED_SECONDS = 30.0
"""After this long without a step towards an end that exists, the broker counts as gone: the client itself would wait
for it without a word."""


class KafkaReader:
    """Reads all partitions of one topic."""

    def __init__(self, client: Mapping[str, Any], *, topic: str, begin: Begin) -> None:
        """
        Args:
            client: connection properties, from `worker.transport.kafka_python.properties.client_properties`.
            topic: what to read.
            begin: where.

        Raises:
            BrokerUnreachableError: no broker answered.
            TopicMissingError: the topic does not exist.
        """
        self._topic = topic
        self._rights = Rights(partial(principal, client), "READ", (topic,))
        self._consumer = connect(
            KafkaConsumer,
            client,
            isolation_level="read_committed",
            # The client's own policy would jump over a gap in silence.
            auto_offset_reset="none",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
        )
        try:
            numbers = require_partitions(self._consumer, client, topic, self._rights)
            self._partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            self._consumer.assign(self._partitions)
            for number, offset in self.find(begin).items():
                self.seek(number, offset)
        except BaseException:
            self.close()
            raise

    def beginnings(self) -> dict[int, int]:
        """Partition -> its oldest offset."""
        return self.find("beginning")

    def ends(self) -> dict[int, int]:
        """Partition -> offset behind its last committed record."""
        return self.find("end")

    def position(self, partition: int) -> int:
        """Next offset of `partition`, behind everything that `poll` returned and the marks of transactions."""
        position: int = self._consumer.position(TopicPartition(self._topic, partition))
        return position

    def seek(self, partition: int, offset: int) -> None:
        """The next records of `partition` begin at `offset`."""
        self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def poll(self, *, max_records: int | None = None) -> list[Record]:
        """Returns what has arrived, in order per partition; empty after a fraction of a second.

        Raises:
            OffsetGapError: retention removed records before they were read.
            TransportError: reading failed.
        """
        try:
            polled = self._consumer.poll(timeout_ms=int(POLL_SECONDS * 1000), max_records=max_records)
        except OffsetOutOfRangeError as error:
            [(partition, offset), *_] = error.args[0].items()
            raise OffsetGapError(
                f"{partition.topic}-{partition.partition} no longer holds offset {offset}: retention removed records "
                "before they were read. Start again."
            ) from error
        except KafkaError as error:
            raise transport_error(f"topic {self._topic!r} cannot be read", error, self._rights) from error
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
            for records in polled.values()
            for r in records
        ]

    def read_until(self, ends: Mapping[int, int], *, max_records: int | None = None) -> Iterator[list[Record]]:
        """Yields what stands before `ends`, and then ends. Each turn may also be empty: positions moved all the same.

        Args:
            ends: partition -> offset; partitions that are not named are not read.
            max_records: most records of one turn.

        Raises:
            OffsetGapError: retention removed records before they were read.
            TransportError: reading failed, or nothing came for long.
        """
        self._consumer.pause(*[each for each in self._partitions if each.partition not in ends])
        self._consumer.resume(*[each for each in self._partitions if each.partition in ends])
        deadline, last = Deadline(STALLED_SECONDS), dict[int, int]()
        while (positions := {number: self.position(number) for number in ends}) and any(
            positions[number] < end for number, end in ends.items()
        ):
            # Positions, not records: the marks that end transactions take offsets too.
            if positions != last:
                deadline, last = Deadline(STALLED_SECONDS), positions
            elif not deadline.remaining_seconds():
                raise BrokerUnreachableError(
                    f"topic {self._topic!r} could not be read to its end: nothing came for {STALLED_SECONDS:.0f} s. "
                    "Look at the broker, then start again."
                )
            yield [record for record in self.poll(max_records=max_records) if record.offset < ends[record.partition]]

    def close(self) -> None:
        """Ends the connection."""
        self._consumer.close(autocommit=False)

    def find(self, begin: Begin) -> dict[int, int]:
        """Partition -> offset of its first record at or after `begin`, or behind its last."""
        wait = {"timeout_ms": REQUEST_SECONDS * 1000}
        try:
            match begin:
                case "beginning":
                    offsets = self._consumer.beginning_offsets(self._partitions, **wait)
                case "end":
                    offsets = self._consumer.end_offsets(self._partitions, **wait)
                case int():
                    found = self._consumer.offsets_for_times(dict.fromkeys(self._partitions, begin), **wait)
                    offsets = self._consumer.end_offsets(self._partitions, **wait)
                    offsets |= {partition: hit.offset for partition, hit in found.items() if hit is not None}
        except KafkaError as error:
            raise transport_error(f"the offsets of topic {self._topic!r} cannot be read", error) from error
        return {partition.partition: offset for partition, offset in offsets.items()}

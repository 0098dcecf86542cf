"""One transaction per slice: predictions, dead letters and offsets together.

Outputs go to partition ``input partition mod partitions of the output topic``, always named explicitly: the clients'
default partitioners differ, and order per input partition must survive. A dead letter is the record as it came (key,
value, headers) plus the headers of `worker.messages.DeadLetter`. An answer that is too large for its topic loses its
weaker weights; if that is not enough it becomes a dead letter, and a dead letter that is too large a pointer to its
record, so that no record can stop its partition. So does the dead letter of a record that the client could not read
whole.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from worker.answering import Answer, Skipped
from worker.errors import EncodeError, RecordError
from worker.messages import DeadLetter, Headers
from worker.ownership import Epochs, Ownership
from worker.ports import Clock, Output, Partition, Record, Sink
from worker.shortening import keep_strongest

BATCH_OVERHEAD_BYTES = 61 + 36
"""Header of a batch, and at most: length, attributes, timestamp and offset deltas, and the lengths inside a record."""
HEADER_OVERHEAD_BYTES = 10
"""Two lengths of at most five bytes."""


class SliceDelivery:
    """Turns answers into output records and commits them with their offsets."""

    def __init__(
        self,
        sink: Sink,
        ownership: Ownership,
        *,
        output_topic: str,
        dead_letter_topic: str,
        group_id: str,
        clock: Clock,
        committed: Callable[[Sequence[Record], Sequence[Answer]], None],
    ) -> None:
        """
        Args:
            sink: commits outputs and offsets atomically.
            ownership: of the partitions that the records come from.
            output_topic: takes predictions.
            dead_letter_topic: takes refused records.
            group_id: named in the dead letters.
            clock: gives the outputs' timestamp.
            committed: told about every slice that committed.

        Raises:
            TopicMissingError: an output topic does not exist.
        """
        self._sink = sink
        self._ownership = ownership
        self._output_topic, self._dead_letter_topic = output_topic, dead_letter_topic
        self._partitions = {topic: sink.partitions(topic) for topic in (output_topic, dead_letter_topic)}
        self._limits = {topic: sink.record_limit_bytes(topic) for topic in (output_topic, dead_letter_topic)}
        self._group_id = group_id
        self._clock = clock
        self._committed = committed

    def deliver(self, records: Sequence[Record], answers: Sequence[Answer], epochs: Epochs) -> None:
        """Commits one slice, if `epochs` still last when its offsets are sent.

        Raises:
            DeliveryError: nothing of it was committed.
            FencedError: another process owns this worker's identity.
        """
        now_ms = self._clock.now_ms()
        final = [self._fit(record, answer, now_ms) for record, answer in zip(records, answers, strict=True)]
        outputs = [
            self._output(record, answer, now_ms)
            for record, answer in zip(records, final, strict=True)
            if not isinstance(answer, Skipped)
        ]
        self._sink.deliver(outputs, next_offsets(records), claim=lambda: self._ownership.claim(epochs))
        self._committed(records, final)

    def _fit(self, record: Record, answer: Answer, now_ms: int) -> Answer:
        """An answer that its topic would refuse is shortened, or refuses its record: retrying it would never end."""
        if not isinstance(answer, bytes):
            return answer
        limit = self._limits[self._output_topic]
        if encoded_bytes(self._output(record, answer, now_ms)) <= limit:
            return answer
        try:
            shorter = keep_strongest(answer)
        except (msgspec.DecodeError, RecursionError) as error:
            return EncodeError(
                f"the answer is too large for topic {self._output_topic} and cannot be shortened: {error}."
            )
        size = encoded_bytes(self._output(record, shorter, now_ms))
        if size <= limit:
            return shorter
        return EncodeError(
            f"the answer has {size} bytes and topic {self._output_topic} takes {limit}. "
            "Raise its max.message.bytes, or send less in passthrough, key and headers."
        )

    def _output(self, record: Record, answer: bytes | RecordError, now_ms: int) -> Output:
        topic = self._output_topic if isinstance(answer, bytes) else self._dead_letter_topic
        partition = record.partition % self._partitions[topic]
        if isinstance(answer, bytes):
            return Output(topic, partition, record.key, answer, record.headers, now_ms)
        reason = DeadLetter.of(record.position, answer, self._group_id, attempts=answer.attempts).to_headers()
        letter = Output(topic, partition, record.key, record.value, [*record.headers, *reason], now_ms)
        if record.fault is None and encoded_bytes(letter) <= self._limits[topic]:
            return letter
        # Not all there, or too large with its reason: a pointer to the record, which its own topic still holds.
        return Output(topic, partition, None, None, [*reason, *point_to(record)], now_ms)


def encoded_bytes(output: Output) -> int:
    """Upper bound of the record's size in a batch of its own, which is what ``max.message.bytes`` limits."""
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_OVERHEAD_BYTES for name, value in output.headers)
    return BATCH_OVERHEAD_BYTES + len(output.key or b"") + len(output.value or b"") + headers


def point_to(record: Record) -> Headers:
    """Headers that stand for a record that its dead letter cannot hold."""
    value = record.value or b""
    digest = hashlib.sha256(value).hexdigest()
    return [("limelight.value.bytes", str(len(value)).encode()), ("limelight.value.sha256", digest.encode())]


def next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    """Partition -> offset behind its last record in `records`."""
    return {record.home: record.offset + 1 for record in records}

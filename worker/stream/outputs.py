"""Output records: what an answer, and a refusal, look like on their topics.

Outputs go to partition ``input partition mod partitions of the output topic``, always named explicitly: the clients'
default partitioners differ, and order per input partition must survive. A dead letter is the record as it came (key,
value, headers) plus the headers of `worker.messages.DeadLetter`. An answer that is too large for its topic loses its
weaker weights; if that is not enough it becomes a dead letter, and a dead letter that is too large a pointer to its
record, so that no record can stop its partition. So does the dead letter of a record that the client could not read
whole.
"""

import hashlib
import time
from collections.abc import Mapping

import msgspec

from worker.answers.answering import Answer
from worker.answers.shortening import keep_strongest
from worker.errors import EncodeError, RecordError
from worker.messages import DeadLetter, Headers
from worker.ports import Output, Record, Sink

BATCH_OVERHEAD_BYTES = 61 + 36
"""Header of a batch, and at most: length, attributes, timestamp and offset deltas, and the lengths inside a record."""
LIMITS_SECONDS = 10
"""So old may be what is known of a limit when an answer is cut, or refused, for its sake."""
HEADER_OVERHEAD_BYTES = 10
"""Two lengths of at most five bytes."""


class OutputWriter:
    """Writes records for the two topics that hold one for each of the input."""

    def __init__(self, sink: Sink, *, output_topic: str, dead_letter_topic: str, group_id: str) -> None:
        """
        Args:
            sink: knows the topics.
            output_topic: takes predictions.
            dead_letter_topic: takes refused records.
            group_id: named in the dead letters.

        Raises:
            TopicMissingError: one of the topics does not exist.
        """
        self._sink = sink
        self.output_topic, self.dead_letter_topic = output_topic, dead_letter_topic
        self._partitions = {topic: sink.partitions(topic) for topic in (output_topic, dead_letter_topic)}
        self._limits: Mapping[str, int] = {}
        self._group_id = group_id
        self.look_up_limits()

    def look_up_limits(self) -> bool:
        """Asks how large records may be. Returns whether that changed."""
        self._looked_up_seconds = time.monotonic()
        before = self._limits
        self._limits = self._sink.record_limits(self._partitions)
        return self._limits != before

    def fit(self, record: Record, answer: Answer) -> Answer:
        """An answer that its topic would refuse is shortened, or refuses its record: retrying it would never end."""
        if not isinstance(answer, bytes):
            return answer
        size = _encoded_bytes(record.key, answer, record.headers)
        if size <= self._limits[self.output_topic]:
            return answer
        if time.monotonic() - self._looked_up_seconds > LIMITS_SECONDS:
            # Whoever lowered a limit by mistake has raised it again since.
            self.look_up_limits()
        limit = self._limits[self.output_topic]
        if size <= limit:
            return answer
        try:
            shorter = keep_strongest(answer)
        except (msgspec.DecodeError, RecursionError) as error:
            return EncodeError(
                f"the answer is too large for topic {self.output_topic} and cannot be shortened: {error}."
            )
        size = _encoded_bytes(record.key, shorter, record.headers)
        if size <= limit:
            return shorter
        return EncodeError(
            f"the answer has {size} bytes and topic {self.output_topic} takes {limit}. "
            "Raise its max.message.bytes, or send less in passthrough, key and headers."
        )

    def write(self, record: Record, answer: bytes | RecordError, now_ms: int, *, only_point: bool = False) -> Output:
        """
        Args:
            record: what was read.
            answer: an encoded Prediction, or why there is none.
            now_ms: the output's timestamp.
            only_point: a dead letter does not hold its record, whether it would fit or not.
        """
        topic = self.output_topic if isinstance(answer, bytes) else self.dead_letter_topic
        partition = record.partition % self._partitions[topic]
        if isinstance(answer, bytes):
            return Output(topic, partition, record.key, answer, record.headers, now_ms)
        reason = DeadLetter.of(record.position, answer, self._group_id, attempts=answer.attempts).to_headers()
        letter = Output(topic, partition, record.key, record.value, [*record.headers, *reason], now_ms)
        if not only_point and record.fault is None and encoded_bytes(letter) <= self._limits[topic]:
            return letter
        # Not all there, or too large with its reason: a pointer to the record, which its own topic still holds.
        return Output(topic, partition, None, None, [*reason, *point_to(record)], now_ms)


def encoded_bytes(output: Output) -> int:
    """Upper bound of the record's size in a batch of its own, which is what ``max.message.bytes`` limits."""
    return _encoded_bytes(output.key, output.value, output.headers)


def _encoded_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    size = BATCH_OVERHEAD_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name.encode()) + len(content or b"") + HEADER_OVERHEAD_BYTES
    return size


def point_to(record: Record) -> Headers:
    """Headers that stand for a record that its dead letter cannot hold."""
    value = record.value or b""
    digest = hashlib.sha256(value).hexdigest()
    return [("limelight.value.bytes", str(len(value)).encode()), ("limelight.value.sha256", digest.encode())]

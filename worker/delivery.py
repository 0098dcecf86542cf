"""One transaction per slice: predictions, dead letters and offsets together.

Outputs go to partition ``input partition mod partitions of the output topic``, always named explicitly: the clients'
default partitioners differ, and order per input partition must survive. A dead letter is the record as it came (key,
value, headers) plus the headers of `worker.messages.DeadLetter`.
"""

from collections.abc import Callable, Sequence

from worker.answering import Answer
from worker.errors import DeliveryError
from worker.messages import DeadLetter
from worker.ownership import Epochs, Ownership
from worker.ports import Clock, Output, Partition, Record, Sink


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
        self._topics = {True: output_topic, False: dead_letter_topic}
        self._partitions = {topic: sink.partitions(topic) for topic in self._topics.values()}
        self._group_id = group_id
        self._clock = clock
        self._committed = committed

    def deliver(self, records: Sequence[Record], answers: Sequence[Answer], epochs: Epochs) -> None:
        """Commits one slice, if `epochs` still last when its offsets are sent.

        Raises:
            DeliveryError: nothing of it was committed.
            FencedError: another process owns this worker's identity.
        """
        if len(records) != len(answers):
            raise DeliveryError(f"{len(answers)} answers for {len(records)} records: the slice cannot be delivered.")
        now_ms = self._clock.now_ms()
        outputs = [self._output(record, answer, now_ms) for record, answer in zip(records, answers, strict=True)]
        self._sink.deliver(outputs, next_offsets(records), claim=lambda: self._ownership.claim(epochs))
        self._committed(records, answers)

    def _output(self, record: Record, answer: Answer, now_ms: int) -> Output:
        topic = self._topics[isinstance(answer, bytes)]
        partition = record.partition % self._partitions[topic]
        if isinstance(answer, bytes):
            return Output(topic, partition, record.key, answer, record.headers, now_ms)
        headers = [*record.headers, *DeadLetter.of(record.position, answer, self._group_id).to_headers()]
        return Output(topic, partition, record.key, record.value, headers, now_ms)


def next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    """Partition -> offset behind its last record in `records`."""
    return {record.home: record.offset + 1 for record in records}

"""One transaction per slice: predictions, dead letters and offsets together.

A transaction that aborts because the brokers were busy or away is worth another try. One that aborts because they
refuse a *record*, for what it is, would abort for ever: a topic that compacts takes none without a key, a limit on
sizes or timestamps was changed while we run, a schema is enforced. So the guilty output is found, and goes another way:

::

    answer ── refused ──> dead letter ── refused ──> pointer to the record ── refused ──> the worker stops, and says why

A broker that names the guilty outputs has the slice written again at once, without them. One that refuses a batch as a
whole has the slice halved until the guilty output is alone: each part is a transaction with the offsets of its own
records, in their order. Nothing was committed of what was refused, so no record is answered twice or left out.
"""

from collections.abc import Callable, Sequence
from itertools import starmap
from typing import NamedTuple

import structlog

from worker.answers.answering import Answer, Skipped
from worker.errors import DeadLetterRefusedError, DeliveryError, OutputRefusedError, UndeliverableError
from worker.ports import Clock, Partition, Record, Sink
from worker.stream.outputs import OutputWriter
from worker.stream.ownership import Epochs, Ownership

log = structlog.get_logger("worker")


class _Entry(NamedTuple):
    """A record on its way out."""

    record: Record
    answer: Answer
    only_point: bool = False
    """True once its whole dead letter was refused."""


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
            committed: told about every transaction that committed.

        Raises:
            TopicMissingError: an output topic does not exist.
        """
        self._sink = sink
        self._ownership = ownership
        self._writer = OutputWriter(
            sink, output_topic=output_topic, dead_letter_topic=dead_letter_topic, group_id=group_id
        )
        self._clock = clock
        self._committed = committed

    def deliver(
        self,
        records: Sequence[Record],
        answers: Sequence[Answer],
        epochs: Epochs,
        *,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """Commits one slice, if `epochs` still last when its offsets are sent.

        Args:
            records: what was read.
            answers: one for each.
            epochs: of the records' partitions.
            is_ending: asked between two parts of a slice of which something is refused, whether to leave the rest.

        Raises:
            DeliveryError: it was not committed, or not all of it: what is behind the committed offsets must be read
                again.
            DeadLetterRefusedError: a record can neither be answered nor refused.
            FencedError: another process owns this worker's identity.
            TransportError: nothing more can be committed, now or later.
        """
        parts = [list(starmap(_Entry, zip(records, answers, strict=True)))]
        while parts:
            part = self._fit(parts.pop())
            try:
                self._commit(part, epochs)
            except OutputRefusedError as refusal:
                log.warning("the brokers refuse an output for what it is", reason=str(refusal))
                parts += reversed(self._part_without(refusal, part))
            if parts:
                self._require_time(epochs, is_ending)

    def _require_time(self, epochs: Epochs, is_ending: Callable[[], bool]) -> None:
        """Finding the guilty output of a large slice takes a dozen transactions: who loses a partition cannot wait.

        Raises:
            DeliveryError: the rest is left to who reads it next.
        """
        if is_ending():
            raise DeliveryError("the worker ends in the middle of a slice of which something is refused")
        self._ownership.require(epochs)

    def settle(self) -> None:
        """Ends what a delivery left open that ran out of time.

        Raises:
            BrokerUnreachableError: not now.
            FencedError: another process owns this worker's identity.
        """
        self._sink.settle()

    def _fit(self, part: Sequence[_Entry]) -> list[_Entry]:
        fitting = [self._writer.fit(entry.record, entry.answer) for entry in part]
        return [
            # Nearly all fit as they are, and a copy takes longer than the look at its size.
            entry if answer is entry.answer else entry._replace(answer=answer)
            for entry, answer in zip(part, fitting, strict=True)
        ]

    def _commit(self, part: Sequence[_Entry], epochs: Epochs) -> None:
        now_ms = self._clock.now_ms()
        outputs = [
            self._writer.write(entry.record, entry.answer, now_ms, only_point=entry.only_point)
            for entry in part
            if not isinstance(entry.answer, Skipped)
        ]
        records = [entry.record for entry in part]
        self._sink.deliver(outputs, next_offsets(records), claim=lambda: self._ownership.claim(epochs))
        self._committed(records, [entry.answer for entry in part])

    def _part_without(self, refusal: OutputRefusedError, part: list[_Entry]) -> list[list[_Entry]]:
        """What to commit in place of `part`, in order: less and less that may be refused."""
        if refusal.is_too_large and self._writer.look_up_limits():
            # A limit was lowered while we run: with it known, what does not fit is shortened before it is sent.
            return [part]
        if not refusal.outputs:
            return [part[: len(part) // 2], part[len(part) // 2 :]]
        places = [place for place, entry in enumerate(part) if not isinstance(entry.answer, Skipped)]
        mended = list(part)
        for number, reason in refusal.outputs.items():
            mended[places[number]] = self._refuse(part[places[number]], reason)
        return [mended]

    def _refuse(self, entry: _Entry, reason: str) -> _Entry:
        """
        Raises:
            DeadLetterRefusedError: it was refused in every form that it can take.
        """
        if isinstance(entry.answer, bytes):
            error = UndeliverableError(f"topic {self._writer.output_topic} refuses the answer: {reason}.")
            return entry._replace(answer=error)
        if not entry.only_point:
            return entry._replace(only_point=True)
        raise DeadLetterRefusedError(
            f"{entry.record.position} can neither be answered nor refused: topic {self._writer.dead_letter_topic} "
            f"takes not even a dead letter that only points to it: {reason}. Mend the topic, as `python -m worker "
            "topics check` says, and start again: nothing was skipped."
        )


def next_offsets(records: Sequence[Record]) -> dict[Partition, int]:
    """Partition -> offset behind its last record in `records`."""
    return {record.home: record.offset + 1 for record in records}

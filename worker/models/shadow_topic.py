"""Where a shadow's predictions go: onto a topic as those of the stream, but what cannot be delivered is lost."""

from collections.abc import Sequence

import structlog

from worker.answers.answering import Answer
from worker.errors import LimelightError
from worker.ports import Clock, Output, Record, Sink
from worker.stream.outputs import OutputWriter

log = structlog.get_logger("worker")


class ShadowTopic:
    """Writes the predictions of slices, one after the other."""

    def __init__(self, sink: Sink, topic: str, *, group_id: str, clock: Clock) -> None:
        """
        Args:
            sink: delivers, and commits nothing.
            topic: takes the predictions.
            group_id: of the worker.
            clock: for the timestamps.

        Raises:
            TopicMissingError: the topic does not exist.
        """
        self._sink = sink
        self._writer = OutputWriter(sink, output_topic=topic, dead_letter_topic=topic, group_id=group_id)
        self._topic = topic
        self._clock = clock
        self._is_failing = False

    def publish(self, records: Sequence[Record], answers: Sequence[Answer]) -> int:
        """Writes the predictions among `answers`; one that is too large for the topic loses its weaker weights first.

        Returns:
            How many are not known to have arrived.
        """
        now_ms = self._clock.now_ms()
        fitting = [self._writer.fit(record, answer) for record, answer in zip(records, answers, strict=True)]
        outputs = [
            self._writer.write(record, answer, now_ms)
            for record, answer in zip(records, fitting, strict=True)
            if isinstance(answer, bytes)
        ]
        too_large = sum(isinstance(answer, bytes) for answer in answers) - len(outputs)
        return too_large if self._deliver(outputs) else too_large + len(outputs)

    def _deliver(self, outputs: Sequence[Output]) -> bool:
        if not outputs:
            return True
        try:
            self._sink.deliver(outputs, {})
        except LimelightError as error:
            if not self._is_failing:
                log.warning("predictions of the shadow are lost", topic=self._topic, reason=str(error))
            self._is_failing = True
        else:
            self._is_failing = False
        return not self._is_failing

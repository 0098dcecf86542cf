"""What a contestant wrote: how fast, and whether it is the work that was asked for.

A rate counts from the moment when `FROM` of the answers stood in their topic to the moment when `TO` of them did: so
neither the start of a process and the rebalances that it brings, nor the tail that one of two processes works off
alone, is in it. The brokers' clock says when an answer was appended.
"""

from collections.abc import Iterable
from typing import NamedTuple, Self

import msgspec
import numpy as np

from worker.bench.errors import BenchError
from worker.messages import Position, Prediction
from worker.ports import Record

FROM, TO = 0.2, 0.9
RESOLUTION_SECONDS = 0.001
"""Of the brokers' time stamps."""
SAMPLE_EVERY = 101
"""So many offsets apart stand the answers that are compared with those of others, weight by weight."""
TOLERANCE = 2e-5
"""Answers have 6 decimals, and a row in a batch may differ from the same row alone in the last bits."""


class _Source(msgspec.Struct):
    """Of an answer only what tells whose it is: decoding all of it would take longer than reading it."""

    source: Position


class Answers(NamedTuple):
    """Everything that one contestant wrote."""

    times_ms: list[int]
    """When each was appended, ascending."""
    sample: dict[Position, Prediction]

    @classmethod
    def read(cls, records: Iterable[Record], *, expected: int) -> Self:
        """
        Args:
            records: the output topic.
            expected: how many events there were.

        Raises:
            BenchError: an event was answered twice, or not at all.
        """
        times_ms: list[int] = []
        positions: set[Position] = set()
        sample: dict[Position, Prediction] = {}
        decode = msgspec.json.Decoder(_Source).decode
        for record in records:
            position = decode(record.value or b"").source
            times_ms.append(record.timestamp_ms)
            positions.add(position)
            if position.offset % SAMPLE_EVERY == 0:
                sample[position] = msgspec.json.decode(record.value or b"", type=Prediction)
        if len(positions) != expected or len(times_ms) != expected:
            raise BenchError(
                f"{expected} events got {len(times_ms)} answers, {len(positions)} of them to different ones. What is "
                "measured is one answer each."
            )
        return cls(sorted(times_ms), sample)

    @property
    def rate(self) -> float:
        """Answers a second."""
        first, last = int(len(self.times_ms) * FROM), int(len(self.times_ms) * TO)
        seconds = (self.times_ms[last] - self.times_ms[first]) / 1000
        return (last - first) / max(seconds, RESOLUTION_SECONDS)

    def require_same(self, reference: dict[Position, Prediction], *, name: str) -> None:
        """Compares with what another contestant answered to the same events.

        Args:
            reference: the other's `sample`.
            name: whose answers these are.

        Raises:
            BenchError: they differ by more than the last bits.
        """
        for position, theirs in reference.items():
            if (difference := _find_difference(self.sample.get(position), theirs)) is not None:
                raise BenchError(
                    f"{name} does other work than the worker: its answer to {position} differs in {difference}."
                )


def _find_difference(ours: Prediction | None, theirs: Prediction) -> str | None:
    """The first part in which two answers differ; times may."""
    if ours is None:
        return "that there is none"
    if ours.id != theirs.id or ours.model != theirs.model:
        return "id or model"
    if not _is_close(list(ours.output.probabilities.values()), list(theirs.output.probabilities.values())):
        return "its probabilities"
    for looked, reference in zip(ours.attention, theirs.attention, strict=True):
        if looked.spans != reference.spans or looked.items != reference.items:
            return "the spans of its attention"
        if not _is_close(looked.weights, reference.weights):
            return "its attention weights"
    return None


def _is_close(ours: list[float], theirs: list[float]) -> bool:
    return len(ours) == len(theirs) and bool(np.allclose(ours, theirs, rtol=0, atol=TOLERANCE))

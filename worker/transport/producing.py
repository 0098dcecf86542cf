"""What the sinks ask of a client library, and what every sink does with it: keep a producer, know the topics.

How a slice is delivered stands once, in `transactional` and `at_least_once`. How a client takes each of the steps
stands in the client's own package, in `producers` and `transactions`.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from worker.errors import BrokerUnreachableError, DeliveryError, LimelightError, TopicMissingError
from worker.ports import Committed, Output, Partition
from worker.transport.deadline import Deadline
from worker.transport.terms import (
    BATCH_BYTES,
    DEFAULT_RECORD_LIMIT_BYTES,
    END_SECONDS,
    METADATA_SECONDS,
    require_topic,
)

MISSING_SECONDS = 3.0
"""A topic is called missing when it has been away for so long: somebody may be making it anew."""
LOOK_AGAIN_SECONDS = 0.2

log = logging.getLogger(__name__)

P = TypeVar("P")
"""The client's own producer."""


class Producers(Protocol[P]):
    """Builds a client's producers, and takes their steps. What the client refuses is raised in its own words."""

    error: type[Exception]
    """Base class of the client's errors."""

    def build(self, *, batch_bytes: int, deadline: Deadline | None) -> P:
        """A producer that may write.

        Args:
            batch_bytes: most bytes that it may send for one partition at once.
            deadline: bounds the attempt, in the middle of something else.

        Raises:
            AccessDeniedError: the producer may not be what it has to be.
            BrokerUnreachableError: no broker answered.
        """
        ...

    def end(self, producer: P, *, timeout_seconds: float) -> None:
        """Ends a producer whose state is not known: nothing that it still holds is sent."""
        ...

    def send_all(self, producer: P, outputs: Sequence[Output], deadline: Deadline) -> None:
        """Sends `outputs`, in the open transaction if there is one, and waits until every one is confirmed.

        Raises:
            OutputRefusedError: the brokers refuse at least one for what it is.
        """
        ...

    def partitions(self, producer: P, topic: str) -> set[int] | None:
        """Partitions of `topic`, as the producer knows it; None if it does not exist.

        Raises:
            AccessDeniedError: we may not see it.
            TransportError: the brokers did not tell.
        """
        ...

    def partitions_now(self, producer: P, topic: str, *, within_seconds: float) -> set[int] | None:
        """The same, as the brokers say now."""
        ...

    def record_limits(self, topics: Collection[str], *, within_seconds: float) -> dict[str, int]:
        """``max.message.bytes`` of `topics`, but for those where it cannot be seen now."""
        ...

    def describe(self, error: Exception) -> str:
        """The client's error on one line."""
        ...

    def permanent(self, error: Exception) -> LimelightError | None:
        """The error to raise for one of the client's that no other attempt can help."""
        ...


class TransactionalProducers(Producers[P], Protocol[P]):
    """The same for producers with a transactional id."""

    def begin(self, producer: P) -> None:
        """Begins a transaction, which waits for no broker."""
        ...

    def send_offsets(self, producer: P, offsets: Mapping[Partition, Committed], group: Any, deadline: Deadline) -> None:
        """Adds the offsets to the transaction, on behalf of the group's member that `group` describes."""
        ...

    def commit(self, producer: P, deadline: Deadline) -> None:
        """Commits the transaction."""
        ...

    def abort(self, producer: P, deadline: Deadline, *, after: BaseException) -> None:
        """Aborts the transaction, if the client can do that after this error."""
        ...

    def is_fenced(self, error: Exception) -> bool:
        """Whether another producer has our transactional id, or another member our name."""
        ...

    def is_outdated(self, error: Exception) -> bool:
        """Whether the group has moved on since it was asked for what we gave as our membership."""
        ...


class ProducingSink(Generic[P]):
    """A producer, which is made anew after a failure, and what is known of its topics."""

    def __init__(self, producers: Producers[P], *, deadline_seconds: float) -> None:
        """
        Args:
            producers: the client's.
            deadline_seconds: bound on one delivery, all its steps together.

        Raises:
            AccessDeniedError: the producer may not be what it has to be.
            BrokerUnreachableError: no broker answered.
        """
        self._producers = producers
        self._deadline_seconds = deadline_seconds
        self._batch_bytes = BATCH_BYTES
        self._limits: dict[str, int] = {}
        self._failures = 0
        """Deliveries that failed since one went well."""
        self._doubtful: set[Partition] = set()
        """Where the last of several failures in a row wrote to: it may be gone."""
        self._producer: P | None = None
        self._ready_producer()

    def partitions(self, topic: str) -> int:
        """Implements `worker.ports.Sink`."""
        return len(require_topic(self._producers.partitions(self._ready_producer(), topic), topic))

    def record_limits(self, topics: Collection[str]) -> dict[str, int]:
        """Implements `worker.ports.Sink`. Who has never seen a topic's properties goes by Kafka's default."""
        self._limits |= self._producers.record_limits(topics, within_seconds=METADATA_SECONDS)
        # The limit holds for a batch too: the client would have to split each one that the broker refuses, or cannot.
        batch_bytes = min([BATCH_BYTES, *self._limits.values()])
        if batch_bytes != self._batch_bytes:
            self._batch_bytes = batch_bytes
            self._end()
        return {topic: self._limits.get(topic, DEFAULT_RECORD_LIMIT_BYTES) for topic in topics}

    def settle(self) -> None:
        """Implements `worker.ports.Sink`. The last delivery may have had no time to build its successor's producer."""
        self._require_outlets(self._ready_producer(Deadline(self._deadline_seconds)))

    def close(self) -> None:
        """Implements `worker.ports.Sink`."""
        self._end()

    def _ready_producer(self, deadline: Deadline | None = None) -> P:
        if self._producer is None:
            self._producer = self._producers.build(batch_bytes=self._batch_bytes, deadline=deadline)
        return self._producer

    def _require_outlets(self, producer: P) -> None:
        """Asks whether the partitions are still there that failed deliveries wrote to: others would fail for ever.

        Raises:
            TopicMissingError: one is gone.
            TransportError: we may not see it.
        """
        patience = Deadline(MISSING_SECONDS)
        while self._doubtful:
            topic = min(self._doubtful)[0]
            try:
                found = self._producers.partitions_now(producer, topic, within_seconds=METADATA_SECONDS) or set()
            except BrokerUnreachableError as error:
                log.warning("whether %s is still there will be asked after the next failure: %s", topic, error)
                return
            gone = {number for name, number in self._doubtful if name == topic} - found
            if not gone:
                self._doubtful = {each for each in self._doubtful if each[0] != topic}
            elif patience.remaining_seconds():
                time.sleep(patience.within(LOOK_AGAIN_SECONDS))
            else:
                require_topic(found, topic)
                raise TopicMissingError(
                    f"topic {topic!r} has no partition {min(gone)} any more: it was made anew with fewer. "
                    "Start again: nothing was skipped."
                )

    def _delivered(self) -> None:
        self._failures, self._doubtful = 0, set()

    def _failure(self, error: Exception, what: str, outputs: Collection[Output]) -> LimelightError:
        """The error to raise for one of the client's, which ended a delivery of `outputs`."""
        self._failures += 1
        if self._failures > 1:
            # Once may be anything: after a broker's death, nobody should wait for what another one has to say.
            self._doubtful = {(output.topic, output.partition) for output in outputs}
        if (permanent := self._producers.permanent(error)) is not None:
            return permanent
        return DeliveryError(f"{what}: {self._producers.describe(error)}")

    def _end(self, deadline: Deadline | None = None) -> None:
        if self._producer is not None:
            seconds = END_SECONDS if deadline is None else deadline.within(END_SECONDS)
            producer, self._producer = self._producer, None
            self._producers.end(producer, timeout_seconds=seconds)

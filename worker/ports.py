"""The borders of the pipeline: what it needs from the outside, and nothing about who provides it.

Every adapter in `worker.transport` implements `Source` and `Sink`; `worker.scorer` implements `Scorer`. Tests run the
same bodies on the in-memory adapters and on a real broker.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from worker.errors import RecordError
from worker.messages import Headers, Position

Partition = tuple[str, int]
"""Topic and partition number."""


class Record(NamedTuple):
    """A record as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fault: RecordError | None = None
    """Why the client could not read all of it: then it is refused, and its dead letter is a pointer to it."""

    @property
    def home(self) -> Partition:
        """Its topic and partition."""
        return self.topic, self.partition

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.topic, self.partition, self.offset)


class Output(NamedTuple):
    """A record to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


Offsets = Mapping[Partition, int]
"""Partition -> the *next* offset to read, as Kafka commits it."""


class Committed(NamedTuple):
    """What a group has committed for a partition."""

    offset: int
    """Next offset to read."""
    metadata: str
    """A note that the offset carries. Every delivery leaves it empty."""


Claim = Callable[[], AbstractContextManager[None]]


class Source(Protocol):
    """Reads records in order per partition, as a member of a consumer group."""

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Returns what has arrived, contiguous per partition; empty after the timeout. Runs rebalances.

        Raises:
            OffsetGapError: the position is gone from the log.
            TransportError: the broker cannot be reached, or the group refused this member.
        """
        ...

    def assignment(self) -> frozenset[Partition]:
        """Partitions that this member owns now."""
        ...

    def positions(self) -> Offsets:
        """Next offset to read of each assigned partition, where it is known now; marks of transactions count."""
        ...

    def pause(self) -> None:
        """Fetches nothing until `resume`. Polls go on, and what a rebalance adds is paused by the next call."""
        ...

    def resume(self) -> None:
        """Fetches again."""
        ...

    def rewind(self) -> None:
        """Seeks every assigned partition back to its committed offset, or to the configured start.

        Raises:
            BrokerUnreachableError: the committed offsets cannot be read now.
        """
        ...

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """What the group has committed for `partitions`, without those for which it has committed nothing.

        Raises:
            BrokerUnreachableError: it cannot be read now; an open transaction may be about to change it.
        """
        ...

    def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Commits for partitions that are assigned, outside any transaction. Called between polls, on their thread.

        Raises:
            DeliveryError: the group refused, or did not answer in time.
            FencedError: another process took over this member.
        """
        ...

    def commit_at_departure(self, give: Callable[[Collection[Partition]], Mapping[Partition, Committed]]) -> None:
        """Has `give` asked what to commit for partitions that are given back in good order.

        It is called when nothing of theirs can be sent any more, on the thread that polls or closes; and in vain for
        partitions that were lost, so that nothing is committed for them later.
        """
        ...

    def lag(self, committed: Offsets) -> int:
        """Records of the assigned partitions up to the ``read_committed`` end that are not committed.

        Args:
            committed: what this member committed; for other partitions the position counts, where it is known.

        Raises:
            TransportError: the brokers did not tell in time.
        """
        ...

    def close(self) -> None:
        """Leaves without committing anything."""
        ...


class Sink(Protocol):
    """Writes outputs and the offsets of the inputs behind them in one transaction."""

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has.

        Raises:
            TopicMissingError: the topic does not exist.
        """
        ...

    def record_limits(self, topics: Collection[str]) -> Mapping[str, int]:
        """Topic -> its ``max.message.bytes``: most bytes of a record in a batch of its own.

        Asks for all of them at once, and not for long: a delivery waits. What cannot be seen now is what it was, or
        Kafka's default.
        """
        ...

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Commits all of it, or nothing of it.

        Args:
            outputs: records to write, in order per partition.
            offsets: next offset of each input partition.
            claim: gives the context in which the offsets are added to the transaction; it raises `DeliveryError` if
                the partitions are no longer ours.

        Raises:
            OutputRefusedError: nothing was committed, and the same outputs would be refused again.
            DeliveryError: nothing was committed; the inputs must be read again.
            FencedError: another process owns the transactional id.
            TransportError: nothing was committed, and trying again cannot help.
        """
        ...

    def settle(self) -> None:
        """Ends what a delivery left open that failed, and sees whether another one can succeed.

        Until then the committed offsets cannot be read.

        Raises:
            BrokerUnreachableError: not now.
            FencedError: another process owns the transactional id.
            TopicMissingError: a topic that it wrote to is gone.
        """
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


class Scores(NamedTuple):
    """The model's answer to a batch."""

    probabilities: NDArray[np.float32]
    """`[B, C]`"""
    attention: Mapping[str, NDArray[np.float32]]
    """Attention name -> weights `[B, T]`, 0 on padding. Empty for a model without attention."""

    def only(self, row: int) -> Self:
        """The answer to one row, as a batch of its own."""
        attention = {name: weights[row : row + 1] for name, weights in self.attention.items()}
        return self._replace(probabilities=self.probabilities[row : row + 1], attention=attention)


class Scorer(Protocol):
    """Runs the model."""

    def score(self, token_ids: NDArray[np.int32]) -> Scores:
        """
        Args:
            token_ids: `[B, T]`, padded on the right with 0.

        Raises:
            ScoringError: the model failed.
        """
        ...


class Clock(Protocol):
    """Time, so that tests can set it."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since the epoch."""
        ...

    def monotonic_seconds(self) -> float:
        """A clock that never goes back."""
        ...

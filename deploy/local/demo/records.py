"""Records on their way into Kafka and out of it."""

from collections.abc import Callable
from typing import NamedTuple

from worker.messages import Headers, Position


class Outgoing(NamedTuple):
    """A record to append."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class Stored(NamedTuple):
    """A record as it stands in a topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.topic, self.partition, self.offset)


Handler = Callable[[Stored, float], None]
"""Takes a record and the moment at which it was received, in milliseconds since the epoch."""

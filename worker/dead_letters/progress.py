"""How far a replay has come: what survives when its process is killed.

It is kept beside the committed offset of each partition of the dead-letter topic, and changes in the same transaction
as the offset: offset and progress never disagree.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, Self

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from worker.dead_letters.errors import ReplayError
from worker.dead_letters.letter import Selection
from worker.ports import Output


class Outcome(StrEnum):
    """What became of a letter. It stays in its topic, whatever it is."""

    REPLAYED = "replayed"
    FILTERED = "filtered"
    EXHAUSTED = "exhausted"
    """It was replayed so often that once more would make a loop."""
    TOO_LARGE = "too_large"
    """With the count of its replays it no longer fits the topic."""
    GONE = "gone"
    """It is a pointer, and what it points to is no longer there."""
    HOMELESS = "homeless"
    """It came from a topic that no worker of these settings reads."""
    FOREIGN = "foreign"
    """No worker wrote it: where it came from is not known."""


class Plan(Struct, frozen=True):
    """What was asked for when a replay began; it cannot change before the replay has ended."""

    to_topic: str | None
    """None sends each record to the topic that it came from."""
    max_replays: int
    selection: Selection = Selection()
    begin: str | None = None
    """``--from`` as it was typed: "2h" is another moment each time, and yet the same replay. None in notes of the time
    before it was kept."""

    def is_kept_by(self, plan: Self) -> bool:
        """True if `plan` asks for the same."""
        return self in (plan, replace(plan, begin=None))


class Progress(Struct):
    """Of one partition."""

    end: int
    """Letters from here on came after the replay had begun, and are not its business."""
    plan: Plan
    outcomes: dict[str, int] = field(default_factory=dict)
    """`Outcome` -> letters."""

    def count(self, outcome: Outcome) -> None:
        """Adds a letter."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1


class Checkpoint(NamedTuple):
    """A committed position and the note beside it."""

    offset: int
    note: str


class ProgressStore(Protocol):
    """Keeps checkpoints, and writes records together with them."""

    def load(self) -> dict[int, Checkpoint]:
        """Partition -> what was committed last; empty before the first `commit`.

        Raises:
            TransportError: the broker did not tell.
        """
        ...

    def commit(self, outputs: Sequence[Output], checkpoints: Mapping[int, Checkpoint]) -> None:
        """Writes all of it, or nothing of it.

        Raises:
            DeliveryError: whether it was written must be read from the store, by another process.
            FencedError: another process replays under the same id.
        """
        ...


def to_note(progress: Progress) -> str:
    """Text for a checkpoint."""
    return msgspec.json.encode(progress).decode()


def from_note(note: str) -> Progress:
    """Reads `to_note`.

    Raises:
        ReplayError: something else was committed there.
    """
    try:
        return msgspec.json.decode(note, type=Progress)
    except msgspec.DecodeError as error:
        raise ReplayError(
            f"the progress of this replay cannot be read: {error}. Something else committed offsets in its group: "
            "choose another --id."
        ) from error

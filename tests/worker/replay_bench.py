"""A replay on letters in memory, and on a store that dies on purpose."""

import sys
from collections.abc import Iterator, Mapping, Sequence

from worker.dead_letters.letter import Letter
from worker.dead_letters.originals import Originals
from worker.dead_letters.progress import Checkpoint, Outcome, Plan
from worker.dead_letters.replay import Replay, Result, Target
from worker.errors import DecodeError, DeliveryError, RecordError, TopicMissingError
from worker.messages import DeadLetter, Headers, Position
from worker.ports import Output, Record
from worker.stream.outputs import point_to

NOW_MS = 5000
PLAN = Plan("events", max_replays=3)
SOURCE = Position("events", 0, 0)
TARGET = Target(4, None)


class MemoryLog:
    """Partitions of a topic as lists; the number of a record is its place."""

    def __init__(self, topic: str, partitions: int = 1) -> None:
        self.topic = topic
        self.logs: list[list[Record]] = [[] for _ in range(partitions)]
        self.oldest = dict.fromkeys(range(partitions), 0)
        self._positions = dict(self.oldest)

    def append(self, key: bytes | None, value: bytes | None, headers: Headers, *, partition: int = 0) -> Record:
        log = self.logs[partition]
        log.append(Record(self.topic, partition, len(log), 1, key, value, headers))
        return log[-1]

    def beginnings(self) -> dict[int, int]:
        return dict(self.oldest)

    def ends(self) -> dict[int, int]:
        return {number: len(log) for number, log in enumerate(self.logs)}

    def position(self, partition: int) -> int:
        return self._positions[partition]

    def seek(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset

    def read_until(self, ends: Mapping[int, int], *, max_records: int | None = None) -> Iterator[list[Record]]:
        while any(self._positions[number] < end for number, end in ends.items()):
            turn: list[Record] = []
            for number, end in ends.items():
                position = self._positions[number]
                turn += self.logs[number][position : min(end, position + (max_records or 1000))]
                self._positions[number] = min(end, position + (max_records or 1000))
            yield turn

    def close(self) -> None:
        pass


class MemoryLetters(MemoryLog):
    """A dead-letter topic."""

    def add(
        self,
        value: bytes,
        *,
        source: Position = SOURCE,
        error: RecordError | None = None,
        own: Headers | None = None,
        partition: int = 0,
    ) -> None:
        errors = DeadLetter.of(source, error or DecodeError("bad"), "limelight").to_headers()
        self.append(b"key", value, [*(own or []), *errors], partition=partition)

    def add_pointer(self, record: Record) -> None:
        errors = DeadLetter.of(record.position, DecodeError("bad"), "limelight").to_headers()
        self.append(None, None, [*errors, *point_to(record)])


class MemoryStore:
    """Commits, or dies: before the commit, or after it without telling."""

    def __init__(self) -> None:
        self.sent: list[Output] = []
        self.slices: list[int] = []
        self.checkpoints: dict[int, Checkpoint] = {}
        self.deaths: list[str] = []

    def load(self) -> dict[int, Checkpoint]:
        return dict(self.checkpoints)

    def commit(self, outputs: Sequence[Output], checkpoints: Mapping[int, Checkpoint]) -> None:
        death = self.deaths.pop(0) if self.deaths else ""
        if death == "before":
            raise DeliveryError("died")
        self.sent += outputs
        self.slices.append(len(outputs))
        self.checkpoints.update(checkpoints)
        if death == "after":
            raise DeliveryError("died")


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_seconds(self) -> float:
        return 0.0


class Bench:
    """A replay that can be run again and again, each time as a new process would."""

    def __init__(self, partitions: int = 1) -> None:
        self.letters = MemoryLetters("events.dlq", partitions)
        self.events = MemoryLog("events", 8)
        self.store = MemoryStore()
        self.left: list[tuple[int, Outcome]] = []
        self.enough = sys.maxsize

    def run(
        self,
        plan: Plan = PLAN,
        *,
        targets: Mapping[str, Target] | None = None,
        slice_records: int = 2,
        slice_bytes: int = 1 << 20,
    ) -> Result:
        def note(letter: Letter, outcome: Outcome) -> None:
            self.left.append((letter.record.offset, outcome))

        return Replay(
            self.letters,
            Originals(self._open),
            self.store,
            plan,
            targets or {plan.to_topic or "events": TARGET},
            slice_records=slice_records,
            slice_bytes=slice_bytes,
            clock=FixedClock(),
            left=note,
            stopped=lambda: len(self.store.sent) >= self.enough,
        ).run()

    def _open(self, topic: str) -> MemoryLog:
        if topic != self.events.topic:
            raise TopicMissingError(topic)
        return self.events

    def values(self) -> list[bytes | None]:
        return [output.value for output in self.store.sent]

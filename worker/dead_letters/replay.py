"""Sends dead letters to the input topic once more: each at most once under one id, however often the process dies.

1. take over the id: whoever replays under it elsewhere is fenced, and what it left open is aborted
2. read the progress; if there is none, note the ends of all partitions and commit them, so that the replay has an end
   although its own records may be refused again and come back as new letters
3. read on from the progress to the noted ends; commit records and progress together, a slice at a time

Step 1 is the store's: it comes before anything is read from it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from worker.dead_letters.errors import ReplayError
from worker.dead_letters.letter import REPLAYS_HEADER, Letter, count_replays, read_letter
from worker.dead_letters.originals import Originals
from worker.dead_letters.progress import Checkpoint, Outcome, Plan, Progress, ProgressStore, from_note, to_note
from worker.ports import Clock, Output, Record

BATCH_OVERHEAD_BYTES = 96
"""A batch of one record: 61 bytes of its own, and at most 35 in the record's length fields and deltas."""
HEADER_OVERHEAD_BYTES = 10
"""Lengths of a header's name and value, at most."""


class Letters(Protocol):
    """Reads the dead-letter topic, as `worker.transport.kafka_python.reader.KafkaReader` does.

    Where it stands at first is where a new replay begins.
    """

    def beginnings(self) -> dict[int, int]:
        """Partition -> its oldest offset."""
        ...

    def ends(self) -> dict[int, int]:
        """Partition -> offset behind its last record."""
        ...

    def position(self, partition: int) -> int:
        """Next offset of `partition`."""
        ...

    def seek(self, partition: int, offset: int) -> None:
        """The next records of `partition` begin at `offset`."""
        ...

    def read_until(self, ends: Mapping[int, int], *, max_records: int | None = None) -> Iterator[list[Record]]:
        """Yields what stands before `ends`, and then ends."""
        ...


class Target(NamedTuple):
    """Where the records go."""

    partitions: int
    max_record_bytes: int | None
    """None if the cluster does not tell."""


class Result(NamedTuple):
    """What became of the letters."""

    now: Counter[str]
    """`Outcome` -> letters, in this run."""
    total: Counter[str]
    """The same, in all runs under this id."""
    removed: int
    """Offsets that retention took away between two runs."""


class Replay:
    """One replay, from wherever it stands to its end."""

    def __init__(
        self,
        letters: Letters,
        originals: Originals,
        store: ProgressStore,
        plan: Plan,
        targets: Mapping[str, Target],
        *,
        slice_records: int,
        slice_bytes: int,
        clock: Clock,
        left: Callable[[Letter, Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        """
        Args:
            letters: the dead-letter topic.
            originals: where the records are that the letters do not hold.
            store: of the progress, and of the records that are sent.
            plan: which letters, and where to.
            targets: topic that may be sent to -> what is known about it.
            slice_records: most letters in one transaction.
            slice_bytes: a transaction is closed when its records reach this size.
            clock: gives the records' timestamp. Their old one could make retention remove them at once.
            left: told about each letter that was meant and is not sent.
            stopped: asked between transactions whether to end before the end.
        """
        self._letters = letters
        self._originals = originals
        self._store = store
        self._plan = plan
        self._targets = targets
        self._slice_records = slice_records
        self._slice_bytes = slice_bytes
        self._clock = clock
        self._left = left
        self._stopped = stopped
        self._progress: dict[int, Progress] = {}

    def run(self) -> Result:
        """Replays what is left.

        Raises:
            ReplayError: the id was used for another plan.
            DeliveryError: a slice was not written. The next run goes on before it.
            FencedError: another process replays under the same id.
            TransportError: the broker failed.
        """
        removed = self._begin()
        before = self._sum()
        ends = {partition: progress.end for partition, progress in self._progress.items()}
        for records in self._letters.read_until(ends, max_records=self._slice_records):
            self._send(records)
            if self._stopped():
                break
        total = self._sum()
        return Result(total - before, total, removed)

    def _begin(self) -> int:
        """Finds the progress, or makes a new one; returns how many offsets are gone."""
        checkpoints = self._store.load()
        if not checkpoints:
            checkpoints = {
                partition: Checkpoint(self._letters.position(partition), to_note(Progress(end, self._plan)))
                for partition, end in self._letters.ends().items()
            }
            self._store.commit([], checkpoints)
        oldest, removed = self._letters.beginnings(), 0
        for partition, checkpoint in checkpoints.items():
            progress = from_note(checkpoint.note)
            if not progress.plan.is_kept_by(self._plan):
                raise ReplayError(
                    f"this id belongs to a replay that began with other options, {_options(progress.plan)}. Give the "
                    "same, or choose another --id."
                )
            position = max(checkpoint.offset, min(oldest[partition], progress.end))
            removed += position - checkpoint.offset
            self._progress[partition] = progress
            self._letters.seek(partition, position)
        return removed

    def _send(self, records: Sequence[Record]) -> None:
        """Judges letters and commits, as often as the records that they stand for reach the size of a slice."""
        outputs: list[Output] = []
        behind: dict[int, int] = {}
        size_bytes = 0
        for record in records:
            outcome, output = self._judge(record)
            self._progress[record.partition].count(outcome)
            behind[record.partition] = record.offset + 1
            if output is not None:
                outputs.append(output)
                size_bytes += size_bound(output)
            if size_bytes >= self._slice_bytes:
                self._commit(outputs, behind)
                outputs, behind, size_bytes = [], {}, 0
        if behind:
            self._commit(outputs, behind)

    def _commit(self, outputs: Sequence[Output], behind: Mapping[int, int]) -> None:
        notes = {number: to_note(self._progress[number]) for number in behind}
        self._store.commit(outputs, {number: Checkpoint(offset, notes[number]) for number, offset in behind.items()})

    def _judge(self, record: Record) -> tuple[Outcome, Output | None]:
        letter = read_letter(record)
        if not self._plan.selection.takes(letter):
            return Outcome.FILTERED, None
        restored = self._restore(letter)
        if isinstance(restored, Output):
            return Outcome.REPLAYED, restored
        self._left(letter, restored)
        return restored, None

    def _restore(self, letter: Letter) -> Output | Outcome:
        """The record to send, or why there is none."""
        refusal, plan = letter.refusal, self._plan
        if refusal is None:
            return Outcome.FOREIGN
        topic = plan.to_topic or refusal.source.topic
        target = self._targets.get(topic)
        if target is None:
            return Outcome.HOMELESS
        record, headers = letter.record, letter.original_headers()
        if letter.pointer is not None:
            original = self._originals.find(refusal.source, letter.pointer)
            if original is None:
                return Outcome.GONE
            record, headers = original, [header for header in original.headers if header[0] != REPLAYS_HEADER]
        replays = count_replays(record.headers)
        if replays >= plan.max_replays:
            return Outcome.EXHAUSTED
        headers = [*headers, (REPLAYS_HEADER, str(replays + 1).encode())]
        partition = refusal.source.partition % target.partitions
        output = Output(topic, partition, record.key, record.value, headers, self._clock.now_ms())
        if target.max_record_bytes is not None and size_bound(output) > target.max_record_bytes:
            return Outcome.TOO_LARGE
        return output

    def _sum(self) -> Counter[str]:
        return sum((Counter(progress.outcomes) for progress in self._progress.values()), Counter[str]())


def size_bound(output: Output) -> int:
    """Bytes that the broker will not find more than when it compares the record with its topic's limit."""
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_OVERHEAD_BYTES for name, value in output.headers)
    return BATCH_OVERHEAD_BYTES + len(output.key or b"") + len(output.value or b"") + headers


def _options(plan: Plan) -> str:
    stage, error = plan.selection
    options = {
        "--to-topic": plan.to_topic,
        "--max-replays": plan.max_replays,
        "--stage": stage,
        "--error": error,
        "--from": plan.begin,
    }
    return " ".join(f"{name} {value}" for name, value in options.items() if value is not None)

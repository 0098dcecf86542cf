"""A member whose model can be made to fail, on a broker that is full of records."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from assembled import Member

from worker.answers.answering import Answer
from worker.errors import DecodeError, ScoringError
from worker.messages import DeadLetter
from worker.ports import Partition, Record
from worker.transport.memory import MemoryBroker

PARTITIONS = [("events", number) for number in range(3)]


class FallibleMember(Member):
    """One whose model can be made to fail."""

    def __init__(self, broker: MemoryBroker, partitions: list[Partition], *, name: str = "only") -> None:
        self.model_fails = False
        super().__init__(broker, partitions, answer=self.answer, prove=self.prove, name=name)

    def answer(self, records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        """Every third record is refused; the others are answered by their own position."""
        self.prove()
        return [
            DecodeError("refused") if r.offset % 3 == 0 else msgspec.json.encode([r.partition, r.offset])
            for r in records
        ]

    def prove(self) -> None:
        if self.model_fails:
            raise ScoringError("the model failed")


def fill_broker(*counts: int) -> MemoryBroker:
    """A broker with `counts[i]` records in partition i of the events, and none in the others."""
    broker = MemoryBroker({"events": len(PARTITIONS), "predictions": 3, "dead": 3})
    for partition, count in enumerate(counts):
        for _ in range(count):
            broker.append("events", partition, b"")
    return broker


def answered(broker: MemoryBroker) -> dict[tuple[str, int], list[int]]:
    """(Output topic, input partition) -> answered offsets in output order."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for (topic, _), log in broker.logs.items():
        for record in log:
            if topic == "predictions":
                partition, offset = msgspec.json.decode(record.value or b"")
                found[topic, partition].append(offset)
            elif topic == "dead":
                source = DeadLetter.from_headers(record.headers).source
                found[topic, source.partition].append(source.offset)
    return found

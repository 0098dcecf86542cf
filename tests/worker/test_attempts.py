"""Deaths at one offset are counted in the metadata of its commit."""

import pytest

from worker.attempts import DEATHS, Attempts, attempts_of
from worker.ownership import Ownership
from worker.ports import Committed, Output
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

pytestmark = pytest.mark.fast

HOME = ("events", 0)
REACH = 3


class Life:
    """A worker's life: it reads, leaves its note, and may commit or die."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.source = MemorySource(broker, "events", Ownership())
        self.attempts = Attempts(self.source, reach_records=REACH)
        self.records = self.source.poll(max_records=2, timeout_seconds=0)
        self.attempts.note(self.records)


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker({"events": 1, "predictions": 1})
    for _ in range(10):
        broker.append(*HOME, b"")
    return broker


def test_a_first_life_suspects_nobody_and_leaves_a_note_where_it_begins(broker: MemoryBroker) -> None:
    life = Life(broker)

    assert not any(map(life.attempts.is_suspect, life.records))
    assert life.source.committed([HOME]) == {HOME: Committed(0, "attempts=1")}


def test_records_are_suspects_after_so_many_deaths_as_far_as_a_worker_may_have_read(broker: MemoryBroker) -> None:
    lives = [Life(broker) for _ in range(DEATHS + 1)]

    assert [any(map(life.attempts.is_suspect, life.records)) for life in lives] == [False] * DEATHS + [True]
    suspects = [record.offset for record in broker.logs[HOME] if lives[-1].attempts.is_suspect(record)]
    assert suspects == list(range(REACH))
    assert lives[-1].attempts.count(lives[-1].records[0]) == DEATHS + 1


def test_nobody_is_a_suspect_once_the_killer_was_found(broker: MemoryBroker) -> None:
    life = [Life(broker) for _ in range(DEATHS + 1)][-1]

    life.attempts.acquit()

    assert not any(map(life.attempts.is_suspect, broker.logs[HOME]))


def test_who_gets_past_the_offset_clears_the_note(broker: MemoryBroker) -> None:
    for _ in range(DEATHS):
        Life(broker)
    MemorySink(broker).deliver([Output("predictions", 0, None, b"", [], 0)], {HOME: 1})

    life = Life(broker)

    assert not any(map(life.attempts.is_suspect, life.records))
    assert life.source.committed([HOME]) == {HOME: Committed(1, "attempts=1")}


def test_one_life_leaves_one_note_in_a_partition_that_it_keeps(broker: MemoryBroker) -> None:
    life = Life(broker)
    life.source.rewind()
    life.attempts.note(life.source.poll(max_records=2, timeout_seconds=0))

    assert life.source.committed([HOME])[HOME].metadata == "attempts=1"


def test_a_partition_that_was_withdrawn_during_the_poll_is_its_new_owners_to_note(broker: MemoryBroker) -> None:
    source = MemorySource(broker, "events", Ownership())
    records = source.poll(max_records=2, timeout_seconds=0)
    source.assign([])

    Attempts(source, reach_records=REACH).note(records)

    assert source.committed([HOME]) == {}


@pytest.mark.parametrize(("text", "attempts"), [("attempts=7", 7), ("", 0), ("somebody else's", 0), ("attempts=-1", 0)])
def test_other_programs_texts_count_nothing(text: str, attempts: int) -> None:
    assert attempts_of(text) == attempts

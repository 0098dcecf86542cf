"""Deaths at one offset are counted in the metadata of its commit."""

import itertools
from collections.abc import Callable, Mapping

import pytest

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed, Output, Partition, Record
from worker.stream.attempts import DEATHS, Attempts, attempts_of
from worker.stream.ownership import Ownership
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

pytestmark = pytest.mark.fast

HOME = ("events", 0)
REACH = 3


class Life:
    """A worker's life: it reads, leaves its note, and may commit or die."""

    def __init__(self, broker: MemoryBroker, *, gap: int = 0) -> None:
        self.source = MemorySource(broker, "events", Ownership())
        if gap:
            self.source.poll = self.poll_sparsely(gap)
        self.attempts = Attempts(self.source, reach_records=REACH)
        self.records = self.source.poll(max_records=2, timeout_seconds=0)
        self.attempts.note(self.records)

    def poll_sparsely(self, gap: int) -> Callable[..., list[Record]]:
        """Every record stands `gap` offsets behind the one before, as in a topic that compacts."""
        offsets = itertools.count(0, gap)

        def poll(*, max_records: int, timeout_seconds: float) -> list[Record]:
            return [Record(*HOME, next(offsets), 0, None, b"", []) for _ in range(max_records)]

        return poll


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker({"events": 1, "predictions": 1})
    for _ in range(10):
        broker.append(*HOME, b"")
    return broker


def test_a_first_life_suspects_nobody_and_leaves_a_note_where_it_begins(broker: MemoryBroker) -> None:
    life = Life(broker)

    assert not any(map(life.attempts.is_suspect, life.records))
    assert life.source.committed([HOME]) == {HOME: Committed(0, "attempts=1;")}


@pytest.mark.parametrize("arrives", [True, False])
def test_a_note_of_ours_whose_answer_was_lost_is_not_taken_for_a_death(broker: MemoryBroker, *, arrives: bool) -> None:
    Life(broker)
    life = Life(broker)
    life.source.rewind()
    attempts = Attempts(life.source, reach_records=REACH)
    records, commit = life.source.poll(max_records=2, timeout_seconds=0), life.source.commit

    def lose(offsets: Mapping[Partition, Committed]) -> None:
        if arrives:
            commit(offsets)
        raise DeliveryError("no answer")

    life.source.commit = lose
    for _ in range(3):
        with pytest.raises(BrokerUnreachableError):
            attempts.note(records)
    life.source.commit = commit
    attempts.note(records)

    assert life.source.committed([HOME]) == {HOME: Committed(0, "attempts=3;")}
    assert attempts.count(records[0]) == 3


def test_records_are_suspects_after_so_many_deaths_as_far_as_a_worker_may_have_read(broker: MemoryBroker) -> None:
    lives = [Life(broker) for _ in range(DEATHS + 1)]

    assert [any(map(life.attempts.is_suspect, life.records)) for life in lives] == [False] * DEATHS + [True]
    lives[-1].attempts.note(lives[-1].source.poll(max_records=10, timeout_seconds=0))
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
    assert life.source.committed([HOME]) == {HOME: Committed(1, "attempts=1;")}


def test_who_gives_the_partition_back_before_anything_was_sent_does_not_count(broker: MemoryBroker) -> None:
    for number in range(3 * DEATHS):
        life = Life(broker)
        assert not any(map(life.attempts.is_suspect, life.records))
        if number % 2:
            life.source.close()
        else:
            life.source.assign([])

    assert life.source.committed([HOME]) == {HOME: Committed(0, "")}


def test_who_begins_behind_a_marker_of_a_transaction_takes_its_note_back_as_well(broker: MemoryBroker) -> None:
    MemorySink(broker).deliver([], {HOME: 1})
    for _ in range(DEATHS + 1):
        source = MemorySource(broker, "events", Ownership())
        attempts = Attempts(source, reach_records=REACH)
        attempts.note([record for record in source.poll(max_records=3, timeout_seconds=0) if record.offset > 1])
        source.close()

    assert source.committed([HOME]) == {HOME: Committed(1, "")}


def test_who_gives_the_partition_back_leaves_the_deaths_of_others_counted(broker: MemoryBroker) -> None:
    Life(broker)
    Life(broker).source.close()
    Life(broker)

    life = Life(broker)

    assert all(map(life.attempts.is_suspect, life.records))
    assert life.attempts.count(life.records[0]) == DEATHS + 1


def test_who_has_sent_something_leaves_the_group_where_it_is(broker: MemoryBroker) -> None:
    """Its transaction may have committed without its knowledge: what it remembers may be out of date."""
    life = Life(broker)
    life.attempts.sending([HOME])
    MemorySink(broker).deliver([Output("predictions", 0, None, b"", [], 0)], {HOME: 1})

    life.source.close()

    assert life.source.committed([HOME]) == {HOME: Committed(1, "")}


def test_who_reads_from_the_beginning_again_has_sent_nothing_that_counts(broker: MemoryBroker) -> None:
    life = Life(broker)
    life.attempts.sending([HOME])
    life.source.rewind()
    life.attempts.note(life.source.poll(max_records=2, timeout_seconds=0))

    life.source.close()

    assert life.source.committed([HOME]) == {HOME: Committed(0, "")}


def test_of_a_partition_that_was_lost_nothing_is_taken_back(broker: MemoryBroker) -> None:
    """Whoever had it in between may be further on, also where it comes back within the same poll."""
    life = Life(broker)
    life.source._deferred.drop([HOME])
    MemorySink(broker).deliver([], {HOME: 1})
    life.attempts.note([broker.logs[HOME][1]])
    life.attempts.sending([HOME])
    MemorySink(broker).deliver([], {HOME: 2})

    life.source.close()

    assert life.source.committed([HOME]) == {HOME: Committed(2, "")}


def test_of_a_partition_that_goes_while_the_note_is_left_nothing_is_taken_back(broker: MemoryBroker) -> None:
    source = MemorySource(broker, "events", Ownership())
    attempts = Attempts(source, reach_records=REACH)
    commit = source.commit

    def commit_and_lose(offsets: Mapping[Partition, Committed]) -> None:
        commit(offsets)
        source.assign([])
        MemorySink(broker).deliver([], {HOME: 5})
        source.assign([HOME])

    records = source.poll(max_records=2, timeout_seconds=0)
    source.commit = commit_and_lose
    attempts.note(records)
    source.commit = commit

    source.close()

    assert source.committed([HOME]) == {HOME: Committed(5, "")}


def test_gaps_in_the_offsets_do_not_shorten_the_reach() -> None:
    broker = MemoryBroker({"events": 1})
    for _ in range(DEATHS):
        Life(broker, gap=100)
    life = Life(broker, gap=100)

    again = life.source.poll(max_records=10, timeout_seconds=0)
    life.attempts.note(again)

    suspects = [record.offset for record in [*life.records, *again] if life.attempts.is_suspect(record)]
    assert suspects == [0, 100, 200]


def test_one_life_leaves_one_note_in_a_partition_that_it_keeps(broker: MemoryBroker) -> None:
    life = Life(broker)
    life.source.rewind()
    life.attempts.note(life.source.poll(max_records=2, timeout_seconds=0))

    assert life.source.committed([HOME])[HOME].metadata == "attempts=1;"


def test_a_partition_that_was_withdrawn_during_the_poll_is_its_new_owners_to_note(broker: MemoryBroker) -> None:
    source = MemorySource(broker, "events", Ownership())
    records = source.poll(max_records=2, timeout_seconds=0)
    source.assign([])

    Attempts(source, reach_records=REACH).note(records)

    assert source.committed([HOME]) == {}


@pytest.mark.parametrize(
    ("text", "attempts"),
    [
        ("attempts=7;", 7),
        ("attempts=7;1; what librdkafka's binding may read behind the end", 7),
        ("attempts=7", 0),
        ("", 0),
        ("somebody else's", 0),
        ("attempts=-1;", 0),
    ],
)
def test_other_programs_texts_count_nothing(text: str, attempts: int) -> None:
    assert attempts_of(text) == attempts

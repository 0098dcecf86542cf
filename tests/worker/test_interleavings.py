"""Two workers of one group on the in-memory broker, their stages taken in any order, partitions moving between them."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest
from assembled import Member
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.answers.answering import Answer
from worker.errors import (
    BrokerUnreachableError,
    DecodeError,
    DeliveryError,
    LimelightError,
    ScoringError,
    UnscorableError,
)
from worker.messages import DeadLetter
from worker.ports import Partition, Record
from worker.stream.attempts import DEATHS
from worker.stream.ownership import Ownership
from worker.stream.pipeline import SLICES_AHEAD
from worker.transport.memory import MemoryBroker

pytestmark = pytest.mark.fast

PARTITIONS = [("events", number) for number in range(3)]


class FallibleMember(Member):
    """One whose model can be made to fail."""

    def __init__(self, broker: MemoryBroker, partitions: list[Partition]) -> None:
        self.model_fails = False
        super().__init__(broker, partitions, answer=self.answer, prove=self.prove)

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


def rebalance(members: list[FallibleMember], first: set[int]) -> None:
    """Cooperatively: what moves is withdrawn before it is granted."""
    wanted = [[p for p in PARTITIONS if (p[1] in first) == (member is members[0])] for member in members]
    for member, partitions in zip(members, wanted, strict=True):
        member.source.assign([p for p in partitions if p in member.source.assignment()])
    for member, partitions in zip(members, wanted, strict=True):
        member.source.assign(partitions)


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


actions = st.one_of(
    st.tuples(st.integers(0, 1), st.sampled_from(["read", "score", "deliver"])),
    st.tuples(st.just("rebalance"), st.sets(st.integers(0, 2))),
    st.tuples(st.just("fail"), st.sampled_from(["send", "offsets", "commit", "answer"])),
    st.tuples(st.just("append"), st.integers(0, 2)),
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.tuples(st.just("model"), st.integers(0, 1)),
)


@settings(max_examples=300)
@given(st.lists(actions, max_size=80))
def test_any_interleaving_answers_every_record_once_and_in_order(steps: list[tuple[object, object]]) -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    members = [FallibleMember(broker, PARTITIONS), FallibleMember(broker, [])]
    for step in steps:
        match step:
            case "rebalance", set(first):
                rebalance(members, first)
            case "fail", str(where):
                broker.failures.append(where)
            case "append", int(partition):
                for _ in range(3):
                    broker.append("events", partition, b"")
            case "die", int(number):
                dead, members[number] = members[number], FallibleMember(broker, [])
                dead.source.assign([])
                members[number].source.assign(
                    [p for p in PARTITIONS if p not in members[1 - number].source.assignment()]
                )
            case "model", int(number):
                members[number].model_fails = not members[number].model_fails
            case int(number), str(action):
                members[number].act(action)
    broker.failures.clear()
    for member in members:
        member.model_fails = False
    moved, turns = True, 0
    while moved or any(member.ownership.suspended for member in members):
        turns += 1
        assert turns < 1000, "the members go round in circles"
        moved = sum(member.act(action) for member in members for action in ("read", "score", "deliver")) > 0

    found = answered(broker)
    for _, partition in PARTITIONS:
        offsets = range(len(broker.logs["events", partition]))
        assert found["dead", partition] == [n for n in offsets if n % 3 == 0]
        assert found["predictions", partition] == [n for n in offsets if n % 3]


def test_reading_stops_while_enough_is_under_way_and_goes_on_afterwards() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for _ in range(4 * (SLICES_AHEAD + 2)):
        broker.append("events", 0, b"")

    read = [member.act("read") for _ in range(SLICES_AHEAD + 2)]

    assert read == [True] * SLICES_AHEAD + [False] * 2
    assert member.act("score")
    assert member.act("deliver")
    assert member.act("read")


def test_a_transaction_takes_everything_that_is_scored() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for number in range(9):
        broker.append("events", number % 3, b"")
    while member.act("read"):
        pass
    while member.act("score"):
        pass

    assert member.act("deliver")
    assert broker.committed == dict.fromkeys(PARTITIONS, 3)
    assert not member.act("deliver")


def test_what_was_withdrawn_during_the_poll_is_left_to_its_new_owner() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for partition in (0, 1):
        broker.append("events", partition, b"")
    poll = member.source.poll

    def poll_and_lose_one(**options: int) -> list[Record]:
        records = list(poll(**options))
        member.source.assign(PARTITIONS[1:])
        return records

    member.source.poll = poll_and_lose_one
    member.act("read")
    member.act("score")
    member.act("deliver")

    assert broker.committed == {PARTITIONS[1]: 1}


def test_threads_deliver_everything_and_drain() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for number in range(90):
        broker.append("events", number % 3, b"")
    broker.failures += ["commit", "", "answer"]

    member.pipeline.start()
    while sum(broker.committed.values()) < 90:
        member.pipeline.read(timeout_seconds=0.05)

    assert member.pipeline.drain(timeout_seconds=10)
    member.pipeline.close()
    assert sum(map(len, answered(broker).values())) == 90


def test_a_model_that_fails_keeps_everything_waiting_until_it_answers_again() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for number in range(9):
        broker.append("events", number % 3, b"")
    member.model_fails = True
    assert [member.act("read"), member.act("score")] == [True, True]

    assert not any(member.act(action) for action in ("read", "score", "deliver") * 3)
    assert answered(broker) == {}

    member.model_fails = False
    while sum(broker.committed.values()) < 9:
        member.act("score")
        member.act("read")
        member.act("deliver")
    assert sum(map(len, answered(broker).values())) == 9


def test_who_stops_does_not_wait_for_a_probe_of_every_slice_of_a_guilty_model() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for number in range(9):
        broker.append("events", number % 3, b"")
    while member.act("read"):
        pass
    member.model_fails, probes = True, []
    member.pipeline._breaker.probe = probes.append

    while not member.pipeline.is_idle:
        member.act("score")

    assert probes == []


def test_the_letter_of_a_killer_says_how_many_workers_it_cost() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    broker.append("events", 0, b"")
    for _ in range(DEATHS):
        FallibleMember(broker, PARTITIONS).act("read")
    member = FallibleMember(broker, PARTITIONS)

    def kill(records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        assert suspect
        member.pipeline._attempts.acquit()
        return [UnscorableError("it kills") for _ in records]

    member.pipeline._answer = kill
    assert all(member.act(action) for action in ("read", "score", "deliver"))

    [letter] = broker.logs["dead", 0]
    assert DeadLetter.from_headers(letter.headers).attempts == DEATHS + 1


def test_a_member_stays_in_its_group_while_it_drains() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    broker.append("events", 0, b"")
    assert member.act("read")
    polls: list[bool] = []

    def poll(**_: object) -> list[Record]:
        polls.append(member.source._paused)
        return []

    member.source.poll = poll

    assert not member.pipeline.drain(timeout_seconds=0.01)
    assert polls
    assert all(polls)


def test_a_member_polls_on_while_it_cannot_go_back() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    for _ in range(6):
        broker.append("events", 0, b"")
    broker.failures.append("commit")
    assert [member.act(action) for action in ("read", "score", "deliver")] == [True] * 3
    rewind, poll, polls = member.source.rewind, member.source.poll, list[bool]()

    def refuse() -> None:
        raise BrokerUnreachableError("an open transaction may change the committed offsets")

    def count(**options: int) -> Sequence[Record]:
        polls.append(member.source._paused)
        return poll(**options)

    member.source.rewind, member.source.poll = refuse, count
    assert [member.act("read") for _ in range(3)] == [False] * 3
    assert polls == [True] * 3
    member.source.rewind = rewind
    while sum(broker.committed.values()) < 6:
        assert sum(member.act(action) for action in ("read", "score", "deliver")) > 0

    assert sorted(answered(broker)["dead", 0] + answered(broker)["predictions", 0]) == list(range(6))


def test_what_a_failed_delivery_left_open_is_settled_before_anything_is_read_again() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    settled: list[str] = []
    member.pipeline._delivery._sink.settle = lambda: settled.append("settled")
    broker.append("events", 0, b"")
    broker.failures.append("commit")
    for action in ("read", "score", "deliver", "read"):
        member.act(action)
    assert settled == []
    assert member.ownership.suspended
    assert not member.pipeline.drain(timeout_seconds=0)

    assert member.act("deliver")
    assert settled == ["settled"]
    assert member.pipeline.drain(timeout_seconds=0)
    assert member.act("read")
    assert not member.act("deliver")
    assert settled == ["settled"]


def test_a_breaker_that_closes_while_reading_waits_for_room_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS[:1])
    counts = {0: 3, 1: 12}
    for partition, count in counts.items():
        for _ in range(count):
            broker.append("events", partition, b"")
    member.act("read")
    answer = member.pipeline._answer

    def gain_a_partition_and_fail(records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        member.source.assign(PARTITIONS[:2])
        broker.refusals = 1  # the note where its records begin
        member.act("read")
        member.model_fails = True
        return answer(records, suspect=suspect)

    member.pipeline._answer = gain_a_partition_and_fail
    member.act("score")
    member.pipeline._answer = answer
    assert member.ownership.suspended
    changed = member.pipeline._under_way._changed
    wait_for = changed.wait_for

    def close_meanwhile(condition: Callable[[], bool], timeout_seconds: float) -> bool:
        assert not condition()
        member.model_fails = False
        member.act("score")
        return wait_for(condition, timeout_seconds)

    with monkeypatch.context() as patch:
        patch.setattr(changed, "wait_for", close_meanwhile)
        member.act("read")
    while sum(member.act(action) for action in ("read", "score", "deliver")) or member.ownership.suspended:
        pass

    found = answered(broker)
    for partition, count in counts.items():
        assert sorted(found["dead", partition] + found["predictions", partition]) == list(range(count))


@pytest.mark.parametrize(("partitions", "finished"), [(PARTITIONS, True), ([], False)])
def test_a_backfill_is_finished_where_its_partitions_are(partitions: list[Partition], finished: bool) -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, partitions)
    member.pipeline._intake._until = dict.fromkeys(PARTITIONS, 0)

    assert member.pipeline.is_finished == finished


class TestOwnership:
    def test_a_claim_keeps_what_was_polled_in_the_current_epoch(self) -> None:
        ownership = Ownership()
        ownership.grant(PARTITIONS)
        epochs = ownership.epochs(PARTITIONS[:2])

        with ownership.claim(epochs):
            pass
        ownership.withdraw(PARTITIONS[2:])
        with ownership.claim(epochs):
            pass

    @pytest.mark.parametrize("change", ["withdraw", "forget", "regrant", "suspend", "resume"])
    def test_a_claim_on_an_epoch_that_is_over_is_refused(self, change: str) -> None:
        ownership = Ownership()
        ownership.grant(PARTITIONS)
        epochs = ownership.epochs(PARTITIONS)
        ends = {
            "withdraw": lambda: ownership.withdraw(PARTITIONS[:1]),
            "forget": lambda: ownership.forget(PARTITIONS[:1]),
            "regrant": lambda: ownership.grant(PARTITIONS[:1]),
            "suspend": ownership.suspend,
            "resume": lambda: (ownership.suspend(), ownership.resume()),
        }
        ends[change]()

        def claim() -> None:
            with ownership.claim(epochs):
                pass

        with pytest.raises(DeliveryError):
            claim()

    def test_who_withdraws_waits_for_a_claim_but_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("worker.stream.ownership.WITHDRAW_SECONDS", 0.05)
        ownership = Ownership()
        ownership.grant(PARTITIONS)

        with ownership.claim(ownership.epochs(PARTITIONS)):
            ownership.withdraw(PARTITIONS)

        assert ownership.epochs(PARTITIONS) == {}

    def test_who_reads_the_epochs_never_meets_a_table_that_changes(self) -> None:
        ownership = Ownership()
        ownership.grant(PARTITIONS)

        def lose_one_after_the_first() -> Iterator[Partition]:
            yield PARTITIONS[0]
            # As on another thread, between the look at a partition and the look at its epoch.
            ownership.forget(PARTITIONS)
            yield from PARTITIONS[1:]

        found = ownership.epochs(lose_one_after_the_first())

        assert list(found) == PARTITIONS
        assert ownership.epochs(PARTITIONS) == {}

    def test_an_empty_assignment_counts_as_joined(self) -> None:
        ownership = Ownership()
        assert not ownership.joined
        ownership.grant([])
        assert ownership.joined


def test_errors_that_cannot_be_retried_come_out() -> None:
    broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
    member = FallibleMember(broker, PARTITIONS)
    broker.append("events", 0, b"")

    def refuse(*_: object, **__: object) -> None:
        raise LimelightError("no")

    member.pipeline._delivery.deliver = refuse
    member.act("read")
    member.act("score")
    with pytest.raises(LimelightError, match="no"):
        member.act("deliver")

"""What a member does about a model, a delivery or a broker that fails: nothing is lost, and nothing answered twice."""

from collections.abc import Callable, Sequence

import pytest
from fallible import PARTITIONS, FallibleMember, answered, fill_broker

from worker.answers.answering import Answer
from worker.errors import BrokerUnreachableError, LimelightError, UnscorableError
from worker.messages import DeadLetter
from worker.ports import Record
from worker.stream.attempts import DEATHS

pytestmark = pytest.mark.fast


def test_a_model_that_fails_keeps_everything_waiting_until_it_answers_again() -> None:
    broker = fill_broker(3, 3, 3)
    member = FallibleMember(broker, PARTITIONS)
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
    broker = fill_broker(3, 3, 3)
    member = FallibleMember(broker, PARTITIONS)
    while member.act("read"):
        pass
    member.model_fails, probes = True, []
    member.pipeline._breaker.probe = probes.append

    while not member.pipeline.is_idle:
        member.act("score")

    assert probes == []


def test_the_letter_of_a_killer_says_how_many_workers_it_cost() -> None:
    broker = fill_broker(1)
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


def test_a_member_polls_on_while_it_cannot_go_back() -> None:
    broker = fill_broker(6)
    member = FallibleMember(broker, PARTITIONS)
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
    broker = fill_broker()
    member = FallibleMember(broker, PARTITIONS)
    settled: list[str] = []
    sink = member.pipeline._delivery._sink
    settle = sink.settle

    def note_and_settle() -> None:
        settled.append("settled")
        settle()

    sink.settle = note_and_settle
    broker.append("events", 0, b"")
    broker.failures.append("commit")
    for action in ("read", "score", "deliver", "read"):
        member.act(action)
    assert settled == []
    assert member.pipeline.unsettled_seconds > 0
    assert member.ownership.suspended
    assert not member.pipeline.drain(timeout_seconds=0)

    assert member.act("deliver")
    assert settled == ["settled"]
    assert member.pipeline.unsettled_seconds == 0
    assert member.pipeline.drain(timeout_seconds=0)
    assert member.act("read")
    assert not member.act("deliver")
    assert settled == ["settled"]


def test_who_tries_to_settle_while_the_brokers_are_away_does_not_count_as_stalled() -> None:
    """Slices that were scored meanwhile wait, and nobody is idle: only turns that end tell that nothing hangs."""
    broker = fill_broker(8)
    member = FallibleMember(broker, PARTITIONS)

    def refuse() -> None:
        raise BrokerUnreachableError("the brokers are away")

    def score_another_and_fail(*_: object, **__: object) -> None:
        assert member.act("score")
        refuse()

    member.pipeline._delivery.deliver, member.pipeline._delivery.settle = score_another_and_fail, refuse
    assert [member.act(action) for action in ("read", "read", "score", "deliver")] == [True] * 4
    assert not member.pipeline.is_idle
    turns = []
    for _ in range(3):
        member.act("deliver")
        turns.append(member.pipeline.finished)

    assert turns == sorted(set(turns)), "no turn ended"


def test_a_breaker_that_closes_while_reading_waits_for_room_leaves_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = (3, 12)
    broker = fill_broker(*counts)
    member = FallibleMember(broker, PARTITIONS[:1])
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
    for partition, count in enumerate(counts):
        assert sorted(found["dead", partition] + found["predictions", partition]) == list(range(count))


def test_errors_that_cannot_be_retried_come_out() -> None:
    broker = fill_broker(1)
    member = FallibleMember(broker, PARTITIONS)

    def refuse(*_: object, **__: object) -> None:
        raise LimelightError("no")

    member.pipeline._delivery.deliver = refuse
    member.act("read")
    member.act("score")
    with pytest.raises(LimelightError, match="no"):
        member.act("deliver")

"""A commit that was given up may arrive all the same. What was committed after it must not be lost by that."""

from contextlib import closing, suppress
from typing import Any

import pytest

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Committed
from worker.transport.deadline import Deadline

PATIENCE_SECONDS = 60


def lose_commits(source: Any, monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """The next commits go out, as far as the client can tell, and their connections break before the answers."""
    if hasattr(source, "_lookup"):
        from confluent_kafka import KafkaError

        commits = source._commits

        def lose(*_: Any) -> None:
            commits.unanswered += 1
            commits.take_answer(KafkaError(KafkaError._TRANSPORT), [])
            monkeypatch.undo()

        monkeypatch.setattr(commits, "send", lose)
        return

    from kafka.errors import KafkaConnectionError
    from kafka.future import Future
    from kafka.protocol.consumer import OffsetCommitRequest

    manager, lost = source._consumer._coordinator._manager, []
    send = manager.send

    def lose_or_send(request: Any, *args: Any, **options: Any) -> Any:
        if isinstance(request, OffsetCommitRequest) and len(lost) < times:
            lost.append(request)
            return Future().failure(KafkaConnectionError("lost"))
        return send(request, *args, **options)

    monkeypatch.setattr(manager, "send", lose_or_send)


def commit_as(group: Any, metadata: Any, offset: int) -> None:
    """What an old connection would bring now: a commit of the member that `metadata` describes."""
    sink = group.connections().open_sink(transactional_id=f"{group.name}.late", source=_Named(metadata))
    with closing(sink):
        sink.deliver([], {(group.topic, 0): offset})


class _Named:
    """A source only by what it says of its member."""

    def __init__(self, metadata: Any) -> None:
        self._metadata = metadata
        self.membership = self
        self.commit_soon = None

    def group_metadata(self, *, anew: bool) -> Any:
        return self._metadata

    def fenced_or_expired(self, kind: str, name: str) -> DeliveryError:
        return DeliveryError(f"{kind} {name} is refused")

    def await_news(self, *, within_seconds: float) -> None:
        pass


def join_anew(source: Any) -> None:
    """What a rewind leads to, before a heartbeat tells anything."""
    with suppress(BrokerUnreachableError):
        source.rewind()
    if hasattr(source, "_join_anew"):
        source._join_anew()


def read_again(member: Any) -> list[int]:
    """Rewinds as the pipeline does it, and reads all three records."""
    deadline, offsets = Deadline(PATIENCE_SECONDS), []
    member.ownership.suspend()
    while len(offsets) < 3:
        assert deadline.remaining_seconds() > 0, "it did not read again"
        with suppress(BrokerUnreachableError):
            if member.ownership.suspended:
                member.source.pause()
                member.source.poll(max_records=1, timeout_seconds=0)
                member.source.rewind()
                member.ownership.resume()
            member.source.resume()
            offsets += [record.offset for record in member.source.poll(max_records=10, timeout_seconds=0.1)]
    return offsets


@pytest.mark.kafka
def test_what_was_committed_since_is_not_set_back_by_a_commit_that_comes_late(
    kafka_group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.source.COMMIT_SECONDS", 0.5)
    kafka_group.fill(3)
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll(at_least=3)
    before = member.source.group_metadata(anew=True)
    with monkeypatch.context() as patched:
        lose_commits(member.source, patched, times=99)
        with pytest.raises(DeliveryError):
            member.source.commit({home: Committed(0, "late")})

    assert read_again(member) == [0, 1, 2]
    member.open_sink().deliver([], {home: 3})
    with pytest.raises(DeliveryError, match=r"refused|IllegalGeneration|ILLEGAL_GENERATION"):
        commit_as(kafka_group, before, 1)
    assert member.source.committed([home])[home].offset == 3


@pytest.mark.kafka
def test_an_attempt_that_was_lost_may_come_late_although_the_next_one_was_taken(
    broker: str, kafka_group_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(kafka_group_type(broker, "kafka-python")) as group:
        group.fill(3)
        member, home = group.join(), (group.topic, 0)
        member.poll(at_least=3)
        before = member.source.group_metadata(anew=True)
        lose_commits(member.source, monkeypatch, times=1)
        with pytest.raises(DeliveryError, match="took a commit"):
            member.source.commit({home: Committed(0, "taken")})

        assert read_again(member) == [0, 1, 2]
        after = member.source.group_metadata(anew=True)
        # Either is enough for the group to refuse what comes late.
        assert (after.generation_id, after.member_id) != (before.generation_id, before.member_id)
        assert member.source.committed([home]) == {home: Committed(0, "taken")}


@pytest.mark.kafka
def test_where_answers_may_be_repeated_nobody_joins_anew(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would repeat what was delivered and is not committed yet."""
    monkeypatch.setattr("worker.transport.kafka_python.source.COMMIT_SECONDS", 0.5)
    kafka_group.fill(3)
    member, home = kafka_group.join(delivery="at_least_once"), (kafka_group.topic, 0)
    member.poll(at_least=3)
    name = member.source.membership.member_id
    with monkeypatch.context() as patched:
        lose_commits(member.source, patched, times=99)
        with pytest.raises(DeliveryError):
            member.source.commit({home: Committed(1, "")})
    member.open_sink().deliver([], {home: 2})

    member.source.rewind()

    assert [record.offset for record in member.poll(at_least=1)] == [2]
    assert member.source.membership.member_id == name


@pytest.mark.kafka
def test_who_was_answered_does_not_join_anew(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka_group.fill(3)
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll(at_least=3)
    member.source.commit({home: Committed(0, "taken")})
    name = member.source.membership.member_id
    monkeypatch.setattr(member.ownership, "part", lambda: pytest.fail("joins anew"))

    assert read_again(member) == [0, 1, 2]
    assert member.source.membership.member_id == name


@pytest.mark.kafka
def test_who_was_replaced_meanwhile_does_not_join_anew(kafka_group: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.source.COMMIT_SECONDS", 0.5)
    kafka_group.fill(1)
    member, home = kafka_group.join(), (kafka_group.topic, 0)
    member.poll(at_least=1)
    with monkeypatch.context() as patched:
        lose_commits(member.source, patched, times=99)
        with pytest.raises(DeliveryError):
            member.source.commit({home: Committed(0, "late")})
    successor = kafka_group.join()
    successor.poll()

    with pytest.raises(FencedError, match="'one'"):
        join_anew(member.source)

    successor.open_sink().deliver([], {home: 1})

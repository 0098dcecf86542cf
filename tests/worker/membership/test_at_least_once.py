"""Delivery without transactions: what is confirmed may be repeated, never lost."""

from typing import Any

import pytest
from assembled import Member
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from worker.errors import DeliveryError, OutputRefusedError
from worker.ports import Committed, Output, Partition, Record
from worker.transport.deadline import Deadline
from worker.transport.deferred import DeferredOffsets
from worker.transport.memory import MemoryAtLeastOnceSink, MemoryBroker


def output(group: Any, value: bytes) -> Output:
    return Output(group.topic, 0, None, value, [], 1)


def test_outputs_are_written_and_their_offsets_committed_by_a_poll(group: Any) -> None:
    group.fill(3)
    member, home = group.join(delivery="at_least_once"), (group.topic, 0)
    member.poll(at_least=3)

    member.open_sink().deliver([output(group, b"answer")], {home: 2})

    assert group.read()[3:] == [b"answer"]
    member.poll()
    assert member.source.committed([home]) == {home: Committed(2, "")}


def test_the_close_commits_what_was_delivered(group: Any) -> None:
    group.fill(3)
    before, home = group.join(delivery="at_least_once"), (group.topic, 0)
    before.poll(at_least=3)
    before.open_sink().deliver([], {home: 2})
    before.source.close()

    after = group.join(delivery="at_least_once")

    assert [record.offset for record in after.poll(at_least=1)] == [2]


def test_a_rewind_goes_no_further_back_than_what_was_delivered(group: Any) -> None:
    group.fill(5)
    member, home = group.join(delivery="at_least_once"), (group.topic, 0)
    member.poll(at_least=5)
    member.open_sink().deliver([], {home: 3})

    member.source.rewind()

    assert [record.offset for record in member.poll(at_least=2)] == [3, 4]


def test_a_delivery_whose_claim_is_refused_commits_nothing(group: Any) -> None:
    group.fill(2)
    member, home = group.join(delivery="at_least_once"), (group.topic, 0)
    member.poll(at_least=2)
    sink = member.open_sink()
    epochs = member.ownership.epochs([home])
    member.ownership.suspend()

    with pytest.raises(DeliveryError, match="withdrawn"):
        sink.deliver([output(group, b"twice")], {home: 2}, claim=lambda: member.ownership.claim(epochs))

    assert member.source.committed([home]) == {}


@pytest.mark.kafka
def test_what_the_broker_refuses_is_not_committed_and_the_next_delivery_is(kafka_group: Any) -> None:
    member, home = kafka_group.join(delivery="at_least_once"), (kafka_group.topic, 0)
    member.poll()
    sink = member.open_sink()

    with pytest.raises(OutputRefusedError, match="refuses 1 of 1 outputs"):
        sink.deliver([output(kafka_group, b"x" * 2_000_000)], {home: 7})
    assert member.source.committed([home]) == {}
    sink.deliver([output(kafka_group, b"after")], {home: 1})

    assert kafka_group.read() == [b"after"]
    assert member.source.committed([home]) == {home: Committed(1, "")}


@pytest.mark.kafka
def test_what_is_delivered_while_a_partition_moves_is_committed_before_it_is_gone(kafka_group: Any) -> None:
    """The claim of a delivery holds the partitions: whoever revokes them waits for it, and then finds its offsets."""
    kafka_group.fill(5, partition=0)
    kafka_group.fill(5, partition=1)
    first, second = (kafka_group.join(instance=name, delivery="at_least_once") for name in ("first", "second"))
    first.poll(at_least=10)
    withdraw, moved = first.ownership.withdraw, []

    def deliver_at_the_last_moment(partitions: Any) -> None:
        moved.extend(partitions)
        first.source.commit_soon(dict.fromkeys(moved, 3))
        withdraw(partitions)

    first.ownership.withdraw = deliver_at_the_last_moment
    read: list[Record] = []
    deadline = Deadline(30)
    while not read:
        assert deadline.remaining_seconds() > 0, "no partition moved"
        first.source.poll(max_records=10, timeout_seconds=0.1)
        read += second.source.poll(max_records=10, timeout_seconds=0.1)

    assert [record.offset for record in read] == [3, 4]
    assert {record.home for record in read} == set(moved)


@pytest.mark.kafka
def test_what_was_delivered_by_a_member_that_was_cast_out_is_never_committed(kafka_group: Any) -> None:
    """Its partitions are lost: another member may have committed more since."""
    kafka_group.fill(5)
    member, home = kafka_group.join(delivery="at_least_once"), (kafka_group.topic, 0)
    member.poll(at_least=5)
    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        admin.remove_group_members(kafka_group.name, [MemberToRemove(group_instance_id="one")])
    member.source.commit_soon({home: 3})

    again = member.poll(at_least=5)

    assert [record.offset for record in again] == [0, 1, 2, 3, 4]
    assert member.source.committed([home]) == {}


@pytest.mark.kafka
def test_no_transactional_id_is_used(kafka_group: Any) -> None:
    member = kafka_group.join(delivery="at_least_once")
    member.poll()
    member.open_sink().deliver([output(kafka_group, b"x")], {(kafka_group.topic, 0): 1})

    with KafkaAdminClient(bootstrap_servers=kafka_group.servers) as admin:
        listed = str(admin.list_transactions())

    assert kafka_group.name not in listed


@pytest.mark.fast
class TestDeferredOffsets:
    home = ("events", 0)

    def test_what_could_not_be_committed_waits_and_what_moved_on_meanwhile_too(self) -> None:
        committed: list[Any] = []
        outcomes = [DeliveryError("no answer"), None, None]

        def commit(offsets: Any) -> None:
            if error := outcomes.pop(0):
                raise error
            committed.append(offsets)
            if len(committed) == 1:
                deferred.add({self.home: 9})

        deferred = DeferredOffsets(commit)
        deferred.add({self.home: 5})
        deferred.try_to_flush()
        deferred.flush()
        deferred.flush()
        deferred.flush()

        assert committed == [{self.home: Committed(5, "")}, {self.home: Committed(9, "")}]

    def test_a_failed_flush_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        def refuse(_: Any) -> None:
            raise DeliveryError("the group moved on")

        deferred = DeferredOffsets(refuse)
        deferred.add({self.home: 5})

        deferred.try_to_flush()

        assert [record.getMessage() for record in caplog.records] == [
            "offsets of delivered slices wait to be committed: the group moved on"
        ]
        with pytest.raises(DeliveryError):
            deferred.flush()


PARTITIONS = [("events", number) for number in range(3)]


class Worker(Member):
    """Answers with the offset, at least once."""

    def __init__(self, broker: MemoryBroker, partitions: list[Partition]) -> None:
        super().__init__(
            broker,
            partitions,
            answer=lambda records, *, suspect: [str(record.offset).encode() for record in records],
            open_sink=lambda broker, source: MemoryAtLeastOnceSink(broker, commit_soon=source.commit_soon),
        )


class Scene:
    """Two workers that share a topic."""

    def __init__(self) -> None:
        self.broker = MemoryBroker({"events": 3, "predictions": 3, "dead": 3})
        self.workers = [Worker(self.broker, PARTITIONS), Worker(self.broker, [])]

    def play(self, step: tuple[object, Any]) -> None:
        match step:
            case "rebalance", first:
                self._share({home for home in PARTITIONS if home[1] in first})
            case "fail", int(times):
                self.broker.failures += ["send"] * times
            case "refuse", int(times):
                self.broker.refusals += times
            case "crash", int(number):
                self.workers[number] = Worker(self.broker, list(self.workers[number].source.assignment()))
            case "append", int(partition):
                for _ in range(3):
                    self.broker.append("events", partition, b"")
            case int(number), str(action):
                self.workers[number].act(action)

    def finish(self) -> None:
        self.broker.failures.clear()
        moved, turns = True, 0
        while moved or any(worker.ownership.suspended for worker in self.workers):
            turns += 1
            assert turns < 1000, "the workers go round in circles"
            moved = sum(worker.act(act) for worker in self.workers for act in ("read", "score", "deliver")) > 0

    def answered(self, home: Partition) -> set[int]:
        return {int(record.value or b"") for record in self.broker.logs["predictions", home[1]]}

    def _share(self, of_first: set[Partition]) -> None:
        """Cooperatively: what moves is withdrawn before it is granted."""
        shares = [of_first, set(PARTITIONS) - of_first]
        for worker, share in zip(self.workers, shares, strict=True):
            worker.source.assign(sorted(share & set(worker.source.assignment())))
        for worker, share in zip(self.workers, shares, strict=True):
            worker.source.assign(sorted(share))


steps = st.one_of(
    st.tuples(st.integers(0, 1), st.sampled_from(["read", "score", "deliver"])),
    st.tuples(st.just("rebalance"), st.sets(st.integers(0, 2))),
    st.tuples(st.sampled_from(["fail", "refuse"]), st.integers(1, 2)),
    st.tuples(st.just("crash"), st.integers(0, 1)),
    st.tuples(st.just("append"), st.integers(0, 2)),
)


@pytest.mark.fast
@settings(max_examples=200)
@given(st.lists(steps, max_size=60))
def test_nothing_is_ever_committed_that_was_not_answered(played: list[tuple[object, Any]]) -> None:
    scene = Scene()
    for step in played:
        scene.play(step)
        for home, offset in scene.broker.committed.items():
            assert set(range(offset)) <= scene.answered(home)
    scene.finish()

    for home in PARTITIONS:
        assert scene.answered(home) == set(range(len(scene.broker.logs[home])))

"""Two workers of one group on the in-memory broker, their stages taken in any order, partitions moving between them."""

from functools import partial

import pytest
from fallible import PARTITIONS, FallibleMember, answered, fill_broker
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.ports import Partition, Record
from worker.stream.pipeline import SLICES_AHEAD
from worker.transport.memory import MemoryBroker

pytestmark = pytest.mark.fast


def rebalance(members: list[FallibleMember], first: set[int]) -> None:
    """Cooperatively: what moves is withdrawn before it is granted."""
    wanted = [[p for p in PARTITIONS if (p[1] in first) == (member is members[0])] for member in members]
    for member, partitions in zip(members, wanted, strict=True):
        member.source.assign([p for p in partitions if p in member.source.assignment()])
    for member, partitions in zip(members, wanted, strict=True):
        member.source.assign(partitions)


STAGES = ("read", "score", "deliver")
shares = st.sets(st.integers(0, 2))
actions = st.one_of(
    st.tuples(st.integers(0, 1), st.sampled_from(STAGES)),
    # As chance alone would have it, few records would ever come as far as a transaction.
    st.tuples(st.integers(0, 1), st.just("all")),
    st.tuples(st.just("rebalance"), shares),
    st.tuples(st.sampled_from(["written", "pending"]), shares),
    st.tuples(st.just("fail"), st.sampled_from(["send", "offsets", "commit", "late", "answer"])),
    st.tuples(st.just("append"), st.integers(0, 2)),
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.tuples(st.just("model"), st.integers(0, 1)),
)


def play(step: tuple[object, object], broker: MemoryBroker, members: list[FallibleMember]) -> None:
    match step:
        case "rebalance", set(first):
            rebalance(members, first)
        case "written" | "pending" as point, set(first):
            # The next delivery comes so far, and before it goes on partitions move.
            broker.meanwhile[point] = partial(rebalance, members, first)
        case "fail", str(where):
            broker.failures.append(where)
        case "append", int(partition):
            for _ in range(3):
                broker.append("events", partition, b"")
        case "die", int(number):
            # Its successor ends the transaction that it left open, if there is one.
            dead, members[number] = members[number], FallibleMember(broker, [], name=str(number))
            dead.source.assign([])
            members[number].source.assign([p for p in PARTITIONS if p not in members[1 - number].source.assignment()])
        case "model", int(number):
            members[number].model_fails = not members[number].model_fails
        case int(number), str(action):
            for stage in STAGES if action == "all" else [action]:
                members[number].act(stage)


@settings(max_examples=300)
@given(st.lists(actions, max_size=80))
def test_any_interleaving_answers_every_record_once_and_in_order(steps: list[tuple[object, object]]) -> None:
    broker = fill_broker(4, 4, 4)
    members = [FallibleMember(broker, PARTITIONS, name="0"), FallibleMember(broker, [], name="1")]
    for step in steps:
        play(step, broker, members)
    broker.failures.clear()
    broker.meanwhile.clear()
    for member in members:
        member.model_fails = False
    moved, turns = True, 0
    while moved or any(member.ownership.suspended for member in members):
        turns += 1
        assert turns < 1000, "the members go round in circles"
        moved = sum(member.act(stage) for member in members for stage in STAGES) > 0

    found = answered(broker)
    for _, partition in PARTITIONS:
        offsets = range(len(broker.logs["events", partition]))
        assert found["dead", partition] == [n for n in offsets if n % 3 == 0]
        assert found["predictions", partition] == [n for n in offsets if n % 3]


def test_reading_stops_while_enough_is_under_way_and_goes_on_afterwards() -> None:
    broker = fill_broker(4 * (SLICES_AHEAD + 2))
    member = FallibleMember(broker, PARTITIONS)

    read = [member.act("read") for _ in range(SLICES_AHEAD + 2)]

    assert read == [True] * SLICES_AHEAD + [False] * 2
    assert member.act("score")
    assert member.act("deliver")
    assert member.act("read")


def test_a_fast_model_scores_slices_together_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.stream.pace.SCORING_SECONDS", 60)  # no machine is too slow for four records
    broker = fill_broker(24)
    member = FallibleMember(broker, PARTITIONS)
    while member.act("read"):
        pass

    turns = 0
    while member.act("score"):
        turns += 1

    # Six slices: one to get to know the model, four together, and the last.
    assert turns == 3


def test_a_transaction_takes_everything_that_is_scored() -> None:
    broker = fill_broker(3, 3, 3)
    member = FallibleMember(broker, PARTITIONS)
    while member.act("read"):
        pass
    while member.act("score"):
        pass

    assert member.act("deliver")
    assert broker.committed == dict.fromkeys(PARTITIONS, 3)
    assert not member.act("deliver")


def test_what_was_withdrawn_during_the_poll_is_left_to_its_new_owner() -> None:
    broker = fill_broker(1, 1)
    member = FallibleMember(broker, PARTITIONS)
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
    broker = fill_broker(30, 30, 30)
    member = FallibleMember(broker, PARTITIONS)
    broker.failures += ["commit", "", "answer"]

    member.pipeline.start()
    while sum(broker.committed.values()) < 90:
        member.pipeline.read(timeout_seconds=0.05)

    assert member.pipeline.drain(timeout_seconds=10)
    member.pipeline.close()
    assert sum(map(len, answered(broker).values())) == 90


def test_a_member_stays_in_its_group_while_it_drains() -> None:
    broker = fill_broker(1)
    member = FallibleMember(broker, PARTITIONS)
    assert member.act("read")
    polls: list[bool] = []

    def poll(**_: object) -> list[Record]:
        polls.append(member.source._paused)
        return []

    member.source.poll = poll

    assert not member.pipeline.drain(timeout_seconds=0.01)
    assert polls
    assert all(polls)


@pytest.mark.parametrize(("partitions", "finished"), [(PARTITIONS, True), ([], False)])
def test_a_backfill_is_finished_where_its_partitions_are(partitions: list[Partition], finished: bool) -> None:
    broker = fill_broker()
    member = FallibleMember(broker, partitions)
    member.pipeline._intake._until = dict.fromkeys(PARTITIONS, 0)

    assert member.pipeline.is_finished == finished

"""What becomes of a slice of which the brokers refuse some outputs, whether they name them or not."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer, Skipped
from worker.clock import SystemClock
from worker.errors import DeadLetterRefusedError, DecodeError, DeliveryError
from worker.messages import DeadLetter
from worker.ports import Record
from worker.stream import outputs
from worker.stream.delivery import SliceDelivery
from worker.stream.ownership import Ownership
from worker.transport.memory import MemoryBroker, MemorySink

pytestmark = pytest.mark.fast

HOME = ("events", 0)


class Desk:
    """A delivery on the in-memory broker."""

    def __init__(self, *, names_refused: bool) -> None:
        self.broker = MemoryBroker({"events": 1, "predictions": 1, "dead": 1})
        self.broker.names_refused = names_refused
        self.broker.compacted.add("predictions")
        self.ownership = Ownership()
        self.ownership.grant([HOME])
        self.told: list[tuple[int, str]] = []
        self.delivery = SliceDelivery(
            MemorySink(self.broker),
            self.ownership,
            output_topic="predictions",
            dead_letter_topic="dead",
            group_id="group",
            clock=SystemClock(),
            committed=self._note,
        )

    def _note(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        self.told += [(r.offset, getattr(a, "stage", "")) for r, a in zip(records, answers, strict=True)]

    def deliver(self, keys: Sequence[bytes | None], answers: Sequence[Answer], **options: Any) -> None:
        records = [Record(*HOME, n, 0, key, b"value", []) for n, key in enumerate(keys)]
        self.delivery.deliver(records, answers, self.ownership.epochs([HOME]), **options)

    def count_transactions(self) -> list[int]:
        """Gets the number of outputs of each transaction that is tried from now on."""
        tried: list[int] = []
        check = self.delivery._sink._check
        self.delivery._sink._check = lambda outputs: (tried.append(len(outputs)), check(outputs))
        return tried

    def answered(self) -> list[int]:
        return [msgspec.json.decode(r.value or b"") for r in self.broker.logs["predictions", 0]]

    def refused(self) -> list[tuple[int, str]]:
        accounts = [DeadLetter.from_headers(r.headers) for r in self.broker.logs["dead", 0]]
        return [(account.source.offset, account.stage) for account in accounts]


kinds = st.lists(st.sampled_from(["answer", "keyless answer", "refusal", "tombstone"]), min_size=1, max_size=40)


@given(kinds, st.booleans())
def test_the_guilty_alone_are_refused_and_order_is_kept(kinds: list[str], names_refused: bool) -> None:
    desk = Desk(names_refused=names_refused)
    answers: list[Answer] = []
    for number, kind in enumerate(kinds):
        other: dict[str, Answer] = {"refusal": DecodeError("no"), "tombstone": Skipped.TOMBSTONE}
        answers.append(other.get(kind, str(number).encode()))

    desk.deliver([b"key" if kind == "answer" else None for kind in kinds], answers)

    stages = {"answer": "", "keyless answer": "deliver", "refusal": "decode", "tombstone": ""}
    assert desk.told == [(number, stages[kind]) for number, kind in enumerate(kinds)]
    assert desk.answered() == [n for n, kind in enumerate(kinds) if kind == "answer"]
    assert desk.refused() == [(n, stages[k]) for n, k in enumerate(kinds) if k in ("keyless answer", "refusal")]
    assert desk.broker.committed == {HOME: len(kinds)}


@pytest.mark.parametrize("names_refused", [True, False])
def test_a_letter_that_is_refused_becomes_a_pointer(names_refused: bool) -> None:
    desk = Desk(names_refused=names_refused)
    refuse = desk.delivery._sink._check

    def check(outputs: Sequence[object]) -> None:
        # What a broker does that enforces a schema on values.
        refuse([o._replace(topic="predictions", key=None if o.value and o.topic == "dead" else b"") for o in outputs])

    desk.delivery._sink._check = check
    desk.deliver([b"key"] * 3, [b"0", DecodeError("not JSON"), b"2"])

    [letter] = desk.broker.logs["dead", 0]
    assert (letter.key, letter.value) == (None, None)
    account = DeadLetter.from_headers(letter.headers)
    assert (account.source.offset, account.message) == (1, "not JSON")
    assert desk.answered() == [0, 2]


@pytest.mark.parametrize(("names_refused", "committed"), [(True, {}), (False, {HOME: 2})])
def test_who_takes_not_even_a_pointer_stops_the_worker_at_that_record(
    names_refused: bool, committed: dict[tuple[str, int], int]
) -> None:
    desk = Desk(names_refused=names_refused)
    desk.broker.compacted.add("dead")

    with pytest.raises(
        DeadLetterRefusedError, match=r"^events-0-2 can neither .* topic dead takes .*no key.*nothing was"
    ):
        desk.deliver([b"key", b"key", None, b"key"], [b"0", b"1", b"2", b"3"])

    assert desk.broker.committed == committed
    assert desk.answered() == list(range(committed.get(HOME, 0)))


def test_who_loses_the_partition_in_between_commits_no_more_of_it() -> None:
    desk = Desk(names_refused=False)
    note = desk.delivery._committed

    def note_and_lose(records: Sequence[Record], answers: Sequence[Answer]) -> None:
        note(records, answers)
        desk.ownership.withdraw([HOME])

    desk.delivery._committed = note_and_lose
    tried = desk.count_transactions()
    with pytest.raises(DeliveryError, match="withdrawn"):
        desk.deliver([b"key", b"key", None, b"key"], [b"0", b"1", b"2", b"3"])

    assert desk.answered() == [0, 1]
    assert desk.broker.committed == {HOME: 2}
    assert tried == [4, 2]


def test_who_loses_the_partition_does_not_look_for_the_guilty_any_longer() -> None:
    desk = Desk(names_refused=False)
    tried = desk.count_transactions()
    look_up, desk.broker.compacted = desk.delivery._part_without, {"predictions", "dead"}

    def lose_and_look_up(*given: Any) -> Any:
        desk.ownership.withdraw([HOME])
        return look_up(*given)

    desk.delivery._part_without = lose_and_look_up
    with pytest.raises(DeliveryError, match="withdrawn"):
        desk.deliver([None] * 8, [b"0"] * 8)

    assert tried == [8]


def test_who_ends_leaves_the_rest_of_a_refused_slice() -> None:
    desk = Desk(names_refused=False)
    tried = desk.count_transactions()

    with pytest.raises(DeliveryError, match="the worker ends"):
        desk.deliver([b"key"] * 7 + [None], [b"0"] * 8, is_ending=lambda: len(tried) == 2)

    assert tried == [8, 4]
    assert desk.broker.committed == {HOME: 4}


def test_a_limit_that_is_raised_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "LIMITS_SECONDS", 0)
    desk = Desk(names_refused=True)
    answer = msgspec.json.encode(int("1" * 400))
    desk.broker.limits["predictions"] = 300
    desk.deliver([b"key"], [answer])
    assert [stage for _, stage in desk.refused()] == ["encode"]

    del desk.broker.limits["predictions"]
    desk.deliver([b"key"], [answer])

    assert len(desk.refused()) == 1
    assert len(desk.broker.logs["predictions", 0]) == 1

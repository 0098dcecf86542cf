"""The checker itself: every finding is found, and nothing else."""

import pytest
from harness.ledger import Answer, Ledger, Sent, Source
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.fast

HEADERS = [("trace", b"1"), ("empty", None)]


def sent(partition: int, offset: int, *, expected: str = "prediction", at: float = 1.0) -> Sent:
    source = Source(partition, offset)
    return Sent(source, f"id-{partition}-{offset}", expected, at, b"key", b"value", HEADERS)


def answer(partition: int, offset: int, *, at: float = 2.0, home: int | None = None, **changes: object) -> Answer:
    fields = {"identity": Source(partition, offset), "kind": "prediction", "topic": "out", "letter": None, **changes}
    return Answer(partition=partition if home is None else home, arrived_seconds=at, timestamp_ms=0, **fields)


def letter(partition: int, offset: int, *, value: bytes = b"value", headers: list = HEADERS) -> Answer:
    taken = (b"key", value, [*headers, ("why", b"broken")])
    return answer(partition, offset, kind="dead letter", topic="dead", letter=taken)


def judged(records: list[Sent], answers: list[Answer]) -> dict[str, list]:
    ledger = Ledger()
    ledger.note_sent(records)
    ledger.note_answers(answers)
    verdict = ledger.judge()
    return {kind: getattr(verdict, kind) for kind in verdict.findings()}


def test_nothing_is_wrong_when_each_record_has_its_answer() -> None:
    records = [sent(0, 0), sent(1, 0, expected="dead letter"), sent(0, 1)]

    assert judged(records, [letter(1, 0), answer(0, 0), answer(0, 1)]) == {}


def test_lost_and_duplicated_are_told_apart() -> None:
    found = judged([sent(0, 0), sent(0, 1), sent(0, 2)], [answer(0, 0), answer(0, 2), answer(0, 2)])

    assert found == {"lost": [Source(0, 1)], "duplicated": [Source(0, 2)]}


def test_order_is_that_of_the_first_answers() -> None:
    records = [sent(0, 0), sent(0, 1), sent(0, 2)]

    again = judged(records, [answer(0, 0), answer(0, 1), answer(0, 0), answer(0, 1), answer(0, 2)])
    swapped = judged(records, [answer(0, 0), answer(0, 2), answer(0, 1)])

    assert again == {"duplicated": [Source(0, 0), Source(0, 1)]}
    assert swapped == {"disordered": [Source(0, 1)]}


def test_a_partition_that_answers_in_two_places_has_no_order() -> None:
    assert judged([sent(0, 0), sent(0, 1)], [answer(0, 0, home=3), answer(0, 1, home=2)]) == {
        "disordered": [Source(0, 1)]
    }


@pytest.mark.parametrize(
    "changed", [letter(0, 0, value=b"valuE"), letter(0, 0, headers=HEADERS[:1]), letter(0, 0, headers=[])]
)
def test_a_dead_letter_must_be_the_record_itself(changed: Answer) -> None:
    assert judged([sent(0, 0, expected="dead letter")], [changed]) == {"altered": [Source(0, 0)]}


def test_the_wrong_kind_of_answer_is_found() -> None:
    found = judged([sent(0, 0), sent(0, 1, expected="dead letter")], [letter(0, 0), answer(0, 1)])

    assert found == {"misjudged": [Source(0, 0), Source(0, 1)]}


def test_answers_to_nothing_are_stray() -> None:
    found = judged([sent(0, 0)], [answer(0, 0), answer(0, 7), answer(0, 1, identity=None)])

    assert found == {"stray": [Source(0, 7), None]}


def test_an_answer_may_name_the_id_of_its_record() -> None:
    records = [sent(0, 0), sent(0, 1)]

    assert judged(records, [answer(0, 0, identity="id-0-0"), answer(0, 1)]) == {}
    assert judged(records, [answer(0, 0, identity="id-0-0"), answer(0, 0)]) == {
        "duplicated": [Source(0, 0)],
        "lost": [Source(0, 1)],
    }


def test_duplicates_may_be_allowed() -> None:
    ledger = Ledger()
    ledger.note_sent([sent(0, 0)])
    ledger.note_answers([answer(0, 0), answer(0, 0)])

    assert ledger.judge().findings(duplicates_allowed=True) == {}
    assert ledger.judge().findings() == {"duplicated": "1, first Source(partition=0, offset=0)"}


def test_the_longest_wait_is_per_partition_and_counts_what_still_waits() -> None:
    ledger = Ledger()
    ledger.note_sent([sent(p, offset, at=10.0) for p in (0, 1, 2) for offset in range(4)])
    ledger.note_answers([answer(0, n, at=at) for n, at in enumerate((11.0, 12.0, 15.0, 15.5))])
    ledger.note_answers([answer(1, n, at=at) for n, at in enumerate((11.0, 11.5, 19.0))])

    waits = ledger.longest_waits(since=11.6, until=20.0)

    assert waits == {0: 3.0, 1: 7.5, 2: pytest.approx(8.4)}


def test_the_longest_confirmation_is_the_feeders_own_wait() -> None:
    ledger = Ledger()
    ledger.note_sent(
        [sent(0, 0, at=1.0), sent(1, 0, at=1.5), sent(0, 1, at=9.0), sent(1, 1, at=9.2), sent(0, 2, at=12.0)]
    )

    assert ledger.longest_confirmation(since=5.0) == 8.0
    assert ledger.longest_confirmation(since=10.0) == 3.0


@pytest.mark.parametrize("identity", [Source(0, 0), "id-0-0"])
def test_an_answer_may_overtake_the_confirmation_of_its_record(identity: object) -> None:
    ledger = Ledger()
    ledger.note_answers([answer(0, 0, identity=identity)])
    ledger.note_sent([sent(0, 0, at=5.0)])

    assert ledger.pending() == []
    assert ledger.reached(0) == 5.0
    assert ledger.reached(1) == 0.0
    assert ledger.judge().findings() == {}


def test_deleted_records_are_excused_but_not_the_answered_ones() -> None:
    ledger = Ledger()
    ledger.note_sent([sent(0, n) for n in range(5)])
    ledger.note_answers([answer(0, 0)])

    assert ledger.excuse(0, range(2, 4)) == 2
    assert ledger.judge().lost == [Source(0, 1), Source(0, 4)]


@given(st.permutations(range(12)), st.lists(st.sampled_from(range(12)), max_size=6))
def test_any_disorder_is_found_and_repeats_add_none(order: list[int], repeats: list[int]) -> None:
    records = [sent(0, n) for n in range(12)]

    found = judged(records, [answer(0, n) for n in order] + [answer(0, n) for n in repeats])

    behind = [n for place, n in enumerate(order) if place and n < max(order[:place])]
    assert found.get("disordered", []) == [Source(0, n) for n in behind]
    assert len(found.get("duplicated", [])) == len(repeats)
    assert "lost" not in found

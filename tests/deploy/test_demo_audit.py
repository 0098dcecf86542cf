"""The audit finds what it is there to find, one fault at a time."""

from collections.abc import Sequence

import msgspec
import pytest

from deploy.local.demo.audit import Audit, Auditor
from deploy.local.demo.malformed import KIND_HEADER
from deploy.local.demo.records import Stored
from worker.errors import DecodeError
from worker.messages import AttentionMap, Classification, DeadLetter, Headers, ModelRef, Position, Prediction

pytestmark = pytest.mark.fast

EVENTS, PREDICTIONS, DEAD_LETTERS = "in", "out", "dlq"
LABELS = ("billing", "praise")
HEADERS: Headers = [(KIND_HEADER, b"broken JSON"), ("trace", None), ("trace", b"\xff")]


def event(offset: int, *, label: str = "billing", partition: int = 0) -> Stored:
    value = msgspec.json.encode({"text": "please refund me", "label": label, "planted": [[7, 13]]})
    return Stored(EVENTS, partition, offset, 1_000 + offset, b"client-1", value, [])


def malformed(offset: int, *, partition: int = 0) -> Stored:
    return Stored(EVENTS, partition, offset, 1_000 + offset, b"k", b"{", HEADERS)


def prediction(source: Stored, *, label: str = "billing", partition: int | None = None) -> Stored:
    body = Prediction(
        id="1",
        source=source.position,
        output=Classification(label=label, score=0.9, probabilities={**dict.fromkeys(LABELS, 0.05), label: 0.9}),
        attention=[AttentionMap("tokens", ["token"], "text", [(0, 6), (7, 13), (14, 16)], [0.1, 0.8, 0.1], False)],
        model=ModelRef("m", "v", 1),
        event_timestamp_ms=source.timestamp_ms,
        scored_timestamp_ms=source.timestamp_ms + 5,
    )
    home = source.partition if partition is None else partition
    return Stored(PREDICTIONS, home, 0, 0, source.key, msgspec.json.encode(body), [])


def dead_letter(source: Stored) -> Stored:
    added = DeadLetter.of(source.position, DecodeError("no JSON."), "group").to_headers()
    return source._replace(topic=DEAD_LETTERS, headers=[*source.headers, *added])


def audit(events: Sequence[Stored], predictions: Sequence[Stored] = (), dead_letters: Sequence[Stored] = ()) -> Audit:
    auditor = Auditor()
    for record in events:
        auditor.take_event(record)
    for record in predictions:
        auditor.take_prediction(record)
    for record in dead_letters:
        auditor.take_dead_letter(record)
    return auditor.finish()


def test_a_stream_as_promised_has_no_findings() -> None:
    events = [event(0), event(1, label="praise"), malformed(2), event(3), event(0, partition=1)]
    found = audit(events, [prediction(events[i]) for i in (0, 1, 3, 4)], [dead_letter(events[2])])
    assert found.describe_findings() == []
    assert (found.predictions, found.dead_letters) == (4, 1)
    assert (found.well_formed, found.correct) == (4, 3)
    assert found.timestamps_ms[Position(EVENTS, 0, 3)] == 1_003


def test_labels_that_the_model_cannot_give_are_counted() -> None:
    events = [event(0), event(1, label="5 stars")]
    found = audit(events, [prediction(each) for each in events])
    assert (found.correct, found.unknown_labels) == (1, 1)
    assert found.describe_findings() == []


def test_a_lost_record_is_found() -> None:
    found = audit([event(0), event(1)], [prediction(event(0))])
    assert found.lost == [Position(EVENTS, 0, 1)]
    assert found.describe_findings() == ["1 records lost, first in-0-1"]


def test_a_record_that_was_predicted_twice_is_found() -> None:
    found = audit([event(0)], [prediction(event(0)), prediction(event(0))])
    assert found.duplicated == [Position(EVENTS, 0, 0)]
    assert found.correct == 1


def test_a_record_with_a_prediction_and_a_dead_letter_is_duplicated() -> None:
    found = audit([event(0)], [prediction(event(0))], [dead_letter(event(0))])
    assert found.duplicated == [Position(EVENTS, 0, 0)]


def test_answers_out_of_order_are_found() -> None:
    events = [event(offset) for offset in range(4)]
    found = audit(events, [prediction(events[i]) for i in (0, 2, 1, 3)])
    assert found.disordered == [Position(EVENTS, 0, 1)]


def test_partitions_are_ordered_each_for_itself() -> None:
    events = [event(5), event(0, partition=1)]
    assert audit(events, [prediction(each) for each in events]).describe_findings() == []


def test_answers_in_two_partitions_have_no_order() -> None:
    events = [event(0), event(1)]
    found = audit(events, [prediction(events[0], partition=0), prediction(events[1], partition=3)])
    assert found.disordered == [Position(EVENTS, 0, 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"value": b"{}"},
        {"value": None},
        {"key": None},
        {"headers": [(KIND_HEADER, b"broken JSON"), ("trace", b""), ("trace", b"\xff")]},
        {"headers": [(KIND_HEADER, b"broken JSON"), ("trace", b"\xff"), ("trace", None)]},
    ],
)
def test_an_altered_dead_letter_is_found(change: dict[str, object]) -> None:
    source = malformed(0)
    letter = dead_letter(source)
    if "headers" in change:
        change = {"headers": [*change["headers"], *letter.headers[len(HEADERS) :]]}  # type: ignore[misc]
    found = audit([source], dead_letters=[letter._replace(**change)])  # type: ignore[arg-type]
    assert found.altered == [source.position]
    assert audit([source], dead_letters=[letter]).altered == []


def test_answers_of_the_wrong_kind_are_found() -> None:
    found = audit([event(0), malformed(1)], [prediction(malformed(1))], [dead_letter(event(0))])
    assert found.misjudged == [Position(EVENTS, 0, 1), Position(EVENTS, 0, 0)]


def test_an_answer_to_nothing_is_found() -> None:
    found = audit([], [prediction(event(9))])
    assert found.stray == [Position(EVENTS, 0, 9)]

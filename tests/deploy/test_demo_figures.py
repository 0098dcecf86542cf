"""Figures of the running stream, from records as the tails hand them over."""

import time

import msgspec
import pytest

from deploy.local.demo.figures import PENDING_RECORDS, SENTENCES, StreamObserver
from deploy.local.demo.malformed import KIND_HEADER
from deploy.local.demo.records import Stored
from deploy.local.demo.topics import Topics
from worker.errors import DecodeError
from worker.messages import Classification, DeadLetter, ModelRef, Position, Prediction, WorkerStatus

pytestmark = pytest.mark.fast

TOPICS = Topics.of_own_broker()
MODEL = ModelRef("customer-messages", "abc", 3)
LABELS = ("billing", "praise")


class Stream:
    """Hands records to an observer."""

    def __init__(self) -> None:
        self.answered: dict[Position, float] = {}
        self.observer = StreamObserver(TOPICS, answered=self.answered.__setitem__)
        self._handlers = {**self.observer.answer_handlers(), **self.observer.input_handlers()}
        self.now_ms = time.time() * 1000

    def event(self, offset: int, label: str = "billing") -> None:
        value = msgspec.json.encode({"text": f"text {offset}", "label": label})
        self._hand(TOPICS.events, offset, value)

    def malformed(self, offset: int) -> None:
        self._hand(TOPICS.events, offset, b"{", [(KIND_HEADER, b"broken JSON")])

    def prediction(self, offset: int, *, label: str = "billing", after_ms: int = 20) -> None:
        body = Prediction(
            id="1",
            source=Position(TOPICS.events, 0, offset),
            output=Classification(label=label, score=0.9, probabilities={**dict.fromkeys(LABELS, 0.05), label: 0.9}),
            attention=[],
            model=MODEL,
            event_timestamp_ms=int(self.now_ms) - after_ms,
            scored_timestamp_ms=0,
        )
        self._hand(TOPICS.predictions, offset, msgspec.json.encode(body))

    def dead_letter(self, offset: int) -> None:
        headers = DeadLetter.of(Position(TOPICS.events, 0, offset), DecodeError("no."), "g").to_headers()
        self._hand(TOPICS.dead_letters, offset, b"{", headers)

    def status(
        self, instance: str, *, at_ms: int, answered: int, partitions: list[str], lag: int = 7, group_id: str = "g"
    ) -> None:
        body = WorkerStatus(
            group_id=group_id,
            instance=instance,
            timestamp_ms=at_ms,
            ready=True,
            model=MODEL,
            partitions=partitions,
            predictions_total=answered,
            dead_letters_total=0,
            aborted_transactions_total=0,
            lag_records=lag,
            rss_bytes=100,
        )
        self._hand(TOPICS.status, 0, msgspec.json.encode(body))

    def _hand(
        self, topic: str, offset: int, value: bytes, headers: list[tuple[str, bytes | None]] | None = None
    ) -> None:
        self._handlers[topic](Stored(topic, 0, offset, 0, None, value, headers or []), self.now_ms)


def test_before_anything_all_is_zero() -> None:
    figures = Stream().observer.figures()
    assert (figures.records_in, figures.records_per_second, figures.latency_p50_ms) == (0, 0.0, None)
    assert (figures.accuracy, figures.model) == (None, None)


def test_answers_are_counted_and_timed() -> None:
    stream = Stream()
    for offset in range(100):
        stream.event(offset)
        stream.prediction(offset, after_ms=offset + 1)
    stream.malformed(100)
    stream.dead_letter(100)
    figures = stream.observer.figures()
    assert (figures.records_in, figures.predictions, figures.dead_letters) == (101, 100, 1)
    assert figures.latency_p50_ms == pytest.approx(50, abs=1.1)
    assert figures.latency_p99_ms == pytest.approx(99, abs=1.1)
    assert figures.records_per_second == pytest.approx(101, rel=0.1)
    assert stream.answered == {Position(TOPICS.events, 0, offset): stream.now_ms for offset in range(101)}


def test_the_lag_is_what_the_workers_say_last() -> None:
    stream = Stream()
    stream.event(0)
    assert stream.observer.figures().lag_records == 0
    stream.status("worker-1", at_ms=1_000, answered=0, partitions=[], lag=100)
    stream.status("worker-1", at_ms=2_000, answered=0, partitions=[], lag=3)
    stream.status("worker-2", at_ms=1_000, answered=0, partitions=[], lag=4)
    assert stream.observer.figures().lag_records == 7


def test_a_model_with_other_labels_is_not_judged() -> None:
    stream = Stream()
    for offset, label in enumerate(["billing", "5 stars"]):
        stream.event(offset, label)
        stream.prediction(offset)
    figures = stream.observer.figures()
    assert figures.accuracy is None
    assert figures.sentences[0].truth == "5 stars"


@pytest.mark.parametrize("event_first", [True, False])
def test_predictions_are_judged_whichever_comes_first(event_first: bool) -> None:
    stream = Stream()
    for offset, label in enumerate(["billing", "praise", "praise", "billing"]):
        steps = [lambda o=offset, x=label: stream.event(o, x), lambda o=offset: stream.prediction(o)]
        for step in steps if event_first else reversed(steps):
            step()
    figures = stream.observer.figures()
    assert figures.accuracy == 0.5
    assert [sentence.text for sentence in figures.sentences] == ["text 3", "text 2", "text 1", "text 0"]
    assert (figures.sentences[1].truth, figures.sentences[1].label) == ("praise", "billing")


def test_memory_does_not_grow_with_the_stream() -> None:
    stream = Stream()
    stream.now_ms -= 60_000
    for offset in range(5_000):
        stream.event(offset)
        stream.prediction(offset)
    stream.observer.figures()
    kept = [value for value in vars(stream.observer).values() if hasattr(value, "__len__")]
    assert max(map(len, kept)) <= 2_000
    assert len(stream.observer.figures().sentences) == SENTENCES


@pytest.mark.parametrize("events", [True, False])
def test_nor_does_it_with_what_never_finds_its_other_half(events: bool) -> None:
    stream = Stream()
    for offset in range(PENDING_RECORDS + 10):
        if events:
            stream.event(offset)
        else:
            stream.prediction(offset)
    kept = [value for value in vars(stream.observer).values() if isinstance(value, dict)]
    assert max(map(len, kept)) == PENDING_RECORDS
    for offset in (0, PENDING_RECORDS + 9):
        if events:
            stream.prediction(offset)
        else:
            stream.event(offset)
    assert [sentence.text for sentence in stream.observer.figures().sentences] == [f"text {PENDING_RECORDS + 9}"]


def test_workers_of_one_name_in_two_groups_are_two() -> None:
    stream = Stream()
    stream.status("worker-1", at_ms=1_000, answered=0, partitions=[], lag=1)
    stream.status("worker-1", at_ms=1_000, answered=0, partitions=[], lag=2, group_id="other")

    assert sorted(worker.lag_records for worker in stream.observer.figures().workers) == [1, 2]


def test_workers_are_shown_by_their_last_two_statuses() -> None:
    stream = Stream()
    stream.status("worker-2", at_ms=1_000, answered=0, partitions=[])
    for second, answered in enumerate([0, 300, 800]):
        stream.status("worker-1", at_ms=1_000 * second, answered=answered, partitions=["limelight.events-3"])
    figures = stream.observer.figures()
    first, second_worker = figures.workers
    assert (first.instance, first.partitions, first.records_per_second) == ("worker-1", [3], 500.0)
    assert (second_worker.instance, second_worker.records_per_second) == ("worker-2", 0.0)
    assert [worker.lag_records for worker in figures.workers] == [7, 7]
    assert figures.model == MODEL

"""What is asked about topics that are written to: their limits, and whether they are there when failures do not end."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

from worker.errors import BrokerUnreachableError, DeliveryError, TopicMissingError
from worker.ports import Output
from worker.transport import producing
from worker.transport.at_least_once import AtLeastOnceSink
from worker.transport.terms import BATCH_BYTES, DEFAULT_RECORD_LIMIT_BYTES

pytestmark = pytest.mark.fast

OUTPUTS = [Output("predictions", number, None, b"x", [], 1) for number in (0, 1, 2)]


class NoConfirmationError(Exception):
    """What the client raises."""


class Unconfirmed:
    """Producers whose sends fail, on brokers whose topic is what the test says, one answer after the other."""

    error = NoConfirmationError

    def __init__(self, answers: Sequence[set[int] | Exception | None]) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[str] = []
        self.fails = True
        self.limits: dict[str, int] = {}
        self.batch_bytes: list[int] = []
        """Of the producers that were built."""

    def build(self, *, batch_bytes: int, **_: Any) -> object:
        self.batch_bytes.append(batch_bytes)
        return object()

    def end(self, producer: object, *, timeout_seconds: float) -> None:
        pass

    def send_all(self, *_: Any) -> None:
        if self.fails:
            raise NoConfirmationError

    def permanent(self, _: Exception) -> None:
        return None

    def describe(self, _: Exception) -> str:
        return "no"

    def record_limits(self, topics: Collection[str], *, within_seconds: float) -> dict[str, int]:
        return {topic: self.limits[topic] for topic in topics if topic in self.limits}

    def partitions_now(self, producer: object, topic: str, *, within_seconds: float) -> set[int] | None:
        self.asked.append(topic)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def fail_and_settle(producers: Unconfirmed, *, times: int) -> AtLeastOnceSink[Any]:
    """A sink that has failed so often, each time settled."""
    sink: AtLeastOnceSink[Any] = AtLeastOnceSink(producers, commit_soon=lambda _: None, deadline_seconds=8)
    for _ in range(times):
        with pytest.raises(DeliveryError, match="not all confirmed: no"):
            sink.deliver(OUTPUTS, {})
        sink.settle()
    return sink


def test_a_single_failure_raises_no_doubts() -> None:
    producers = Unconfirmed([])

    sink = fail_and_settle(producers, times=1)
    producers.fails = False
    sink.deliver(OUTPUTS, {})
    producers.fails = True
    with pytest.raises(DeliveryError):
        sink.deliver(OUTPUTS, {})
    sink.settle()

    assert producers.asked == []


def test_a_topic_is_asked_for_once_and_one_that_is_there_does_not_end_the_worker() -> None:
    producers = Unconfirmed([{0, 1, 2}, {0, 1, 2}])

    fail_and_settle(producers, times=3)

    assert producers.asked == ["predictions"] * 2


def test_a_topic_that_comes_back_in_time_was_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producing, "LOOK_AGAIN_SECONDS", 0)
    producers = Unconfirmed([None, {0}, {0, 1, 2}])

    fail_and_settle(producers, times=2)

    assert len(producers.asked) == 3


@pytest.mark.parametrize(
    ("found", "message"),
    [(None, "topic 'predictions' does not exist"), ({0}, "'predictions' has no partition 1 any more")],
)
def test_a_topic_that_stays_away_is_named(
    monkeypatch: pytest.MonkeyPatch, found: set[int] | None, message: str
) -> None:
    monkeypatch.setattr(producing, "MISSING_SECONDS", 0)

    with pytest.raises(TopicMissingError, match=message):
        fail_and_settle(Unconfirmed([found]), times=2)


def test_brokers_that_do_not_answer_hold_nobody_up() -> None:
    producers = Unconfirmed([BrokerUnreachableError("away"), {0, 1, 2}])

    fail_and_settle(producers, times=3)

    assert len(producers.asked) == 2


def test_a_limit_that_cannot_be_looked_up_now_stays_what_it_was() -> None:
    producers = Unconfirmed([])
    producers.fails = False
    sink: AtLeastOnceSink[Any] = AtLeastOnceSink(producers, commit_soon=lambda _: None, deadline_seconds=8)
    assert sink.record_limits(["a", "b"]) == dict.fromkeys("ab", DEFAULT_RECORD_LIMIT_BYTES)

    producers.limits = {"a": 3_000_000, "b": 1_000}
    assert sink.record_limits(["a", "b"]) == producers.limits
    producers.limits = {"b": 2_000}
    assert sink.record_limits(["a", "b"]) == {"a": 3_000_000, "b": 2_000}

    # No batch may be larger than what the smallest topic takes.
    sink.deliver(OUTPUTS, {})
    assert producers.batch_bytes == [BATCH_BYTES, 2_000]

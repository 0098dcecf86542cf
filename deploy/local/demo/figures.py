"""The figures of the running stream, as two tails see it. Memory stays bounded, however long it runs."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from deploy.local.demo.malformed import kind_of
from deploy.local.demo.records import Handler, Stored
from deploy.local.demo.summary import quantile
from deploy.local.demo.topics import Topics
from worker.messages import AttentionMap, DeadLetter, ModelRef, Position, Prediction, WorkerStatus

WINDOW_SECONDS = 5.0
"""Of the throughput."""
LATENCY_RECORDS = 2_000
SENTENCES = 40
PENDING_RECORDS = 10_000
"""Events that wait for their prediction, and predictions for their event. The oldest above it are not judged."""

T = TypeVar("T")


class Sentence(NamedTuple):
    """An answered text."""

    text: str
    truth: str
    label: str
    score: float
    attention: AttentionMap | None


class WorkerRow(NamedTuple):
    """One worker, by its last status."""

    instance: str
    partitions: list[int]
    records_per_second: float
    lag_records: int
    rss_bytes: int


class Figures(NamedTuple):
    """All of it, at one moment."""

    records_in: int = 0
    predictions: int = 0
    dead_letters: int = 0
    records_per_second: float = 0.0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    accuracy: float | None = None
    """None also if the model cannot give the labels of the records: it is not to be judged by them."""
    lag_records: int = 0
    """Of all workers, by the last status of each: a second old at most."""
    model: ModelRef | None = None
    workers: tuple[WorkerRow, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    """The newest first."""


class _Event(msgspec.Struct):
    text: str
    label: str


class StreamObserver:
    """Collects what the tails hand over. Every method may be called from any thread."""

    def __init__(self, topics: Topics, *, answered: Callable[[Position, float], None]) -> None:
        """
        Args:
            topics: to be followed.
            answered: told of every answer: its source and when it was received, in milliseconds since the epoch.
        """
        self._topics = topics
        self._answered = answered
        self._lock = threading.Lock()
        self._records_in = self._predictions = self._dead_letters = self._correct = self._judged = 0
        self._has_unknown_labels = False
        self._latencies_ms: deque[float] = deque(maxlen=LATENCY_RECORDS)
        self._arrivals_ms: deque[float] = deque()
        self._statuses: dict[bytes, deque[WorkerStatus]] = {}
        self._sentences: deque[Sentence] = deque(maxlen=SENTENCES)
        # An event and its prediction come through different tails, either may be first.
        self._events: dict[Position, _Event] = {}
        self._unmatched: dict[Position, Prediction] = {}

    def answer_handlers(self) -> Mapping[str, Handler]:
        """For the tail that measures when answers arrive."""
        return {self._topics.predictions: self._take_prediction, self._topics.dead_letters: self._take_dead_letter}

    def input_handlers(self) -> Mapping[str, Handler]:
        """For the tail that follows the input and the workers' statuses."""
        return {self._topics.events: self._take_event, self._topics.status: self._take_status}

    def figures(self) -> Figures:
        """The figures of now."""
        now_ms = time.time() * 1000
        with self._lock:
            records_per_second = self._measure_rate(now_ms)
            workers = sorted(_summarise(each) for each in self._statuses.values())
            models = [each[-1].model for each in self._statuses.values()]
            has_latency = len(self._latencies_ms) > 0
            return Figures(
                records_in=self._records_in,
                predictions=self._predictions,
                dead_letters=self._dead_letters,
                records_per_second=records_per_second,
                latency_p50_ms=quantile(self._latencies_ms, 0.5) if has_latency else None,
                latency_p99_ms=quantile(self._latencies_ms, 0.99) if has_latency else None,
                accuracy=self._correct / self._judged if self._judged and not self._has_unknown_labels else None,
                lag_records=sum(worker.lag_records for worker in workers),
                model=models[0] if models else None,
                workers=tuple(workers),
                sentences=tuple(reversed(self._sentences)),
            )

    def _take_event(self, record: Stored, _received_ms: float) -> None:
        with self._lock:
            self._records_in += 1
            if record.value is None or kind_of(record.headers) is not None:
                return
            event = msgspec.json.decode(record.value, type=_Event)
            prediction = self._unmatched.pop(record.position, None)
            if prediction is None:
                _keep(self._events, record.position, event)
            else:
                self._judge(event, prediction)

    def _take_prediction(self, record: Stored, received_ms: float) -> None:
        prediction = msgspec.json.decode(record.value or b"", type=Prediction)
        self._answered(prediction.source, received_ms)
        with self._lock:
            self._predictions += 1
            self._arrivals_ms.append(received_ms)
            self._latencies_ms.append(received_ms - prediction.event_timestamp_ms)
            event = self._events.pop(prediction.source, None)
            if event is None:
                _keep(self._unmatched, prediction.source, prediction)
            else:
                self._judge(event, prediction)

    def _take_dead_letter(self, record: Stored, received_ms: float) -> None:
        source = DeadLetter.from_headers(record.headers).source
        self._answered(source, received_ms)
        with self._lock:
            self._dead_letters += 1
            self._arrivals_ms.append(received_ms)
            self._events.pop(source, None)

    def _take_status(self, record: Stored, _received_ms: float) -> None:
        status = msgspec.json.decode(record.value or b"", type=WorkerStatus)
        with self._lock:
            self._statuses.setdefault(status.key, deque(maxlen=2)).append(status)

    def _judge(self, event: _Event, prediction: Prediction) -> None:
        output = prediction.output
        self._judged += 1
        self._correct += output.label == event.label
        self._has_unknown_labels |= event.label not in output.probabilities
        attention = prediction.attention[0] if prediction.attention else None
        self._sentences.append(Sentence(event.text, event.label, output.label, output.score, attention))

    def _measure_rate(self, now_ms: float) -> float:
        """Answers a second over the window, or over the time since the first of them if that is shorter."""
        while self._arrivals_ms and self._arrivals_ms[0] < now_ms - 1000 * WINDOW_SECONDS:
            self._arrivals_ms.popleft()
        if not self._arrivals_ms:
            return 0.0
        return 1000 * len(self._arrivals_ms) / max(now_ms - self._arrivals_ms[0], 1000)


def _keep(pending: dict[Position, T], source: Position, item: T) -> None:
    pending[source] = item
    if len(pending) > PENDING_RECORDS:
        del pending[next(iter(pending))]


def _summarise(statuses: deque[WorkerStatus]) -> WorkerRow:
    before, last = statuses[0], statuses[-1]
    answered = last.predictions_total + last.dead_letters_total - before.predictions_total - before.dead_letters_total
    seconds = (last.timestamp_ms - before.timestamp_ms) / 1000
    return WorkerRow(
        instance=last.instance,
        partitions=[int(name.rpartition("-")[2]) for name in last.partitions],
        records_per_second=answered / seconds if seconds > 0 else 0.0,
        lag_records=last.lag_records,
        rss_bytes=last.rss_bytes,
    )

"""Hostile records in volume: whatever the bytes are, each is answered or refused once, untouched, and nothing stops.

`make hostile` makes the run as long as it should be before a release. The same records meet real brokers in
`streaming/test_stream_hostile.py`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import msgspec
import pytest
from assembled import build_answerer
from hostile import HostileRecord, batches
from hypothesis import given, settings

from worker.answers.batching import caps_for
from worker.answers.golden import check_golden_records
from worker.answers.tuning import Tuner
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.messages import DeadLetter
from worker.ports import Record
from worker.scorer import OnnxScorer
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.delivery import SliceDelivery
from worker.stream.ownership import Ownership
from worker.stream.pipeline import Pipeline
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

pytestmark = pytest.mark.fast

COUNT = int(os.environ.get("HOSTILE_RECORDS", "10000"))
TOGETHER = 500
"""Records on a broker of their own."""
PARTITIONS = 3


@pytest.fixture(scope="module")
def run(tiny_bundle: Bundle) -> Callable[[MemoryBroker], None]:
    """Answers everything that stands on a broker, with a new worker."""
    scorer = OnnxScorer(tiny_bundle)
    prove = partial(check_golden_records, tiny_bundle, scorer)
    answerer = build_answerer(tiny_bundle, scorer, prove=prove, tuner=Tuner(caps_for(32)))

    def answer_all(broker: MemoryBroker) -> None:
        ownership = Ownership()
        source = MemorySource(broker, "events", ownership)
        delivery = SliceDelivery(
            MemorySink(broker),
            ownership,
            output_topic="predictions",
            dead_letter_topic="dead",
            group_id="group",
            clock=SystemClock(),
            committed=lambda *_: None,
        )
        pipeline = Pipeline(
            source,
            lambda records, *, suspect: answerer.answer(records),  # noqa: PLW0108 - nobody dies here
            delivery,
            ownership,
            attempts=Attempts(source, reach_records=512),
            breaker=CircuitBreaker(prove, changed=pytest.fail),
            slice_records=512,
            slice_bytes=1 << 20,
            timer=lambda _: nullcontext(),
            aborted=lambda error: pytest.fail(str(error)),
        )
        while pipeline.read(timeout_seconds=0):
            pipeline.score(timeout_seconds=0)
            pipeline.deliver(timeout_seconds=0)
            while not pipeline.is_idle:
                pipeline.score(timeout_seconds=0)
                pipeline.deliver(timeout_seconds=0)

    return answer_all


def read(broker: MemoryBroker, topic: str) -> Iterator[Record]:
    for (name, _), log in broker.logs.items():
        if name == topic:
            yield from log


def test_every_hostile_record_is_answered_or_refused_once(run: Any) -> None:
    counted = 0

    @settings(max_examples=-(-COUNT // TOGETHER))
    @given(batches(TOGETHER))
    def answer_or_refuse(batch: list[HostileRecord]) -> None:
        nonlocal counted
        counted += len(batch)
        broker = MemoryBroker({"events": PARTITIONS, "predictions": PARTITIONS, "dead": 1})
        for number, (key, value, headers) in enumerate(batch):
            broker.append("events", number % PARTITIONS, value, key=key, headers=headers)
        run(broker)
        judge(broker)

    answer_or_refuse()

    assert counted >= COUNT


def judge(broker: MemoryBroker) -> None:
    events = {(record.partition, record.offset): record for record in read(broker, "events")}
    answers = [msgspec.json.decode(record.value or b"")["source"] for record in read(broker, "predictions")]
    answered = [(source["partition"], source["offset"]) for source in answers]
    letters = {}
    for record in read(broker, "dead"):
        source = DeadLetter.from_headers(record.headers).source
        letters[source.partition, source.offset] = record
    assert len(answered) + sum(1 for _ in read(broker, "dead")) == len(events)
    assert set(answered) | letters.keys() == events.keys()
    assert (0, 0) in answered, "the good one was refused"
    for position, letter in letters.items():
        event = events[position]
        assert (letter.key, letter.value) == (event.key, event.value)
        assert letter.headers[: len(event.headers)] == event.headers

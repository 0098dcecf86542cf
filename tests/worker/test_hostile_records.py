"""Hostile records in volume: whatever the bytes are, each is answered or refused once, untouched, and nothing stops.

`HOSTILE_RECORDS=1000000` makes the run as long as it should be before a release; `make conformance` does so.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import msgspec
import pytest
from assembled import build_answerer

from worker.answers.batching import caps_for
from worker.answers.golden import check_golden_records
from worker.answers.tuning import Tuner
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.messages import DeadLetter, Headers
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
TOGETHER = 10_000
"""Records on the broker at once: a million of them would not fit."""
PARTITIONS = 3
DEEPEST = 2_000

TEXTS = [
    "late box",
    "慢 好",
    "\u202eright to left\u202c",
    "e\u0301" * 40,
    "\ufdfa" * 30,
    "👩‍👩‍👧‍👦" * 9,
    "\x00\x01\x7f",
    "a" * 5_000,
    "\u2028\u2029\ufeff",
    " \t\u00a0\u3000",
    "",
    "{}",
    "null",
]
JSON_VALUES = [
    "NaN",
    "Infinity",
    "-0",
    "1e999",
    "9" * 400,
    "true",
    "null",
    "[]",
    "{}",
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\u0000"',
    '"\\x41"',
    "'late'",
    "0x10",
    "",
]


def build_value(chance: random.Random) -> bytes | None:
    """One hostile value: a structure that should not be, or a good event whose bytes were changed."""
    event = json.dumps({"text": chance.choice(TEXTS), "id": chance.choice(["7", 7, None])}, ensure_ascii=False)
    key = chance.choice(["text", "id", "passthrough", "x", "\\u0074ext"])
    depth, (opening, closing) = chance.randrange(DEEPEST), chance.choice([("[", "]"), ('{"a":', "}")])
    return chance.choice(
        [
            None,
            chance.randbytes(chance.randrange(60)),
            f'{{"text":{chance.choice(JSON_VALUES)}}}'.encode(),
            f'{{"text":"late","{key}":{chance.choice(JSON_VALUES)},"text":"box"}}'.encode(),
            f'{{"text":"late","passthrough":{opening * depth}1{closing * depth}}}'.encode(),
            event.encode(chance.choice(["utf-16", "utf-8-sig", "cp1252"]), errors="replace"),
            event.encode(),
            mutate(event.encode(), chance),
            mutate(event.encode(), chance),
        ]
    )


def mutate(value: bytes, chance: random.Random) -> bytes:
    """Changes, removes, repeats or inserts bytes, one to five times."""
    changed = bytearray(value)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place : place + chance.randrange(4)]
            case 2:
                changed[place:place] = changed[place : place + chance.randrange(16)]
            case _:
                changed[place:place] = chance.choice([b'"', b"\\", b"\xff", b"\xed\xa0\x80", b"\x00", b",", b"{"])
    return bytes(changed)


def build_headers(chance: random.Random) -> Headers:
    names = ["traceparent", "", "ключ", "__connect.errors.topic", "limelight.stage"]
    return [(chance.choice(names), chance.choice([None, b"", b"\xff\x00"])) for _ in range(chance.randrange(3))]


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


@pytest.mark.parametrize("seed", range(max(1, COUNT // TOGETHER)))
def test_every_hostile_record_is_answered_or_refused_once(run: Any, seed: int) -> None:
    chance = random.Random(seed)
    broker = MemoryBroker({"events": PARTITIONS, "predictions": PARTITIONS, "dead": 1})
    for number in range(min(COUNT, TOGETHER)):
        key = chance.choice([None, b"", b"key", b"\xff"])
        broker.append("events", number % PARTITIONS, build_value(chance), key=key, headers=build_headers(chance))

    run(broker)

    events = {(record.partition, record.offset): record for record in read(broker, "events")}
    answers = [msgspec.json.decode(record.value or b"")["source"] for record in read(broker, "predictions")]
    answered = [(source["partition"], source["offset"]) for source in answers]
    letters = {}
    for record in read(broker, "dead"):
        source = DeadLetter.from_headers(record.headers).source
        letters[source.partition, source.offset] = record
    assert len(answered) + sum(1 for _ in read(broker, "dead")) == len(events)
    assert set(answered) | letters.keys() == events.keys()
    assert answered, "nothing was good enough to be answered"
    for position, letter in letters.items():
        event = events[position]
        assert (letter.key, letter.value) == (event.key, event.value)
        assert letter.headers[: len(event.headers)] == event.headers

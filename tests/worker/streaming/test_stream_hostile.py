"""Hostile records through real brokers: each is answered or refused once, untouched, with both clients."""

from typing import Any

from hostile import HostileRecord, batches
from hypothesis import Phase, given, settings
from streaming.running import Run, sources
from streaming.streams import DEAD_LETTERS, PARTITIONS, PREDICTIONS

from worker.bundle import Bundle
from worker.messages import DeadLetter, Position

TOGETHER = 500
BATCHES = 4


def test_every_hostile_record_is_answered_or_refused_once(stream: Any, tiny_bundle: Bundle) -> None:
    run = Run(stream, tiny_bundle)
    sent: dict[Position, HostileRecord] = {}

    # A smaller example is looked for in memory, where it takes no time.
    @settings(max_examples=BATCHES, phases=[Phase.generate])
    @given(batches(TOGETHER))
    def answer_or_refuse(batch: list[HostileRecord]) -> None:
        for number, record in enumerate(batch):
            key, value, headers = record
            sent[stream.append(number % PARTITIONS, value, key=key, headers=headers)] = record
        run.until_committed(len(sent))

    answer_or_refuse()
    run.until_idle()

    assert run.failures == []
    assert len(sent) >= BATCHES * TOGETHER
    found = sources(stream)
    assert (len(found), set(found)) == (len(sent), sent.keys())
    assert len(stream.read(PREDICTIONS)) >= BATCHES, "the good ones were refused"
    for letter in stream.read(DEAD_LETTERS):
        event = sent[DeadLetter.from_headers(letter.headers).source]
        assert (letter.key, letter.value) == (event.key, event.value)
        assert letter.headers[: len(event.headers)] == event.headers

"""A slice that is scored for longer than the group waits for a poll costs no membership: polling goes on meanwhile."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from kafka import KafkaAdminClient

from worker.answers.answering import Answer
from worker.clock import SystemClock
from worker.ports import Record
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.delivery import SliceDelivery
from worker.stream.pipeline import Pipeline
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

LIMITS = {"session_timeout_seconds": 6, "properties": "max.poll.interval.ms=10000"}
SCORING_SECONDS = 13
RECORDS = 3


def member_ids(group: Any) -> list[str]:
    """Another one would mean that the member had been given up, and had come back."""
    with KafkaAdminClient(bootstrap_servers=group.servers) as admin:
        return [member["member_id"] for member in admin.describe_groups([group.name])[group.name]["members"]]


def test_polling_goes_on_while_a_slice_is_scored(kafka_group: Any) -> None:
    member, scored = kafka_group.join(**LIMITS), threading.Event()
    failures: list[Exception] = []

    def answer(records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        threading.Event().wait(SCORING_SECONDS)
        scored.set()
        return [b"{}"] * len(records)

    delivery = SliceDelivery(
        member.open_sink(),
        member.ownership,
        output_topic=kafka_group.topic,
        dead_letter_topic=kafka_group.topic,
        group_id=kafka_group.name,
        clock=SystemClock(),
        committed=lambda *_: None,
    )
    pipeline = Pipeline(
        member.source,
        answer,
        delivery,
        member.ownership,
        attempts=Attempts(member.source, reach_records=RECORDS),
        breaker=CircuitBreaker(lambda: None, changed=lambda _: None),
        slice_records=RECORDS,
        slice_bytes=1 << 20,
        # Its answers go to the same topic, and are not to be answered themselves.
        until={(kafka_group.topic, 0): RECORDS},
        timer=lambda _: nullcontext(),
        aborted=failures.append,
    )
    member.poll()
    before, epochs = member_ids(kafka_group), member.ownership.epochs(member.source.assignment())
    pipeline.start()
    kafka_group.fill(RECORDS)
    try:
        deadline = Deadline(4 * SCORING_SECONDS)
        # A poll may come before all of them are there: then they are more than one slice.
        while not pipeline.is_finished:
            assert deadline.remaining_seconds() > 0, failures
            pipeline.read(timeout_seconds=0.1)
    finally:
        pipeline.close()

    assert scored.is_set()
    assert failures == []
    assert member_ids(kafka_group) == before
    assert member.ownership.is_current(epochs), "it was given up, and taken back"
    assert kafka_group.read() == [b"0", b"1", b"2", b"{}", b"{}", b"{}"]

"""The layer ``memory``: the worker with its three threads, on topics that are lists.

What it takes longer than the model alone is Python's: decoding, tokenizing, batching, encoding, and the threads that
wait for one another. What the worker takes longer than this is the brokers' and the clients'.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from worker.answers.answering import Answer
from worker.bench.assignment import Assignment
from worker.bench.errors import BenchError
from worker.building import build_model
from worker.clock import SystemClock
from worker.errors import LimelightError
from worker.models.serving import LoadedModel
from worker.ports import Record
from worker.settings import Settings
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.delivery import SliceDelivery
from worker.stream.ownership import Ownership
from worker.stream.pipeline import SLICES_AHEAD, Pipeline
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

DRAIN_SECONDS = 600.0
"""Far more than the slowest machine needs for what is still under way."""


def build_memory(assignment: Assignment) -> Callable[[None], float]:
    """What measures it, again and again, in records a second; meant for a process of its own.

    Raises:
        LimelightError: the bundle cannot be used.
    """
    bundle, workload = assignment.load()
    events = list(workload.events())
    model = build_model(assignment.settings, lambda _: nullcontext(), bundle)

    def measure(_: None) -> float:
        return _answer_all(assignment, events, model)

    return measure


def _answer_all(assignment: Assignment, events: list[bytes], model: LoadedModel) -> float:
    settings = assignment.settings
    topics = (settings.input_topic, settings.output_topic, settings.dead_letter_topic)
    broker = MemoryBroker(dict.fromkeys(topics, assignment.partitions))
    for number, event in enumerate(events):
        broker.append(settings.input_topic, number % assignment.partitions, event)
    ownership = Ownership()
    source = MemorySource(broker, settings.input_topic, ownership)
    pipeline = _build_pipeline(settings, broker, source, ownership, model)
    begin = time.perf_counter()
    pipeline.start()
    try:
        # Polling at the end of the lists would not wait for anything, and take the interpreter from the others.
        while source.lag(source.positions()):
            pipeline.read(timeout_seconds=1)
        pipeline.drain(timeout_seconds=DRAIN_SECONDS)
        seconds = time.perf_counter() - begin
    finally:
        pipeline.close()
    answered = sum(len(log) for (topic, _), log in broker.logs.items() if topic == settings.output_topic)
    if answered != len(events):
        raise BenchError(
            f"the worker without Kafka answered {answered} of {len(events)} events, and refused the others."
        )
    return answered / seconds


def _build_pipeline(
    settings: Settings, broker: MemoryBroker, source: MemorySource, ownership: Ownership, model: LoadedModel
) -> Pipeline:
    def answer(records: Sequence[Record], *, suspect: bool) -> list[Answer]:  # noqa: ARG001 - nobody dies here
        return model.answerer.answer(records)

    def fail(error: LimelightError) -> None:
        raise error

    delivery = SliceDelivery(
        MemorySink(broker),
        ownership,
        output_topic=settings.output_topic,
        dead_letter_topic=settings.dead_letter_topic,
        group_id=settings.group_id,
        clock=SystemClock(),
        committed=lambda _records, _answers: None,
    )
    return Pipeline(
        source,
        answer,
        delivery,
        ownership,
        attempts=Attempts(source, reach_records=SLICES_AHEAD * settings.slice_records),
        breaker=CircuitBreaker(model.prove, changed=lambda _: None),
        slice_records=settings.slice_records,
        slice_bytes=settings.slice_bytes,
        slice_seconds=settings.slice_seconds,
        timer=lambda _: nullcontext(),
        aborted=fail,
    )

"""Parts of a worker as tests put them together: everything plain, but for what a test is about."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from worker.answers.answering import Answerer, Timer
from worker.answers.batching import caps_for
from worker.answers.tuning import Tuner
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.ports import Partition, Scorer, Sink
from worker.scorer import OnnxScorer
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.caution import Answering
from worker.stream.delivery import SliceDelivery
from worker.stream.ownership import Ownership
from worker.stream.pipeline import Pipeline
from worker.transport.memory import MemoryBroker, MemorySink, MemorySource

SLICE_RECORDS = 4
ROWS = 4
"""Of a micro-batch: few, so that a test's records make several."""


def build_answerer(bundle: Bundle, scorer: Scorer | None = None, **changes: Any) -> Answerer:
    """Answers with `bundle`; `changes` are arguments of `Answerer`."""
    plain = {
        "prove": lambda: None,
        "record_field": "text",
        "id_field": "id",
        "skip_tombstones": False,
        "tuner": Tuner(caps_for(ROWS)),
        "clock": SystemClock(),
        "timer": lambda _: nullcontext(),
    }
    vocabulary = bundle.vocabulary(bundle.manifest.fields[0])
    return Answerer(bundle.manifest, vocabulary, scorer or OnnxScorer(bundle), **{**plain, **changes})


class Member:
    """A worker on a broker in memory; the test calls its stages."""

    def __init__(
        self,
        broker: MemoryBroker,
        partitions: list[Partition],
        *,
        answer: Answering,
        prove: Callable[[], None] = lambda: None,
        name: str = "only",
        open_sink: Callable[[MemoryBroker, MemorySource], Sink] | None = None,
        timer: Timer = lambda _: nullcontext(),
    ) -> None:
        self.ownership = Ownership()
        self.source = MemorySource(broker, "events", self.ownership)
        self.source.assign(partitions)
        delivery = SliceDelivery(
            open_sink(broker, self.source) if open_sink else MemorySink(broker, transactional_id=name),
            self.ownership,
            output_topic="predictions",
            dead_letter_topic="dead",
            group_id="group",
            clock=SystemClock(),
            committed=lambda *_: None,
        )
        self.pipeline = Pipeline(
            self.source,
            answer,
            delivery,
            self.ownership,
            attempts=Attempts(self.source, reach_records=5 * SLICE_RECORDS),
            breaker=CircuitBreaker(prove, changed=lambda _: None, probe_seconds=0),
            slice_records=SLICE_RECORDS,
            slice_bytes=1 << 20,
            timer=timer,
            aborted=lambda _: None,
        )

    def act(self, action: str) -> bool:
        """Calls a stage once, without waiting. Returns whether anything moved."""
        match action:
            case "read":
                return self.pipeline.read(timeout_seconds=0) > 0
            case "score":
                return self.pipeline.score(timeout_seconds=0)
            case _:
                return self.pipeline.deliver(timeout_seconds=0)

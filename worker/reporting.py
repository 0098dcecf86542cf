"""The worker's account of itself: gauges for Prometheus and a WorkerStatus on a topic, once a second.

Reporting is best effort. A broker that does not take a status, or does not tell the lag, never holds up the stream.
"""

import resource
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from msgspec import UNSET

from worker.answers.answering import Answer
from worker.bursts import Bursts
from worker.errors import DeliveryError, LimelightError, RecordError, TransportError
from worker.messages import ModelRef, WorkerStatus
from worker.metrics import StreamMetrics
from worker.ports import Clock, Partition, Record, Source
from worker.stream.delivery import next_offsets

INTERVAL_SECONDS = 1.0

log = structlog.get_logger("worker")


class ModelsInUse(Protocol):
    """What the reporter asks of `worker.models.serving`."""

    @property
    def current(self) -> ModelRef:
        """The version that answers what no canary answers."""
        ...

    @property
    def canary(self) -> ModelRef | None:
        """The canary, if one answers."""
        ...


class Reporter:
    """Counts slices as they end and publishes the sums."""

    def __init__(
        self,
        metrics: StreamMetrics,
        clock: Clock,
        *,
        group_id: str,
        instance: str,
        process: str,
        models: ModelsInUse,
        problem: Callable[[], str],
        source: Source,
        publish: Callable[[bytes, bytes], None],
    ) -> None:
        """
        Args:
            metrics: takes the counts.
            clock: for timestamps and the interval.
            group_id: consumer group; with `instance` the key of the statuses.
            instance: the worker's name in it.
            process: host name and process id.
            models: asked for the bundles that answer.
            problem: tells why these are not what the registry asks for; empty if they are.
            source: asked for its assignment and lag.
            publish: takes key and value of a status; may raise `TransportError`.
        """
        self._metrics = metrics
        self._clock = clock
        self._group_id = group_id
        self._instance = instance
        self._process = process
        self._models = models
        self._problem = problem
        self._source = source
        self._publish = publish
        self._predictions = self._dead_letters = self._aborted = 0
        self._next_seconds = 0.0
        self._offsets: dict[Partition, int] = {}
        # Slices are counted on the thread that delivers them.
        self._lock = threading.Lock()
        self._bursts = Bursts(clock)

    def slice_committed(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        """Counts a committed slice."""
        now_ms = self._clock.now_ms()
        with self._lock:
            self._offsets |= next_offsets(records)
        refused = Counter(answer.stage for answer in answers if isinstance(answer, RecordError))
        predictions = sum(isinstance(answer, bytes) for answer in answers)
        self._predictions += predictions
        self._dead_letters += refused.total()
        self._metrics.slice_committed(
            predictions=predictions,
            dead_letters=refused,
            # A negative timestamp is Kafka's word for none.
            latencies_seconds=[(now_ms - r.timestamp_ms) / 1000 for r in records if r.timestamp_ms >= 0],
        )
        self._bursts.count(records, answers)

    def step_failed(self, error: LimelightError) -> None:
        """Counts an aborted transaction; what failed in reading is only told."""
        # What became of the last transaction is not known here; the position after the rewind is the truth.
        with self._lock:
            self._offsets = {}
        if isinstance(error, DeliveryError):
            self._aborted += 1
            self._metrics.slice_aborted()
        log.warning("going back to the committed offsets", reason=str(error))

    def report(self, *, ready: bool) -> None:
        """Publishes, if the interval has passed."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds < self._next_seconds:
            return
        self._next_seconds = now_seconds + INTERVAL_SECONDS
        partitions = sorted(self._source.assignment())
        self._metrics.ready.set(ready)
        self._metrics.assigned_partitions.set(len(partitions))
        try:
            # Another worker may have gone on with partitions that are no longer ours.
            with self._lock:
                self._offsets = {p: offset for p, offset in self._offsets.items() if p in partitions}
                offsets = dict(self._offsets)
            lag_records = self._source.lag(offsets)
            self._metrics.lag_records.set(lag_records)
            status = WorkerStatus(
                group_id=self._group_id,
                instance=self._instance,
                process=self._process,
                timestamp_ms=self._clock.now_ms(),
                ready=ready,
                model=self._models.current,
                canary=self._models.canary or UNSET,
                problem=self._problem(),
                partitions=[f"{topic}-{number}" for topic, number in partitions],
                predictions_total=self._predictions,
                dead_letters_total=self._dead_letters,
                aborted_transactions_total=self._aborted,
                lag_records=lag_records,
                rss_bytes=resident_bytes(),
            )
            self._publish(status.key, msgspec.json.encode(status))
        except TransportError as error:
            log.warning("status not published", reason=str(error))


def resident_bytes() -> int:
    """Physical memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()

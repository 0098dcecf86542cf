"""What became of the records, and how long it took."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.metrics.bulk_histogram import BulkHistogram

STAGES = ("poll", "decode", "features", "score", "encode", "deliver")
"""Reading checks what it decodes, in one step; what the model has to read is ``features``."""
REFUSING_STAGES = ("decode", "validate", "features", "score", "encode", "deliver")
"""Where a record can become a dead letter: `stage` of each `worker.errors.RecordError`."""

STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LATENCY_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600)
SLICE_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class _Stopwatch(AbstractContextManager[None]):
    """Runs once. A class, for every micro-batch has some: a generator takes twice as long."""

    __slots__ = ("_begin_cpu_seconds", "_begin_seconds", "_cpu_seconds", "_done", "_seconds")

    def __init__(self, seconds: Histogram, cpu_seconds: Counter, done: Callable[[], None] | None) -> None:
        self._seconds, self._cpu_seconds, self._done = seconds, cpu_seconds, done

    def __enter__(self) -> None:
        self._begin_seconds, self._begin_cpu_seconds = time.perf_counter(), time.thread_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cpu_seconds.inc(time.thread_time() - self._begin_cpu_seconds)
        self._seconds.observe(time.perf_counter() - self._begin_seconds)
        if kind is None and self._done is not None:
            self._done()


class StreamMetrics:
    """Records, slices, stages and partitions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """
        Args:
            registry: where the metrics are published.
        """
        records = Counter("limelight_records", "Records answered and committed.", ["result"], registry=registry)
        self._predictions = records.labels("prediction")
        self._dead_letters = records.labels("dead_letter")
        stages = Counter("limelight_dead_letters", "Dead letters by refusing stage.", ["stage"], registry=registry)
        self._dead_letters_by_stage = {stage: stages.labels(stage) for stage in REFUSING_STAGES}
        slices = Counter("limelight_slices", "Slices by the end of their transaction.", ["outcome"], registry=registry)
        self._committed = slices.labels("committed")
        self._aborted = slices.labels("aborted")
        self._slice_records = Histogram(
            "limelight_slice_records", "Records in a committed slice.", buckets=SLICE_RECORDS, registry=registry
        )
        self._latency = BulkHistogram(
            "limelight_event_to_commit_seconds",
            "From a record's timestamp to the commit of its answer.",
            buckets=LATENCY_SECONDS,
            registry=registry,
        )
        seconds = Histogram(
            "limelight_stage_seconds",
            "Time that a slice, or a micro-batch of it, took in a stage.",
            ["stage"],
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._stage_seconds = {stage: seconds.labels(stage) for stage in STAGES}
        cpu = Counter(
            "limelight_stage_cpu_seconds",
            "CPU time that a stage took of its own thread; the clients' and the model's further threads are in none.",
            ["stage"],
            registry=registry,
        )
        self._stage_cpu_seconds = {stage: cpu.labels(stage) for stage in STAGES}
        self.assigned_partitions = Gauge("limelight_assigned_partitions", "Partitions owned now.", registry=registry)
        self.lag_records = Gauge(
            "limelight_lag_records", "Records of the owned partitions that are not committed yet.", registry=registry
        )
        self.ready = Gauge("limelight_ready", "1 while /readyz says yes.", registry=registry)

    def time_stage(self, stage: str, *, done: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Measures a stage, by the clock on the wall and by that of this thread.

        Args:
            stage: one of `STAGES`.
            done: called when it ends well.
        """
        return _Stopwatch(self._stage_seconds[stage], self._stage_cpu_seconds[stage], done)

    def slice_committed(
        self, *, predictions: int, dead_letters: Mapping[str, int], latencies_seconds: Sequence[float]
    ) -> None:
        """Records a slice whose transaction was committed.

        Args:
            predictions: how many records were scored.
            dead_letters: refusing stage -> how many records it refused.
            latencies_seconds: event timestamp to commit, one per record.
        """
        refused = sum(dead_letters.values())
        self._predictions.inc(predictions)
        self._dead_letters.inc(refused)
        for stage, count in dead_letters.items():
            self._dead_letters_by_stage[stage].inc(count)
        self._committed.inc()
        self._slice_records.observe(predictions + refused)
        self._latency.observe(latencies_seconds)

    def slice_aborted(self) -> None:
        """Records a transaction that did not commit; its slice will be read again."""
        self._aborted.inc()

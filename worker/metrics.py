"""What the worker measures, for Prometheus: prefix ``limelight_``, base units, never labelled by key, client or offset.

Everything is recorded once per slice: a metric call per record would cost as much as decoding it.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `Metrics.render`."""

STAGES = ("poll", "decode", "score", "encode", "deliver")
REFUSING_STAGES = ("decode", "validate", "features", "score", "encode", "deliver")
"""Where a record can become a dead letter: `stage` of each `worker.errors.RecordError`."""

STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
LATENCY_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 600)
DISTANCES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
SLICE_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class BulkHistogram(Collector):
    """A histogram that takes a whole slice of observations in one call.

    ``prometheus_client.Histogram`` takes one at a time, under a lock.
    """

    def __init__(self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        """
        Args:
            name: full name of the metric, with its unit.
            documentation: help text.
            buckets: upper bounds, inclusive and ascending; +Inf is added.
            registry: where the metric is published.
        """
        self._name = name
        self._documentation = documentation
        self._bounds = np.asarray(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: Sequence[float] | NDArray[np.float64]) -> None:
        """Counts every one of `values`."""
        array = np.asarray(values, dtype=np.float64)
        bins = np.searchsorted(self._bounds, array, side="left")
        counts = np.bincount(bins, minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(array.sum())

    def collect(self) -> Iterable[Metric]:
        """Called by the registry for each exposition."""
        with self._lock:
            cumulative, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*map(str, self._bounds.tolist()), "+Inf"]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=list(zip(bounds, cumulative, strict=True)), sum_value=total
        )


class Metrics:
    """The worker's metrics on a registry of their own. Safe to use from several threads."""

    def __init__(self) -> None:
        # They double the series, for a question (when did a counter restart) that Prometheus answers by itself.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
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
        self.stage_seconds: dict[str, Histogram] = {stage: seconds.labels(stage) for stage in STAGES}
        """Stage -> histogram, to be used as ``with metrics.stage_seconds["score"].time():``."""
        self.assigned_partitions = Gauge("limelight_assigned_partitions", "Partitions owned now.", registry=registry)
        self.lag_records = Gauge(
            "limelight_lag_records", "Records of the owned partitions that are not committed yet.", registry=registry
        )
        self.ready = Gauge("limelight_ready", "1 while /readyz says yes.", registry=registry)
        self.model_at_fault = Gauge(
            "limelight_model_at_fault", "1 while the model fails on its golden records.", registry=registry
        )
        self._model = Info("limelight_model", "The bundle that answers, but for a canary's share.", registry=registry)
        self.model_swaps = Counter("limelight_model_swaps", "Deployments taken over while running.", registry=registry)
        self._generation = Gauge(
            "limelight_deployment_generation", "Generation of the registry that answers.", registry=registry
        )
        self.deployment_problems = Counter(
            "limelight_deployment_problems",
            "Times that the registry could not be followed, or a version was refused.",
            registry=registry,
        )
        self.deployment_followed = Gauge(
            "limelight_deployment_followed", "1 while what answers is what the registry asks for.", registry=registry
        )
        self.deployment_followed.set(1)

        shadow = Counter(
            "limelight_shadow_records",
            "Records by what became of them beside the stream.",
            ["result"],
            registry=registry,
        )
        self._shadow_scored = shadow.labels("scored")
        self.shadow_dropped = shadow.labels("dropped")
        self._shadow_disagreements = Counter(
            "limelight_shadow_disagreements", "Records that the shadow gave another label.", registry=registry
        )
        self._shadow_distance = BulkHistogram(
            "limelight_shadow_distance",
            "Total variation distance between the shadow's probabilities and those that were given.",
            buckets=DISTANCES,
            registry=registry,
        )

    def shadow_compared(self, *, scored: int, disagreed: int, distances: Sequence[float]) -> None:
        """Records how a slice of the shadow differs from what was answered, see `worker.models.shadow.Comparison`."""
        self._shadow_scored.inc(scored)
        self._shadow_disagreements.inc(disagreed)
        self._shadow_distance.observe(distances)

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

    def model_loaded(self, *, name: str, version: str) -> None:
        """Says which bundle answers from now on."""
        self._model.info({"name": name, "version": version})

    def deployment_taken(self, *, name: str, version: str, generation: int) -> None:
        """Says which generation of a registry answers from now on."""
        self.model_loaded(name=name, version=version)
        self._generation.set(generation)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, see `CONTENT_TYPE`."""
        return generate_latest(self._registry)

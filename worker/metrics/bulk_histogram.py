"""A histogram for slices of observations."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


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

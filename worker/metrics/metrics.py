"""All groups of metrics on one page."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest

from worker.metrics.models import ModelMetrics
from worker.metrics.shadow import ShadowMetrics
from worker.metrics.stream import StreamMetrics


class Metrics:
    """The worker's metrics on a registry of their own. Safe to use from several threads."""

    def __init__(self) -> None:
        # They double the series, for a question (when did a counter restart) that Prometheus answers by itself.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.stream = StreamMetrics(self._registry)
        self.models = ModelMetrics(self._registry)
        self.shadow = ShadowMetrics(self._registry)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

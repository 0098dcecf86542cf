"""How a version that answers on the side differs from the one that answers."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter

from worker.metrics.bulk_histogram import BulkHistogram

DISTANCES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


class ShadowMetrics:
    """Records of the shadow, and its disagreements."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """
        Args:
            registry: where the metrics are published.
        """
        records = Counter(
            "limelight_shadow_records",
            "Records by what became of them beside the stream; unconfirmed ones are scored, too.",
            ["result"],
            registry=registry,
        )
        self._scored = records.labels("scored")
        self.dropped = records.labels("dropped")
        self.unconfirmed = records.labels("unconfirmed")
        """Scored, but the prediction is not known to have arrived on its topic."""
        self._disagreements = Counter(
            "limelight_shadow_disagreements", "Records that the shadow gave another label.", registry=registry
        )
        self._distance = BulkHistogram(
            "limelight_shadow_distance",
            "Total variation distance between the shadow's probabilities and those that were given.",
            buckets=DISTANCES,
            registry=registry,
        )

    def compared(self, *, scored: int, disagreed: int, distances: Sequence[float]) -> None:
        """Records how a slice of the shadow differs from what was answered, see `worker.models.shadow.Comparison`."""
        self._scored.inc(scored)
        self._disagreements.inc(disagreed)
        self._distance.observe(distances)

"""What the worker measures, for Prometheus: prefix ``limelight_``, base units, never labelled by key, client or offset.

Everything is recorded once per slice: a metric call per record would cost as much as decoding it. The metrics stand in
groups, one file each, so that every part of the worker is given its own: `stream`, `models` and `shadow`.
"""

from worker.metrics.bulk_histogram import BulkHistogram
from worker.metrics.metrics import Metrics
from worker.metrics.models import ModelMetrics
from worker.metrics.shadow import ShadowMetrics
from worker.metrics.stream import LATENCY_SECONDS, REFUSING_STAGES, STAGES, StreamMetrics

__all__ = [
    "LATENCY_SECONDS",
    "REFUSING_STAGES",
    "STAGES",
    "BulkHistogram",
    "Metrics",
    "ModelMetrics",
    "ShadowMetrics",
    "StreamMetrics",
]

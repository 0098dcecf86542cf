"""The figures of a demo that ran to its end, as ``--json`` writes them."""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from deploy.local.demo.audit import Audit
from worker.messages import Position


class BrokerFacts(Struct):
    """What was streamed through."""

    name: str
    version: str


class TrainFacts(Struct):
    """As the trainer reports it."""

    engine: str
    rounds: int
    clients: int
    seconds: float
    heldout_accuracy: float


class ExportFacts(Struct):
    """As the export reports it: the largest difference between TensorFlow and ONNX Runtime."""

    max_abs_diff: float
    probes: int


class Latency(Struct):
    """From an input's timestamp to the moment at which a ``read_committed`` reader had its answer, in milliseconds."""

    p50: float
    p99: float


class StreamFacts(Struct):
    """What became of the records."""

    records_in: int
    predictions: int
    dead_letters: int
    lost: int
    duplicated: int
    records_per_second: float
    """From the first append to the last answer."""
    latency_ms: Latency
    accuracy: float | None
    """Share of the well-formed records whose prediction gives their label; None if the model cannot give them all, and
    so nothing was judged."""


class AttentionFacts(Struct):
    """How well the attention finds what decided."""

    planted_lift: float | None
    """Mean of `deploy.local.demo.attention.planted_lift`; None where nothing was planted, or nothing attends."""


class WorkerFacts(Struct):
    """One worker."""

    ready_seconds: float
    """From the start of its process until the group had given it its partitions."""
    rss_bytes: int | None
    """By its last status; None if it ended before the first."""


class Summary(Struct):
    """The whole. ``train`` and ``export`` are None when ``--bundle`` skipped them."""

    broker: BrokerFacts
    train: TrainFacts | None
    export: ExportFacts | None
    stream: StreamFacts
    attention: AttentionFacts
    workers: list[WorkerFacts]


def build_stream_facts(audit: Audit, arrivals_ms: Mapping[Position, float]) -> StreamFacts:
    """Joins what the audit counted with when the live reader had each answer.

    Args:
        audit: of the topics.
        arrivals_ms: source position -> when its first answer was received, in milliseconds since the epoch.
    """
    sent_ms = audit.timestamps_ms
    latencies = [received_ms - sent_ms[source] for source, received_ms in arrivals_ms.items() if source in sent_ms]
    seconds = (max(arrivals_ms.values()) - min(sent_ms.values())) / 1000 if latencies else math.inf
    return StreamFacts(
        records_in=len(sent_ms),
        predictions=audit.predictions,
        dead_letters=audit.dead_letters,
        lost=len(audit.lost),
        duplicated=len(audit.duplicated),
        records_per_second=round(len(latencies) / seconds, 1),
        latency_ms=Latency(p50=round(quantile(latencies, 0.5), 1), p99=round(quantile(latencies, 0.99), 1)),
        accuracy=None if audit.unknown_labels else round(audit.correct / max(audit.well_formed, 1), 4),
    )


def build_attention_facts(audit: Audit) -> AttentionFacts:
    """The mean lift."""
    lifts = audit.planted_lifts
    return AttentionFacts(planted_lift=round(sum(lifts) / len(lifts), 2) if lifts else None)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); NaN for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan

"""The figures of a bench, as they stand in its JSON file. Rates are records a second, times are in their names."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from worker.bench.plan import Contestant

SCHEMA_VERSION = 1
RATIO_DECIMALS = 3


class Lengths(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of the texts."""

    distribution: str
    mean: float
    p50: int
    p99: int
    longest: int


class Setup(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was measured, and where."""

    measured_at: str
    """UTC, as in ISO 8601."""
    cpu: str
    cores: int
    """That this process may use; brokers, workers, feeder and reader shared them, unless the brokers are elsewhere."""
    load: float
    """Average number of busy processes in the minute before: everything above 0.5 is somebody else's work."""
    versions: dict[str, str]
    """Of Python, ONNX Runtime and the clients."""
    bundle: str
    lengths: Lengths
    seed: int
    records: int
    """In the backlog."""
    partitions: int
    repetitions: int
    warm_up_runs: int
    """Runs of each client before those that count."""


class Throughput(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How fast one contestant answered the backlog."""

    layer: str
    title: str
    client: str
    processes: int
    slice_records: int
    """0 for what the settings say."""
    rates: list[float]
    """One of each repetition."""
    median: float
    low: float
    high: float
    ratio: float | None
    """Median over the repetitions of rate / rate of the layer ``model`` in the same one; None without that layer."""


class Latency(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From the moment an event was due to be sent until a ``read_committed`` reader had its answer."""

    client: str
    rate: float
    """Records a second that were fed."""
    records: int
    """That count, of all repetitions."""
    p50_ms: list[float]
    """One of each repetition, like `p99_ms`."""
    p99_ms: list[float]
    sent_late_p99_ms: list[float]
    """How late the events were handed to the feeder's client: that part of the latency is not the worker's."""
    busy: list[float | None]
    """Share of the cores' time that was busy meanwhile, whoever kept them so. Near 1 the latency is that of a machine
    that is full. None where the system does not say."""
    median_p50_ms: float
    median_p99_ms: float


class LatencyRun(NamedTuple):
    """What one repetition found."""

    records: int
    p50_ms: float
    p99_ms: float
    sent_late_p99_ms: float
    busy: float | None


class Stages(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CPU time of one worker that answers the backlog exactly once."""

    client: str
    records: int
    microseconds: dict[str, float]
    """Stage -> CPU time per record, by the clocks of the threads; what they do not say is ``other``."""
    total: float


class Skipped(Struct, frozen=True, forbid_unknown_fields=True):
    """What could not be measured."""

    layer: str
    reason: str


class Figures(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that one bench found."""

    schema_version: int = SCHEMA_VERSION
    setup: Setup
    throughput: list[Throughput]
    latency: list[Latency]
    stages: list[Stages]
    skipped: list[Skipped]


def summarize_rates(contestant: Contestant, rates: Sequence[float], ceiling: Sequence[float]) -> Throughput:
    """
    Args:
        contestant: whose rates they are.
        rates: one of each repetition, at least one.
        ceiling: those of the model alone, of the same repetitions; empty where it did not take part.
    """
    ratios = [rate / most for rate, most in zip(rates, ceiling, strict=bool(ceiling))]
    return Throughput(
        layer=contestant.layer,
        title=contestant.title,
        client=contestant.client,
        processes=contestant.processes,
        slice_records=contestant.slice_records,
        rates=[round(rate, 1) for rate in rates],
        median=round(statistics.median(rates), 1),
        low=round(min(rates), 1),
        high=round(max(rates), 1),
        ratio=round(statistics.median(ratios), RATIO_DECIMALS) if ratios else None,
    )


def summarize_latency(client: str, rate: float, runs: Sequence[LatencyRun]) -> Latency:
    """
    Args:
        client: of the worker.
        rate: records a second that were fed.
        runs: one of each repetition, at least one.
    """
    p50_ms, p99_ms = [run.p50_ms for run in runs], [run.p99_ms for run in runs]
    return Latency(
        client=client,
        rate=round(rate, 1),
        records=sum(run.records for run in runs),
        p50_ms=[round(each, 2) for each in p50_ms],
        p99_ms=[round(each, 2) for each in p99_ms],
        sent_late_p99_ms=[round(run.sent_late_p99_ms, 2) for run in runs],
        busy=[None if run.busy is None else round(run.busy, 2) for run in runs],
        median_p50_ms=round(statistics.median(p50_ms), 2),
        median_p99_ms=round(statistics.median(p99_ms), 2),
    )

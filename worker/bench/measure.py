"""Takes the figures, in repetitions that interleave: what else the machine does falls on all contestants alike."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

import numpy as np

from worker.bench.arena import Arena
from worker.bench.assignment import Assignment
from worker.bench.figures import (
    Figures,
    Latency,
    LatencyRun,
    Skipped,
    Stages,
    Throughput,
    summarize_latency,
    summarize_rates,
)
from worker.bench.latency import LatencyProbe, Seen
from worker.bench.plan import OFFLINE, Contestant, complete_layers, plan, rotate
from worker.bench.setup import describe_setup
from worker.bench.stages import account_stages
from worker.bench.stream import Stream

HALF = 0.5

Report = Callable[[str], None]


class Order(NamedTuple):
    """What to measure."""

    layers: Sequence[str]
    clients: Sequence[str]
    slice_records: Sequence[int]
    warm_up_runs: int
    """Of each client, before anything counts: the brokers, too, get faster at first."""
    repetitions: int
    latency_seconds: float
    """How long a worker is fed, in each repetition."""
    peer: Sequence[str]
    """Command of the layer ``peer``; empty for none."""
    skipped: Sequence[Skipped]
    """What was asked for, and cannot be measured here."""


def measure(assignment: Assignment, order: Order, report: Report) -> Figures:
    """Runs everything.

    Args:
        assignment: the work.
        order: what to measure.
        report: told each figure as soon as it is there.

    Raises:
        BenchError: a contestant died, or did not do its work.
        LimelightError: the bundle cannot be used, or the brokers failed.
    """
    layers = complete_layers(order.layers)
    contestants = plan(layers, order.clients, slice_records=order.slice_records)
    warm_up_runs = 0 if OFFLINE.issuperset(layers) else order.warm_up_runs
    # Before anything runs: the load should be somebody else's.
    setup = describe_setup(assignment, repetitions=order.repetitions, warm_up_runs=warm_up_runs)
    with ExitStack() as opened:
        arena = Arena(opened, assignment, layers=layers, peer=order.peer)
        for client in [*order.clients] * warm_up_runs:
            report(f"warm-up: {arena.measure(Contestant('exactly-once', client)):,.0f} records/s with {client}")
        rates = _take_rates(arena, contestants, order.repetitions, report)
        latency = _take_latencies(arena.stream, assignment, order, rates, report) if "latency" in layers else []
        stages = [_take_stages(arena.stream, client, report) for client in order.clients if "stages" in layers]
    return Figures(
        setup=setup,
        throughput=_summarize(rates),
        latency=latency,
        stages=stages,
        skipped=list(order.skipped),
    )


def _take_rates(
    arena: Arena, contestants: Sequence[Contestant], repetitions: int, report: Report
) -> dict[Contestant, list[float]]:
    rates: dict[Contestant, list[float]] = {contestant: [] for contestant in contestants}
    for repetition in range(repetitions):
        for contestant in rotate(contestants, repetition):
            rate = arena.measure(contestant)
            rates[contestant].append(rate)
            report(f"{repetition + 1}/{repetitions}: {rate:,.0f} records/s {contestant.title}")
    return rates


def _summarize(rates: Mapping[Contestant, Sequence[float]]) -> list[Throughput]:
    ceiling = rates.get(Contestant("model"), ())
    return [summarize_rates(contestant, found, ceiling) for contestant, found in rates.items()]


def _take_latencies(
    stream: Stream,
    assignment: Assignment,
    order: Order,
    rates: Mapping[Contestant, Sequence[float]],
    report: Report,
) -> list[Latency]:
    """At half of what each client has just been seen to answer."""
    found: dict[str, list[LatencyRun]] = {client: [] for client in order.clients}
    half = {client: HALF * statistics.median(rates[Contestant("exactly-once", client)]) for client in order.clients}
    # What feeds and reads should take little: the last of the clients is the cheapest.
    with closing(LatencyProbe(assignment, client=order.clients[-1], seconds=order.latency_seconds)) as probe:
        for repetition in range(order.repetitions):
            for client in order.clients:
                with stream.start_live(Contestant("exactly-once", client)) as run:
                    seen = probe.measure(
                        input_topic=run.input, output_topic=run.output, rate=half[client], seed=repetition
                    )
                found[client].append(_summarize_run(seen))
                report(f"{repetition + 1}/{order.repetitions}: {_describe_run(found[client][-1])} with {client}")
    return [summarize_latency(client, half[client], runs) for client, runs in found.items()]


def _summarize_run(seen: Seen) -> LatencyRun:
    p50, p99 = np.percentile(seen.times_ms, [50, 99]).tolist()
    return LatencyRun(len(seen.times_ms), p50, p99, seen.late_p99_ms, seen.busy)


def _describe_run(run: LatencyRun) -> str:
    busy = "" if run.busy is None else f", cores {run.busy:.0%} busy"
    return f"p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms (sent {run.sent_late_p99_ms:.1f} ms late{busy})"


def _take_stages(stream: Stream, client: str, report: Report) -> Stages:
    stages = account_stages(stream, client)
    report(f"{stages.total:.1f} us of CPU time a record with {client}")
    return stages

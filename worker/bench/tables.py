"""The figures as text: Markdown to read and to paste, CSV to calculate with."""

import csv
import io
import statistics
from collections.abc import Iterable, Iterator, Sequence

from worker.bench.figures import Figures, Latency, Setup, Stages, Throughput

CSV_FIELDS = ("layer", "title", "client", "processes", "slice_records", "median", "low", "high", "ratio")
LATENCY_HEAD = ("answered and committed at half of that load", "rate", "p50", "p99", "sent late, p99", "cores busy")


def to_markdown(figures: Figures) -> str:
    """A paragraph about the run and a table for each kind of figure that there is."""
    parts = [_describe(figures.setup)]
    if figures.throughput:
        head = ("records a second", "median", "lowest - highest", "of the model alone")
        parts.append(_table(head, map(_throughput_row, figures.throughput)))
    parts += _compare(figures.throughput)
    if figures.latency:
        parts.append(_table(LATENCY_HEAD, map(_latency_row, figures.latency)))
    if figures.stages:
        parts.append(_stage_table(figures.stages))
    parts += [f"Not measured: {each.layer}: {each.reason}" for each in figures.skipped]
    return "\n\n".join(parts) + "\n"


def to_csv(figures: Figures) -> bytes:
    """One line for each contestant of the throughput layers."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(CSV_FIELDS)
    lines.writerows([getattr(each, field) for field in CSV_FIELDS] for each in figures.throughput)
    return text.getvalue().encode()


def _describe(setup: Setup) -> str:
    lengths = setup.lengths
    versions = ", ".join(f"{name} {version}" for name, version in setup.versions.items())
    return (
        f"{setup.records:,} records in {setup.partitions} partitions, {lengths.mean:g} tokens in the mean "
        f"({lengths.distribution}; p99 {lengths.p99}), seed {setup.seed}, every weight in the answer; medians of "
        f"{setup.repetitions} interleaved repetitions after {setup.warm_up_runs} runs of each client that do not "
        f"count. {setup.cores} cores of {setup.cpu}, load {setup.load:g} before the first run. Bundle {setup.bundle}; "
        f"{versions}. {setup.measured_at}."
    )


def _throughput_row(each: Throughput) -> tuple[str, ...]:
    ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
    return each.title, f"{each.median:,.0f}", f"{each.low:,.0f} - {each.high:,.0f}", ratio


def _latency_row(each: Latency) -> tuple[str, ...]:
    known = [share for share in each.busy if share is not None]
    return (
        each.client,
        f"{each.rate:,.0f}/s",
        f"{each.median_p50_ms:.1f} ms",
        f"{each.median_p99_ms:.1f} ms",
        f"{statistics.median(each.sent_late_p99_ms):.1f} ms",
        f"{statistics.median(known):.0%}" if known else "",
    )


def _compare(throughput: Sequence[Throughput]) -> Iterator[str]:
    """Exactly once beside at least once, and beside the peer; ratios are taken within a repetition."""
    by_key = {(each.layer, each.client): each for each in throughput}
    for layer, name in (("at-least-once", "at least once"), ("peer", "the peer")):
        found = [
            f"{each.client} {_median_ratio(each.rates, other.rates):.2f} times"
            for each in throughput
            if each.layer == "exactly-once"
            and (other := by_key.get((layer, "" if layer == "peer" else each.client))) is not None
        ]
        if found:
            yield f"Exactly once beside {name}: {', '.join(found)} as fast."


def _median_ratio(rates: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


def _stage_table(stages: Sequence[Stages]) -> str:
    """One column for each client."""
    names = list(dict.fromkeys(name for each in stages for name in each.microseconds))
    rows = [(name, *(f"{each.microseconds.get(name, 0.0):.1f}" for each in stages)) for name in names]
    rows.append(("together", *(f"{each.total:.1f}" for each in stages)))
    return _table(("microseconds of CPU time a record", *(each.client for each in stages)), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(_lines(head, rows))


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"

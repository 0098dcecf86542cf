"""The worker's account of itself: what a status says, and that nothing about reporting disturbs the stream."""

import itertools
import os
import sys
import threading
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from worker.answers.answering import Answer
from worker.bursts import ALERT_SECONDS, BURST_RECORDS, WINDOW_SECONDS
from worker.errors import BrokerUnreachableError, DecodeError, DeliveryError, LimelightError, ValidationError
from worker.messages import ModelRef, WorkerStatus
from worker.metrics import Metrics
from worker.ports import Offsets, Record
from worker.reporting import INTERVAL_SECONDS, Reporter, resident_bytes
from worker.stream.ownership import Ownership
from worker.transport.memory import MemoryBroker, MemorySource

pytestmark = pytest.mark.fast

MODEL = ModelRef("tiny", "3f6c", 20)
NOW_MS = 1_700_000_000_000
MIB = 1 << 20


class HeldClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_seconds(self) -> float:
        return self.seconds


class Bench:
    """A reporter on a topic of two partitions in memory."""

    current = MODEL
    canary: ModelRef | None = None
    problem = ""

    def __init__(self) -> None:
        self.broker = MemoryBroker({"events": 2})
        self.source = MemorySource(self.broker, "events", Ownership())
        self.clock = HeldClock()
        self.metrics = Metrics()
        self.published: list[tuple[bytes, bytes]] = []
        self.refusal: LimelightError | None = None
        self.reporter = Reporter(
            self.metrics.stream,
            self.clock,
            group_id="scorers",
            instance="host-0",
            process="host-4242",
            models=self,
            problem=lambda: self.problem,
            source=self.source,
            publish=self._publish,
        )

    def _publish(self, key: bytes, value: bytes) -> None:
        if self.refusal:
            raise self.refusal
        self.published.append((key, value))

    def append(self, count: int, partition: int = 0, *, timestamp_ms: int = NOW_MS) -> list[Record]:
        return [self.broker.append("events", partition, b"{}", timestamp_ms=timestamp_ms) for _ in range(count)]

    def report(self, *, ready: bool = True) -> WorkerStatus:
        """The status after the interval."""
        self.clock.seconds += INTERVAL_SECONDS
        before = len(self.published)
        self.reporter.report(ready=ready)
        [(key, value)] = self.published[before:]
        status = msgspec.json.decode(value, type=WorkerStatus)
        assert key == b"scorers/host-0", "a compacted topic keeps the last status of each key"
        return status

    def sample(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.metrics.render().decode())
        [value] = [s.value for family in families for s in family.samples if (s.name, s.labels) == (name, labels)]
        return value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_status_names_the_canary_and_what_keeps_the_registry_from_being_followed(bench: Bench) -> None:
    assert "canary" not in msgspec.json.decode(msgspec.json.encode(bench.report(ready=True)))

    bench.canary, bench.problem = ModelRef("tiny", "91ab", 21, generation=4), "91ab is damaged"
    bench.clock.seconds += INTERVAL_SECONDS
    status = bench.report(ready=False)
    assert (status.model, status.canary, status.problem) == (MODEL, bench.canary, "91ab is damaged")


def test_a_status_says_everything_that_it_promises(bench: Bench) -> None:
    records = bench.append(3) + bench.append(2, partition=1)
    answers: list[Answer] = [b"{}", DecodeError("no"), b"{}", ValidationError("no"), b"{}"]
    bench.reporter.slice_committed(records, answers)

    status = bench.report(ready=False)

    assert 10 * MIB < status.rss_bytes < 10_000 * MIB
    assert status == WorkerStatus(
        group_id="scorers",
        instance="host-0",
        process="host-4242",
        timestamp_ms=NOW_MS,
        ready=False,
        model=MODEL,
        partitions=["events-0", "events-1"],
        predictions_total=3,
        dead_letters_total=2,
        aborted_transactions_total=0,
        lag_records=0,
        rss_bytes=status.rss_bytes,
    )
    assert bench.sample("limelight_ready") == 0
    assert bench.sample("limelight_assigned_partitions") == 2
    assert bench.sample("limelight_dead_letters_total", stage="decode") == 1
    assert bench.sample("limelight_dead_letters_total", stage="validate") == 1


def test_it_reports_once_an_interval_whatever_the_pace_of_the_loop(bench: Bench) -> None:
    bench.report()
    for _ in range(7):
        bench.clock.seconds += INTERVAL_SECONDS / 8
        bench.reporter.report(ready=True)
    assert len(bench.published) == 1
    bench.clock.seconds += INTERVAL_SECONDS / 8
    bench.reporter.report(ready=True)
    assert len(bench.published) == 2


def test_lag_counts_what_is_not_committed_and_not_what_is_not_read(bench: Bench) -> None:
    records = bench.append(5)
    bench.source.poll(max_records=5, timeout_seconds=0)
    bench.reporter.slice_committed(records[:2], [b"{}", b"{}"])
    assert bench.report().lag_records == 3
    assert bench.sample("limelight_lag_records") == 3

    bench.reporter.slice_committed(records[2:], [b"{}"] * 3)
    assert bench.report().lag_records == 0


def test_latency_runs_from_the_records_timestamp_where_it_has_one(bench: Bench) -> None:
    records = bench.append(1, timestamp_ms=NOW_MS - 1500) + bench.append(1, timestamp_ms=-1)
    bench.reporter.slice_committed(records, [b"{}", b"{}"])
    assert bench.sample("limelight_event_to_commit_seconds_count") == 1
    assert bench.sample("limelight_event_to_commit_seconds_sum") == 1.5


def test_an_aborted_transaction_is_counted_and_a_failed_read_is_only_told(bench: Bench) -> None:
    with capture_logs() as log:
        bench.reporter.step_failed(DeliveryError("the coordinator is gone"))
        bench.reporter.step_failed(BrokerUnreachableError("no broker answered"))
    assert bench.report().aborted_transactions_total == 1
    assert bench.sample("limelight_slices_total", outcome="aborted") == 1
    assert [line["reason"] for line in log] == ["the coordinator is gone", "no broker answered"]


def test_after_an_abort_lag_is_counted_from_where_the_source_stands(bench: Bench) -> None:
    # The broker's answer was lost: the worker believes in less than was committed, and rewinds to the truth.
    records = bench.append(4)
    bench.source.poll(max_records=4, timeout_seconds=0)
    bench.reporter.slice_committed(records[:1], [b"{}"])
    bench.broker.committed["events", 0] = 3
    bench.reporter.step_failed(DeliveryError("the answer was lost"))
    bench.source.rewind()
    assert bench.report().lag_records == 1


def test_partitions_that_left_are_neither_named_nor_counted(bench: Bench) -> None:
    records = bench.append(3) + bench.append(2, partition=1)
    bench.source.poll(max_records=5, timeout_seconds=0)
    bench.reporter.slice_committed(records[:1], [b"{}"])

    bench.source.assign([("events", 1)])
    status = bench.report()
    assert (status.partitions, status.lag_records) == (["events-1"], 0)

    # Another worker committed all of partition 0 before it came back: what we knew of it is no longer true.
    bench.broker.committed["events", 0] = 3
    bench.source.assign([("events", 0), ("events", 1)])
    status = bench.report()
    assert (status.partitions, status.lag_records) == (["events-0", "events-1"], 0)


def test_no_partitions_is_a_status_too(bench: Bench) -> None:
    bench.source.assign([])
    status = bench.report()
    assert (status.partitions, status.lag_records) == ([], 0)
    assert bench.sample("limelight_assigned_partitions") == 0


def test_lag_that_the_broker_does_not_tell_stops_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Offsets) -> int:
        raise BrokerUnreachableError("no broker answered")

    with monkeypatch.context() as silent, capture_logs() as log:
        silent.setattr(bench.source, "lag", unknown)
        bench.reporter.report(ready=True)
    assert bench.published == []
    assert told(log) == [("status not published", "no broker answered")]
    assert bench.sample("limelight_ready") == 1
    assert bench.report().ready


def test_a_status_that_the_broker_does_not_take_stops_nothing(bench: Bench) -> None:
    bench.refusal = BrokerUnreachableError("no broker answered")
    with capture_logs() as log:
        bench.reporter.report(ready=True)
    assert told(log) == [("status not published", "no broker answered")]
    bench.refusal = None
    assert bench.report().ready


def test_memory_grows_with_what_the_process_holds() -> None:
    before = resident_bytes()
    held = os.urandom(64 * MIB)
    assert resident_bytes() - before > len(held) // 2


def told(log: list[Any]) -> list[tuple[str, str]]:
    return [(line["event"], line["reason"]) for line in log]


def test_slices_may_be_counted_while_a_report_is_made() -> None:
    bench = Bench()
    ended = threading.Event()

    def count() -> None:
        for number in itertools.cycle(range(1000)):
            bench.reporter.slice_committed([Record("events", number, 0, NOW_MS, None, b"", [])], [b"{}"])
            if ended.is_set():
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(300):
            bench.clock.seconds += INTERVAL_SECONDS
            bench.reporter.report(ready=True)
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(bench.published) == 300


@pytest.mark.parametrize(("refused", "alerts"), [(BURST_RECORDS // 2, 0), (BURST_RECORDS // 2 + 1, 1)])
def test_a_burst_of_refusals_is_told_once_in_a_while(refused: int, alerts: int) -> None:
    bench = Bench()
    records = bench.append(BURST_RECORDS)
    answers: list[Answer] = [DecodeError("no")] * refused + [b"{}"] * (BURST_RECORDS - refused)
    with capture_logs() as lines:
        bench.reporter.slice_committed(records, answers)
        bench.reporter.slice_committed(records, answers)
    assert len(lines) == alerts

    bench.clock.seconds += ALERT_SECONDS
    with capture_logs() as lines:
        bench.reporter.slice_committed(records, answers)
    assert len(lines) == alerts


@pytest.mark.parametrize("pause_seconds", [0, WINDOW_SECONDS])
def test_a_burst_is_told_whatever_the_pace_of_the_stream(pause_seconds: float) -> None:
    bench = Bench()
    records = bench.append(BURST_RECORDS)
    with capture_logs() as lines:
        for record in records:
            bench.clock.seconds += pause_seconds
            bench.reporter.slice_committed([record], [DecodeError("no")])
    [line] = lines
    assert (line["first"], line["decode"]) == ("events-0-0", BURST_RECORDS)


def test_what_went_well_long_ago_does_not_hide_a_burst() -> None:
    bench = Bench()
    good, bad = bench.append(10 * BURST_RECORDS), bench.append(BURST_RECORDS)
    bench.reporter.slice_committed(good, [b"{}"] * len(good))
    bench.clock.seconds += WINDOW_SECONDS
    with capture_logs() as lines:
        bench.reporter.slice_committed(bad, [DecodeError("no")] * len(bad))
    assert len(lines) == 1

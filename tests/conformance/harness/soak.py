"""Hours at a steady load: does the worker's memory or its latency grow?"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.arena import Arena
from harness.strikes import pause
from harness.tally import Counts, Tally

OVERLOAD = 20_000.0
"""Records a second, more than a worker answers that shares two cores with feeder, reader and brokers."""
JAVA_SECONDS = 60.0
"""Of overload before anything is measured: a broker's Java needs them to compile what it runs, and costs half then."""
BACKLOG_RECORDS = 300_000
BACKLOG_SECONDS = 10.0
CAPACITY_SECONDS = 30.0
SETTLE_SECONDS = 300
SAMPLE_SECONDS = 5.0
RETENTION = {"retention.bytes": str(256 << 20), "segment.bytes": str(64 << 20)}
"""Of each partition: hours of records would fill the disk. What is deleted was read long before."""
WARM_UP = 0.2
"""Share of the run in which memory may still grow: caches, and arenas of the allocator."""
MEMORY_GROWTH = 0.05
"""Over the whole run, by the slope: more is a leak."""
MEMORY_NOISE_BYTES = 8 << 20
LATENCY_GROWTH = 1.5
LATENCY_NOISE_SECONDS = 0.1


class Sample(NamedTuple):
    """One interval."""

    at_seconds: float
    """Since the beginning."""
    rss_bytes: int
    records_per_second: float
    p50_seconds: float
    p99_seconds: float


class Outcome(NamedTuple):
    """What a soak found."""

    capacity: float
    rate: float
    """Records a second."""
    samples: list[Sample]
    counts: Counts

    def findings(self) -> list[str]:
        """What is wrong; empty if nothing is."""
        found = [f"{n} records {what}" for what in ("lost", "duplicated", "stray") if (n := getattr(self.counts, what))]
        growth, allowed = self.memory_growth_bytes(), self.memory_allowed_bytes()
        if growth > allowed:
            found.append(f"memory grew by {growth / 2**20:.1f} MiB, {allowed / 2**20:.1f} MiB are allowed")
        first, last = self.latency_seconds()
        if last > LATENCY_GROWTH * first + LATENCY_NOISE_SECONDS:
            found.append(f"the median latency grew from {first * 1000:.0f} to {last * 1000:.0f} ms")
        return found

    def memory_growth_bytes(self) -> float:
        """What the slope after the warm-up makes of the whole run."""
        steady = self.samples[int(len(self.samples) * WARM_UP) :]
        seconds = [sample.at_seconds for sample in steady]
        return slope(seconds, [float(sample.rss_bytes) for sample in steady]) * self.samples[-1].at_seconds

    def memory_allowed_bytes(self) -> float:
        """Growth that is none."""
        ordered = sorted(sample.rss_bytes for sample in self.samples)
        return max(MEMORY_NOISE_BYTES, MEMORY_GROWTH * ordered[len(ordered) // 2])

    def latency_seconds(self) -> tuple[float, float]:
        """Median latency of the first and of the last tenth."""
        tenth = max(1, len(self.samples) // 10)
        middles = [
            sorted(sample.p50_seconds for sample in part) for part in (self.samples[:tenth], self.samples[-tenth:])
        ]
        return middles[0][tenth // 2], middles[1][tenth // 2]


def soak(arena: Arena, tally: Tally, *, seconds: float, load: float) -> Outcome:
    """Runs one worker at a share of its capacity.

    Args:
        arena: feeds at any rate; its notes are `tally`.
        tally: counts.
        seconds: of the steady load.
        load: share of the capacity.
    """
    worker = arena.start_worker("a")
    arena.await_ready(worker)
    capacity = measure_capacity(arena, tally)
    arena.feeder.set_rate(load * capacity)
    tally.take_latencies()
    samples = list(sample_worker(tally, worker.pid, seconds=seconds))
    arena.feeder.stop()
    arena.expect(lambda: tally.answered >= tally.sent, "everything is answered", SETTLE_SECONDS)
    worker.terminate()
    assert worker.wait() == 0, worker.log()
    arena.await_end_of_outputs()
    return Outcome(capacity, load * capacity, samples, tally.count())


def measure_capacity(arena: Arena, tally: Tally) -> float:
    """Records a second that are answered while as many come as a worker can answer behind a backlog.

    Not behind the backlog itself: feeder, reader and broker need the cores, too. And not under any overload: feeder and
    reader share an interpreter, and a feeder at its limit keeps the reader from seeing how fast the worker is.
    """
    arena.feeder.set_rate(OVERLOAD)
    pause(JAVA_SECONDS)
    arena.expect(lambda: tally.sent > tally.answered + BACKLOG_RECORDS, "a backlog waits", SETTLE_SECONDS)
    arena.feeder.set_rate(0)
    arena.feeder.set_rate(answered_per_second(tally, BACKLOG_SECONDS))
    capacity = answered_per_second(tally, CAPACITY_SECONDS)
    assert tally.answered < tally.sent, "the backlog was answered before the measurement ended"
    arena.feeder.set_rate(0)
    arena.expect(lambda: tally.answered >= tally.sent, "the backlog is answered", SETTLE_SECONDS)
    return capacity


def answered_per_second(tally: Tally, seconds: float) -> float:
    """Over the next `seconds`."""
    began, answered = time.monotonic(), tally.answered
    pause(seconds)
    return (tally.answered - answered) / (time.monotonic() - began)


def sample_worker(tally: Tally, pid: int, *, seconds: float) -> Iterator[Sample]:
    """Yields a sample each `SAMPLE_SECONDS` until `seconds` have passed."""
    began = time.monotonic()
    answered, last = tally.answered, began
    while (now := time.monotonic()) - began < seconds:
        pause(min(SAMPLE_SECONDS, seconds - (now - began)))
        latencies = tally.take_latencies() or [0.0]
        now = time.monotonic()
        rate = (tally.answered - answered) / (now - last)
        answered, last = tally.answered, now
        p50, p99 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
        yield Sample(now - began, resident_bytes(pid), rate, p50, p99)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Least squares: how much y grows with x."""
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - x_mean) ** 2 for x in xs)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0

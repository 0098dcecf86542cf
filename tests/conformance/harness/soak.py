"""Hours at a steady load: does the worker's memory or its latency grow?"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.arena import Arena
from harness.strikes import pause
from harness.tally import Counts, Tally

OVERLOAD = 20_000.0
"""Records a second, more than any worker on such a machine answers."""
CAPACITY_SECONDS = 15.0
SETTLE_SECONDS = 300
SAMPLE_SECONDS = 5.0
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
    """Records a second that are answered while more are waiting; feeder and reader take their part of the machine."""
    arena.feeder.set_rate(OVERLOAD)
    arena.expect(lambda: tally.sent > tally.answered + OVERLOAD, "more than a second of work waits", SETTLE_SECONDS)
    began, answered = time.monotonic(), tally.answered
    pause(CAPACITY_SECONDS)
    capacity = (tally.answered - answered) / (time.monotonic() - began)
    arena.feeder.set_rate(0)
    arena.expect(lambda: tally.answered >= tally.sent, "the backlog is answered", SETTLE_SECONDS)
    return capacity


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

"""The layer ``latency``: from the moment an event was due until a ``read_committed`` reader has its answer.

::

    feeder (a process)          worker (a process)        reader (here)
    ──────────────────          ──────────────────        ─────────────
    due ─> sent, once each ───> answers, commits ───────> notes when it came
    TICK                                                  latency = came - due

Events are due at random (Poisson), in ticks, and carry the time at which they were due: a feeder that falls behind
makes the answers late, and not the measurement kind. It waits `FEED_LINGER_MS` for company, as Kafka's own producer
does; the wait is part of the latency. Feeder and reader use librdkafka where it is installed, whatever the worker uses:
they should take little from the cores that they share with it.

Two figures beside a latency tell whom to look at: how late the events were sent, and how busy the cores were. Records
that come a few at a time cost brokers and clients far more than a backlog does, so half of a backlog's rate may be all
that a machine can do, or more. On full cores the queue grows for as long as it is fed, and the latency with it.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.bench.assignment import Assignment
from worker.bench.errors import BenchError
from worker.bench.occupancy import Occupancy, busy_share
from worker.bench.side_process import SideProcess
from worker.settings import Settings
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections, GroupSource

TICK_SECONDS = 0.002
"""Smaller ticks cost the feeder more wake-ups than records."""
LEAD_SECONDS = 0.5
"""From the order to feed to the first event."""
WARM_UP_SECONDS = 2.0
"""What is due before is answered, but not counted: the worker's first slices come upon cold caches."""
POLL_SECONDS = 0.2
QUIET_SECONDS = 30.0
"""After so long without an answer nothing more will come."""
FLUSH_SECONDS = 30.0
FEED_LINGER_MS = 5
"""The default of Kafka's own producer since 4.0. A producer that does not wait sends up to 2,000 requests a second from
this load: they kept half of two cores busy, and what was measured was the feeder."""


class Load(NamedTuple):
    """What to feed."""

    topic: str
    rate: float
    """Records a second."""
    seconds: float
    seed: int


class Fed(NamedTuple):
    """What was fed."""

    sent: int
    late_p99_ms: float
    """From the moment a tick was due until its last event was handed to the client."""


class Seen(NamedTuple):
    """What a feeding showed."""

    times_ms: NDArray[np.float64]
    """Latency of each event that counts, `[N]`."""
    late_p99_ms: float
    """See `Fed`."""
    busy: float | None
    """Share of the cores' time, see `worker.bench.occupancy`."""


def build_feeder(assignment: Assignment, client: str) -> Callable[[Load], Fed]:
    """What feeds; meant for a process of its own."""
    _, workload = assignment.load()
    texts = list(workload.texts())
    feed = Connections(_lingering(assignment.settings, client)).open_feed()

    def run(load: Load) -> Fed:
        encode = msgspec.json.Encoder().encode
        text_field, sent = workload.text_field, 0
        late_ms = []
        for due_ns, count in draw_ticks(load):
            while (ahead_seconds := (due_ns - time.time_ns()) / 1e9) > 0:
                time.sleep(ahead_seconds)
            for _ in range(count):
                event = {text_field: texts[sent % len(texts)], "passthrough": due_ns}
                feed.send(load.topic, encode(event), key=str(sent).encode())
                sent += 1
            late_ms.append((time.time_ns() - due_ns) / 1e6)
        feed.flush(timeout_seconds=FLUSH_SECONDS)
        return Fed(sent, float(np.percentile(late_ms, 99)))

    return run


def draw_ticks(load: Load) -> Iterator[tuple[int, int]]:
    """When each tick is due, in nanoseconds since the epoch, and with how many events."""
    begin_ns = time.time_ns() + int(LEAD_SECONDS * 1e9)
    ticks = int(load.seconds / TICK_SECONDS)
    counts = np.random.default_rng([load.seed, 2]).poisson(load.rate * TICK_SECONDS, ticks)
    for number, count in enumerate(counts.tolist()):
        yield begin_ns + number * round(TICK_SECONDS * 1e9), count


def _lingering(settings: Settings, client: str) -> Settings:
    """The same, with a producer that waits for company for as long as `FEED_LINGER_MS`."""
    return settings.model_copy(update={"transport": client, "properties": {"linger.ms": str(FEED_LINGER_MS)}})


class _Answer(msgspec.Struct):
    """Of an answer only the time that its event carries: when it was due, in nanoseconds since the epoch."""

    passthrough: int


class LatencyProbe:
    """Feeds, and reads what comes back, with a client that takes little."""

    def __init__(self, assignment: Assignment, *, client: str, seconds: float) -> None:
        """
        Args:
            assignment: the work; of its events only the texts are used.
            client: library of feeder and reader.
            seconds: how long to feed, `WARM_UP_SECONDS` included.
        """
        self._settings, self._client, self._seconds = assignment.settings, client, seconds
        self._feeder: SideProcess[Load, Fed] = SideProcess(partial(build_feeder, assignment, client), name="feeding")

    def measure(self, *, input_topic: str, output_topic: str, rate: float, seed: int) -> Seen:
        """Feeds a worker that is ready.

        Raises:
            BenchError: an answer never came, or hardly anything was fed.
            LimelightError: feeding or reading failed.
        """
        load = Load(input_topic, rate, self._seconds, seed)
        limit_seconds = self._seconds + LEAD_SECONDS + QUIET_SECONDS
        with closing(self._open_reader(output_topic)) as source, ThreadPoolExecutor(1) as thread:
            before = Occupancy.read()
            asked = thread.submit(self._feeder.ask, load, timeout_seconds=limit_seconds)
            due_ns, came_ns = _read(source, asked)
            busy = busy_share(before, Occupancy.read())
        times_ms = leave_out_warm_up(due_ns, came_ns)
        if not len(times_ms):
            raise BenchError(f"at {rate:.1f} records/s nothing was fed after {WARM_UP_SECONDS:g} s. Feed for longer.")
        return Seen(times_ms, asked.result().late_p99_ms, busy)

    def close(self) -> None:
        """Ends the feeder."""
        self._feeder.close()

    def _open_reader(self, topic: str) -> GroupSource:
        told = {"transport": self._client, "properties": {}, "input_topic": topic, "group_id": f"{topic}.reader"}
        ownership = Ownership()
        source = Connections(self._settings.model_copy(update=told)).open_source(instance="reader", ownership=ownership)
        deadline = time.monotonic() + QUIET_SECONDS
        while not ownership.joined and time.monotonic() < deadline:
            source.poll(max_records=1, timeout_seconds=POLL_SECONDS)
        return source


def leave_out_warm_up(due_ns: NDArray[np.int64], came_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Latencies in milliseconds of the events that were due `WARM_UP_SECONDS` after the first, or later.

    Args:
        due_ns: `[N]`, when each event was due.
        came_ns: `[N]`, when its answer came.
    """
    first_ns = due_ns.min() if len(due_ns) else 0
    times_ms: NDArray[np.float64] = (came_ns - due_ns)[due_ns >= first_ns + WARM_UP_SECONDS * 1e9] / 1e6
    return times_ms


def _read(source: GroupSource, asked: Future[Fed]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When each event was due, and when its answer came, in nanoseconds since the epoch."""
    due_ns: list[int] = []
    came_ns: list[int] = []
    decode = msgspec.json.Decoder(_Answer).decode
    last_seconds = time.monotonic()
    while not asked.done() or len(due_ns) < asked.result().sent:
        records = source.poll(max_records=10_000, timeout_seconds=POLL_SECONDS)
        now_ns = time.time_ns()
        due_ns += [decode(record.value or b"").passthrough for record in records]
        came_ns += [now_ns] * len(records)
        if records:
            last_seconds = time.monotonic()
        elif time.monotonic() - last_seconds > QUIET_SECONDS:
            raise BenchError(
                f"only {len(due_ns)} events were answered within {QUIET_SECONDS:.0f} s of the last answer."
            )
    return np.array(due_ns, np.int64), np.array(came_ns, np.int64)

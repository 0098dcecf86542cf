"""The stream: workers, feeder and tails, until every record is answered."""

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from deploy.local.demo import programs
from deploy.local.demo.broker import Site
from deploy.local.demo.feeder import Feeder
from deploy.local.demo.figures import StreamObserver
from deploy.local.demo.reading import Tail
from deploy.local.demo.run import Run
from deploy.local.demo.summary import WorkerFacts
from deploy.local.demo.topics import MAX_EVENT_BYTES, PARTITIONS
from deploy.local.demo.traffic import mix
from deploy.local.processes import ChildProcess
from worker.messages import Position

TRAFFIC_SEED = 1
READY_SECONDS = 60.0
READY_SECONDS_EACH = 10.0
"""In addition, for each worker: they load their models and join all at once, on as many cores as there are."""
LATE_LINES = 5
"""Shown of the log of each worker that is late."""
STALLED_SECONDS = 60.0
"""After this long without an answer, what is missing is left to the audit, which calls it lost."""


class _Ready(msgspec.Struct):
    joined_seconds: float


class Worker(NamedTuple):
    """A worker that was started."""

    child: ChildProcess
    ready_file: Path


class Stream:
    """The parts of a running stream."""

    def __init__(self, run: Run, site: Site) -> None:
        """Follows the topics from now on."""
        self.arrivals_ms: dict[Position, float] = {}
        """Source position -> when its first answer was received; kept only if there will be an end."""
        self._run = run
        self._site = site
        self._workers: list[Worker] = []
        self._progress_seconds = 0.0
        self._observer = StreamObserver(site.topics, answered=self._note_arrival)
        run.scene.figures = self._observer.figures
        # Two tails, so that the one that measures latency never waits behind a large input record.
        answers = Tail(site.servers, self._observer.answer_handlers(), at_once=True)
        inputs = Tail(site.servers, self._observer.input_handlers(), at_once=False)
        run.start_background("reading the answers", answers.run)
        run.start_background("reading the input", inputs.run)

    def start_workers(self, bundle: Path) -> None:
        """Starts the workers and waits until they share the partitions.

        Raises:
            LimelightError: a worker ended, or they did not come to share.
        """
        run, count = self._run, self._run.options.workers
        stage = run.begin("workers", f"starting {count}, of one consumer group")
        for number in range(1, count + 1):
            self._workers.append(self._start_worker(f"worker-{number}", bundle))
        files = [worker.ready_file for worker in self._workers]
        limit_seconds = READY_SECONDS + READY_SECONDS_EACH * count
        run.wait(
            lambda: all(file.exists() for file in files),
            limit_seconds=limit_seconds,
            otherwise=lambda: describe_late(self._workers, limit_seconds),
        )
        # A worker is ready as soon as the group has answered it; the partitions move to it a heartbeat later.
        late = (
            f"the workers did not come to share the partitions within {limit_seconds:.0f} s. Ask for fewer --workers."
        )
        run.wait(self._is_balanced, limit_seconds=limit_seconds, otherwise=lambda: late)
        times = ", ".join(f"{seconds:.1f} s" for seconds in self._ready_seconds())
        stage.end(f"{count} in one group, ready after {times}")

    def feed(self, lines: Iterable[bytes]) -> None:
        """Streams events and malformed records and, if there is an end, waits for every answer."""
        options = self._run.options
        traffic = mix(lines, seed=TRAFFIC_SEED, max_batch_bytes=MAX_EVENT_BYTES)
        stage = self._run.begin("stream", f"{options.rate:,.0f} records a second")
        feeder = Feeder(
            self._site.servers,
            self._site.topics.events,
            partitions=PARTITIONS,
            records=islice(traffic, options.records),
            rate=options.rate,
        )
        feeding = self._run.start_background("feeding", feeder.run)
        if not options.once:
            self._run.wait(lambda: False)
        self._run.wait(lambda: feeding.is_done)
        feeding.check()
        self._progress_seconds = time.monotonic()
        self._run.wait(lambda: len(self.arrivals_ms) >= feeder.sent or self._is_stalled())
        stage.end(f"{len(self.arrivals_ms):,} of {feeder.sent:,} records answered")
        final = self._observer.figures()
        self._run.scene.figures = lambda: final

    def retire(self) -> list[WorkerFacts]:
        """Ends the workers; after that the topics do not change any more."""
        memory = {row.instance: row.rss_bytes for row in self._observer.figures().workers}
        names = [worker.child.name for worker in self._workers]
        facts = [
            WorkerFacts(ready_seconds=ready, rss_bytes=memory.get(name))
            for name, ready in zip(names, self._ready_seconds(), strict=True)
        ]
        self._run.crew.retire([worker.child for worker in self._workers])
        return facts

    def _start_worker(self, name: str, bundle: Path) -> Worker:
        ready_file = self._run.directory / f"{name}.ready"
        environment = programs.worker_environment(
            bootstrap_servers=self._site.servers, bundle=bundle, topics=self._site.topics, instance=name
        )
        child = self._run.crew.start_service(name, programs.worker(ready_file=ready_file), environment)
        return Worker(child, ready_file)

    def _is_balanced(self) -> bool:
        held = [row.partitions for row in self._observer.figures().workers]
        busy = sum(len(partitions) > 0 for partitions in held)
        return sum(map(len, held)) == PARTITIONS and busy == min(len(self._workers), PARTITIONS)

    def _ready_seconds(self) -> Sequence[float]:
        files = [worker.ready_file for worker in self._workers]
        return [msgspec.json.decode(file.read_bytes(), type=_Ready).joined_seconds for file in files]

    def _note_arrival(self, source: Position, received_ms: float) -> None:
        self._progress_seconds = time.monotonic()
        if self._run.options.once:
            self.arrivals_ms.setdefault(source, received_ms)

    def _is_stalled(self) -> bool:
        return time.monotonic() > self._progress_seconds + STALLED_SECONDS


def describe_late(workers: Sequence[Worker], limit_seconds: float) -> str:
    """What to tell the user of workers that are not ready: which, and what they said last."""
    late = [worker.child for worker in workers if not worker.ready_file.exists()]
    logs = "".join(f"\n{child.name}:\n{child.tail(LATE_LINES) or '(no output)'}" for child in late)
    return (
        f"{len(late)} of {len(workers)} workers did not become ready within {limit_seconds:.0f} s. Ask for fewer "
        f"--workers, or see what they said last:{logs}"
    )

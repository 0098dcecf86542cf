"""One case: topics and a group of its own, a feeder and a reader that never pause, and workers that suffer.

::

    feeder ──> input topic ──> workers ──> output topic, dead letters ──> reader
      │                           ^                                         │
      └── confirmed ──> ledger    └── faults                    arrived ────┘──> ledger
"""

import math
import time
import uuid
from collections.abc import Callable, Container, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from harness.facts import Facts
from harness.feeder import Feeder
from harness.ledger import Ledger, Notebook, Sent, Verdict
from harness.matrix import Setup
from harness.reader import Reader
from harness.subject import PREFIX, READY_SECONDS, Subject, WorkerProcess

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.topics import create_topics

PARTITIONS = 4
RATE = 400.0
"""Records a second: a tenth of what a worker can do, so that it catches up soon, and enough to be always at work."""
WAVE_RECORDS = 400
"""To every partition at once, before a fault: it strikes when so many records in all wait for their answer, a small
part of what came. A worker that is fast has answered a burst before the fault can strike."""
WAVE_SECONDS = 2
"""After so long a larger wave is sent, if too few records of the one before were seen under way together."""
PROGRESS_SECONDS = 60
BACKLOGS = 4
"""So many times longer may a worker need that moves, but lags behind the feeder."""
QUIET_SECONDS = 3
"""When everything is committed, what has no answer after this long will never have one."""


class Strike(NamedTuple):
    """A fault, and the records that were under way when it struck."""

    moment_seconds: float
    """On the monotonic clock."""
    after_ms: int
    """On the wall clock: an answer that is stamped later was given after the fault."""
    answered: int
    """Records that had their answer."""
    pending: list[Sent]
    """Records that were confirmed to the feeder, and had none."""


class Arena:
    """Use it as a context manager."""

    def __init__(
        self,
        cluster: Cluster,
        subject: Subject,
        setup: Setup,
        directory: Path,
        *,
        partitions: int = PARTITIONS,
        rate: float = RATE,
        settings: Mapping[str, str] | None = None,
        notes: Notebook | None = None,
        topic_properties: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            cluster: running brokers.
            subject: the worker command.
            setup: client and delivery.
            directory: takes the workers' output.
            partitions: of the input topic.
            rate: records a second, all partitions together.
            settings: of the workers, besides the topics and what `setup` says.
            notes: what feeder and reader write in; by default the ledger.
            topic_properties: of all topics.
        """
        self.cluster, self.setup, self.directory = cluster, setup, directory
        self.ledger = Ledger()
        self._notes = notes or self.ledger
        self.group = f"conformance-{uuid.uuid4().hex[:8]}"
        self.input_topic, self.output_topic, self.dead_letter_topic = (
            f"{self.group}.{name}" for name in ("orders", "verdicts", "refused")
        )
        self.partitions = partitions
        self.workers: dict[str, WorkerProcess] = {}
        """Name -> latest process of that name."""
        self._subject = subject
        self._environment = {
            "BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "INPUT_TOPIC": self.input_topic,
            "OUTPUT_TOPIC": self.output_topic,
            "DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "STATUS_TOPIC": "",
            "GROUP_ID": self.group,
            "TRANSPORT": setup.client,
            "DELIVERY": setup.delivery,
            **(settings or {}),
        }
        self._cleanup = ExitStack()
        self._begin(rate, topic_properties or {})

    def _begin(self, rate: float, topic_properties: Mapping[str, str]) -> None:
        servers = self.cluster.bootstrap_servers
        configs = dict.fromkeys(self.topics, topic_properties)
        create_topics(servers, dict.fromkeys(self.topics, self.partitions), configs=configs)
        self.facts = Facts(servers)
        self.feeder = Feeder(
            servers,
            self.input_topic,
            partitions=self.partitions,
            rate=rate,
            shape=self._subject.shape,
            malformed=self._subject.malformed,
            notes=self._notes,
        )
        self.reader = Reader(
            servers,
            predictions=self.output_topic,
            dead_letters=self.dead_letter_topic,
            shape=self._subject.shape,
            notes=self._notes,
        )
        self.reader.start()
        self._cleanup.callback(self.reader.close)
        self.feeder.start()
        self._cleanup.callback(self.feeder.abandon)

    @property
    def topics(self) -> tuple[str, ...]:
        """All three."""
        return self.input_topic, self.output_topic, self.dead_letter_topic

    def start_worker(self, name: str, *, settings: Mapping[str, str] | None = None, **variables: str) -> WorkerProcess:
        """Starts a worker, or its successor of the same name, and does not wait.

        Args:
            name: its lasting name in the group.
            settings: of this process only.
            variables: of its environment that are no settings.
        """
        own = {**self._environment, "INSTANCE_ID": name, **(settings or {})}
        environment = {PREFIX + key: value for key, value in own.items()} | variables
        worker = WorkerProcess(self._subject, name, environment, self.directory)
        self._cleanup.callback(worker.end)
        self.workers[name] = worker
        return worker

    def retire(self, worker: WorkerProcess) -> None:
        """A worker has ended as it should, with whatever status."""
        worker.wait()
        del self.workers[worker.name]

    def await_ready(self, *workers: WorkerProcess) -> None:
        """Returns when the workers have joined their group."""
        for worker in workers:
            self.expect(lambda w=worker: w.is_ready or w.status is not None, f"{worker.name} is ready", READY_SECONDS)
            assert worker.is_ready, f"the worker ended before it was ready\n{worker.log()}"

    def await_progress(
        self,
        *,
        since: float | None = None,
        seconds: float = PROGRESS_SECONDS,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Returns when every partition has an answer to a record that was sent after `since`, by default now.

        This, and not what a worker says of itself, tells that it works. No partition may stand still for so many
        `seconds`; one that moves may lag longer, because on a busy machine a backlog takes time. `meanwhile` is called
        again and again.
        """
        moment = time.monotonic() if since is None else since
        moved: dict[int, tuple[float, float]] = {}
        """Partition -> how far it was answered, and when that was seen first."""

        def has_passed(partition: int) -> bool:
            now, reached = time.monotonic(), self.ledger.reached(partition)
            if moved.setdefault(partition, (reached, now))[0] != reached:
                moved[partition] = reached, now
            is_still = reached <= moment and now - moved[partition][1] > seconds
            assert not is_still, f"partition {partition} stood still for {seconds} s\n{self.account()}"
            return reached > moment

        def have_all_passed() -> bool:
            meanwhile()
            return not [partition for partition in range(self.partitions) if not has_passed(partition)]

        self.expect(have_all_passed, "every partition is answered", BACKLOGS * seconds)

    def expect(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Waits until `condition` holds.

        Raises:
            AssertionError: it does not, in time.
        """

        def holds() -> bool:
            self.feeder.check()
            self.reader.check()
            return condition()

        if not self._notes.wait_for(holds, seconds=seconds):
            raise AssertionError(f"not within {seconds} s: {what}\n{self.account()}")

    def strike(self, fault: Callable[[], object], *, partitions: Container[int] | None = None) -> Strike:
        """Lets `fault` happen at a moment when records are under way, and notes which.

        The caller sets the time after which an answer was given in spite of the fault, if it is later (see `Strike`).

        Args:
            fault: returns when it has struck.
            partitions: where it strikes; by default everywhere.
        """

        def under_way() -> list[Sent]:
            pending = self.ledger.pending()
            return [each for each in pending if partitions is None or each.source.partition in partitions]

        def are_enough() -> bool:
            nonlocal wave, sent_seconds
            if len(under_way()) >= WAVE_RECORDS:
                return True
            if time.monotonic() - sent_seconds > WAVE_SECONDS:
                # Where the feeder is slower than a worker, a wave is answered before all of it is confirmed.
                wave, sent_seconds = wave + WAVE_RECORDS, time.monotonic()
                self.feeder.swell(wave)
            return False

        wave, sent_seconds = 0, -math.inf
        self.expect(are_enough, "records are under way", PROGRESS_SECONDS)
        struck = Strike(time.monotonic(), 0, self.ledger.answered, under_way())
        fault()
        # Not before: what was answered while the fault took its time was not answered in spite of it.
        return struck._replace(after_ms=wall_clock_ms())

    def has_landed(self, strike: Strike) -> bool:
        """True if the fault struck in the middle of work.

        That is: answers had been given before, and of the records that waited at least one got its answer afterwards.
        """
        answers = [answer for record in strike.pending if (answer := self.ledger.first_answer(record))]
        return strike.answered > 0 and any(answer.timestamp_ms >= strike.after_ms for answer in answers)

    def longest_wait(self, *, since: float, partitions: Container[int] | None = None) -> float:
        """Longest wait in seconds of the reader of one partition from `since` to now."""
        waits = self.ledger.longest_waits(since=since, until=time.monotonic())
        return max((w for partition, w in waits.items() if partitions is None or partition in partitions), default=0.0)

    def finish(self, *, seconds: float = PROGRESS_SECONDS) -> Verdict:
        """Stops feeding, lets the workers finish, ends them, reads to the very end and judges.

        A count does not end it: the workers are given time until everything is answered, or until everything is
        committed and quiet; then, when they are gone, the outputs are read to their end for answers too many.
        """
        self.feeder.stop()
        self.expect(self._is_settled, "the workers have finished", seconds)
        for worker in self.workers.values():
            if worker.status is None:
                worker.terminate()
        statuses = {name: worker.wait() for name, worker in self.workers.items()}
        self.await_end_of_outputs(seconds=seconds)
        verdict = self.ledger.judge()
        assert not any(statuses.values()), f"ended with {statuses}\n{self.account()}"
        # Lost or doubled by the feeder, a record would be judged at the wrong offset.
        fed = self.feeder.offsets()
        ends = self.facts.ends(self.input_topic)
        assert ends == {partition: fed.get(partition, 0) for partition in ends}, f"{ends} appended, {fed} confirmed"
        return verdict

    def await_end_of_outputs(self, *, seconds: float = PROGRESS_SECONDS) -> None:
        """Returns when the reader has got everything that is there. Call it when nobody writes any more."""
        ends = {topic: self.facts.ends(topic) for topic in self.topics[1:]}
        try:
            self.expect(
                lambda: all(self.reader.has_read_to(topic, end) for topic, end in ends.items()),
                "the outputs are read to their end",
                seconds,
            )
        except AssertionError as error:
            places = {t: (self.reader.ends(t), self.facts.ends(t, stable=True), end) for t, end in ends.items()}
            error.add_note(f"topic -> (read to, stable end, end) of its partitions: {places}")
            raise

    def account(self) -> str:
        """What is known when something went wrong."""
        pending = self.ledger.pending()
        silent = sorted({record.source.partition for record in pending})
        logs = "\n".join(worker.log() for worker in self.workers.values())
        return f"{self.ledger.answered} answered, {len(pending)} pending in partitions {silent}\n{logs}"

    def _is_settled(self) -> bool:
        if not self.ledger.pending():
            return True
        quiet = time.monotonic() - self.ledger.last_answer_seconds > QUIET_SECONDS
        return quiet and self.facts.committed(self.group, self.input_topic) == self.feeder.offsets()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cleanup.close()


def wall_clock_ms() -> int:
    """Now, as Kafka stamps records."""
    return int(time.time() * 1000)

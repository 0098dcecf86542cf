"""The layers on real brokers: a contestant answers a topic that is full already, into a topic of its own."""

import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from worker.bench.answers import Answers
from worker.bench.assignment import Assignment
from worker.bench.errors import BenchError
from worker.bench.plan import Contestant
from worker.bench.program import Program
from worker.bench.topics import BenchTopics
from worker.messages import Position, Prediction
from worker.settings import variable

LIMIT_SECONDS = 600.0
"""A contestant that takes longer makes no progress, or should get fewer records."""
LOOK_SECONDS = 0.25
"""Each look costs the brokers, and the cores that they share, some milliseconds."""
NOTHING: Mapping[str, str] = {}


class Run:
    """A contestant that is running."""

    def __init__(self, program: Program, *, name: str, input_topic: str, output_topic: str, ready_file: Path) -> None:
        """
        Args:
            program: the contestant.
            name: how messages call it.
            input_topic: what it answers.
            output_topic: takes its answers; its consumer group is called the same.
            ready_file: where a worker writes that it is ready.
        """
        self._program, self._name, self._ready_file = program, name, ready_file
        self.input, self.output = input_topic, output_topic

    def await_ready(self) -> int:
        """Waits until a worker is ready; returns its health port.

        Raises:
            BenchError: it died, or took too long.
        """
        for _ in self.watch():
            if self._ready_file.exists():
                port: int = msgspec.json.decode(self._ready_file.read_bytes())["health_port"]
                return port
        raise AssertionError("watching ends with an error")

    def watch(self) -> Iterator[None]:
        """Looks after the program once in a while, for as long as a run may take.

        Raises:
            BenchError: it died, or took too long.
        """
        end_seconds = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end_seconds:
            self._program.require_alive()
            yield
            time.sleep(LOOK_SECONDS)
        raise BenchError(f"{self._name} was not done after {LIMIT_SECONDS:.0f} s. Try fewer --records.")


class Stream:
    """A backlog on the brokers, and what answers it."""

    def __init__(self, assignment: Assignment, topics: BenchTopics, *, peer: Sequence[str]) -> None:
        """Fills the backlog.

        Args:
            assignment: the work.
            topics: of this bench.
            peer: command of the layer ``peer``; empty for none.
        """
        self._assignment, self._topics, self._peer = assignment, topics, peer
        self._numbers = itertools.count(1)
        self._letters = topics.make("dead-letters")
        self._backlog = topics.make("backlog")
        _, self._workload = assignment.load()
        self.fill(self._backlog)
        self._reference: dict[Position, Prediction] = {}

    def measure(self, contestant: Contestant) -> float:
        """Has a contestant answer the backlog; returns its rate in records a second.

        Raises:
            BenchError: it died, took too long, or did not answer each event once and as the others do.
        """
        with self.start(contestant) as run:
            self.await_answers(run)
        answers = Answers.read(self._topics.read(run.output), expected=self._assignment.records)
        self.forget(run)
        self._reference = self._reference or answers.sample
        answers.require_same(self._reference, name=contestant.title)
        return answers.rate

    def fill(self, topic: str) -> None:
        """Writes all events to `topic`."""
        self._topics.fill(topic, self._workload.events())

    def await_answers(self, run: Run) -> None:
        """Waits until the offsets of all events are committed.

        Raises:
            BenchError: the contestant died, or took too long.
        """
        for _ in run.watch():
            if self._topics.committed(run.output, run.input) >= self._assignment.records:
                return

    @contextmanager
    def start(self, contestant: Contestant) -> Iterator[Run]:
        """Has a contestant answer the backlog, in a group of its own."""
        output = self._topics.make(f"answers-{next(self._numbers)}", append_time=True)
        with self._start(contestant, self._backlog, output, NOTHING) as run:
            yield run

    @contextmanager
    def start_live(self, contestant: Contestant, *, told: Mapping[str, str] = NOTHING) -> Iterator[Run]:
        """Starts a worker on an empty topic, which is deleted afterwards, and waits until it is ready.

        Args:
            contestant: who.
            told: further settings.
        """
        name = f"live-{next(self._numbers)}"
        topics = self._topics.make(name), self._topics.make(f"{name}.answers")
        with self._start(contestant, *topics, told) as run:
            run.await_ready()
            yield run
        self._topics.delete(*topics)

    def forget(self, run: Run) -> None:
        """Deletes the answers of a run."""
        self._topics.delete(run.output)

    @contextmanager
    def _start(
        self, contestant: Contestant, input_topic: str, output_topic: str, told: Mapping[str, str]
    ) -> Iterator[Run]:
        topics = {"input_topic": input_topic, "output_topic": output_topic, "group_id": output_topic}
        given = {**self._settings_of(contestant), **topics, **told}
        environment = {**os.environ, **{variable(field): value for field, value in given.items()}}
        with TemporaryDirectory() as directory:
            ready_file = Path(directory, "ready.json")
            with Program(self._command(contestant, ready_file), environment, name=contestant.title) as program:
                yield Run(
                    program,
                    name=contestant.title,
                    input_topic=input_topic,
                    output_topic=output_topic,
                    ready_file=ready_file,
                )

    def _command(self, contestant: Contestant, ready_file: Path) -> list[str]:
        if contestant.layer == "peer":
            return [*self._peer]
        command = [sys.executable, "-m", "worker", "run", "--ready-file", str(ready_file)]
        return command + (["--processes", str(contestant.processes)] if contestant.processes > 1 else [])

    def _settings_of(self, contestant: Contestant) -> dict[str, str]:
        """What must be so, whatever the environment says; the rest is measured as the environment has it."""
        settings = self._assignment.settings
        given = {
            "bootstrap_servers": settings.bootstrap_servers,
            "bundle": str(settings.require_bundle()),
            "dead_letter_topic": self._letters,
            "status_topic": "",
            "routes": "",
            "start": "earliest",
            "instance_id": "",
            # Every weight is answered.
            "attention_weights": "",
            "delivery": "at_least_once" if contestant.layer == "at-least-once" else "exactly_once",
            "leave_on_stop": "true",
            "health_host": "127.0.0.1",
            "health_port": "0",
            "log_level": "warning",
        }
        if contestant.client:
            given["transport"] = contestant.client
        if contestant.slice_records:
            given["slice_records"] = str(contestant.slice_records)
        return given

"""Everything that contestants need: processes that measure without brokers, and a backlog on the brokers."""

import secrets
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial

from worker.bench.assignment import Assignment
from worker.bench.memory import build_memory
from worker.bench.model import build_ceiling
from worker.bench.plan import OFFLINE, Contestant
from worker.bench.side_process import SideProcess
from worker.bench.stream import Stream
from worker.bench.topics import BenchTopics

BUILDERS = {"model": build_ceiling, "memory": build_memory}
LIMIT_SECONDS = 600.0


class Arena:
    """Where contestants are measured."""

    def __init__(
        self, opened: ExitStack, assignment: Assignment, *, layers: Collection[str], peer: Sequence[str]
    ) -> None:
        """
        Args:
            opened: closes everything, and deletes the topics.
            assignment: the work.
            layers: what will be measured.
            peer: command of the layer ``peer``; empty for none.

        Raises:
            LimelightError: the bundle cannot be used, or the brokers cannot be reached.
        """
        self._offline: dict[str, SideProcess[None, float]] = {}
        for layer in sorted(OFFLINE.intersection(layers)):
            measuring = partial(BUILDERS[layer], assignment)
            self._offline[layer] = SideProcess(measuring, name=Contestant(layer).title)
            opened.callback(self._offline[layer].close)
        self._stream: Stream | None = None
        if not OFFLINE.issuperset(layers):
            prefix = f"limelight.bench.{secrets.token_hex(4)}"
            topics = BenchTopics(assignment.settings, prefix=prefix, partitions=assignment.partitions)
            self._stream = Stream(assignment, opened.enter_context(topics), peer=peer)

    @property
    def stream(self) -> Stream:
        """The backlog on the brokers."""
        assert self._stream is not None, "a layer that needs brokers is among those of the arena"
        return self._stream

    def measure(self, contestant: Contestant) -> float:
        """Has a contestant answer the backlog; returns its rate in records a second.

        Raises:
            BenchError: it could not.
        """
        if contestant.layer not in OFFLINE:
            return self.stream.measure(contestant)
        return self._offline[contestant.layer].ask(None, timeout_seconds=LIMIT_SECONDS)

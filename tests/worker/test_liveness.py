"""What keeps `/livez` at 200: progress, or nothing to do, but not that the main loop turns."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from assembled import Member
from fallible import PARTITIONS, fill_broker

from worker import app
from worker.answers.answering import Answer
from worker.app import StreamWorker
from worker.errors import BrokerUnreachableError, ScoringError
from worker.ports import Record
from worker.settings import Settings
from worker.stream.pipeline import Answering

pytestmark = pytest.mark.fast

TURNS = 20
DEADLINE_SECONDS = 30.0


class Looping:
    """The main loop of a worker on a broker in memory, which counts its turns and its beats."""

    def __init__(self, bundle: Path, answer: Answering) -> None:
        self.turns = self.beats = 0
        self.worker: Any = StreamWorker(Settings(bundle=bundle))
        self.worker._heartbeat = SimpleNamespace(beat=self._beat)
        self.broker = fill_broker(8)
        self.member = Member(self.broker, PARTITIONS, answer=answer, timer=self.worker._time)
        self.worker._ownership = self.member.ownership
        self._stopping = SimpleNamespace(signal=None)

    def _beat(self) -> None:
        self.beats += 1

    def _count_turn(self, *, ready: bool) -> None:
        self.turns += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        pipeline, reporter = self.member.pipeline, SimpleNamespace(report=self._count_turn)
        thread = threading.Thread(target=self.worker._loop, args=(pipeline, reporter, self._stopping, 0))
        pipeline.start()
        thread.start()
        try:
            yield
        finally:
            self._stopping.signal = 15
            thread.join()
            pipeline.close()

    def turn(self) -> None:
        """Returns after a while of turns, the first of which had begun before."""
        end = self.turns + TURNS
        wait_until(lambda: self.turns >= end)


def wait_until(condition: Callable[[], bool]) -> None:
    end_seconds = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end_seconds, "it took too long"
        time.sleep(0.001)


def answer_all(records: Sequence[Record], *, suspect: bool) -> list[Answer]:
    return [b"answer"] * len(records)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(app, "FIRST_BACKOFF_SECONDS", 0)


def test_a_scoring_that_hangs_is_seen_while_the_loop_polls_on(tmp_path: Path) -> None:
    hanging, released = threading.Event(), threading.Event()

    def answer(records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        hanging.set()
        assert released.wait(2 * DEADLINE_SECONDS)
        return answer_all(records, suspect=suspect)

    looping = Looping(tmp_path, answer)
    with looping.running():
        try:
            assert hanging.wait(DEADLINE_SECONDS)
            looping.turn()
            beats = looping.beats
            looping.turn()
            assert looping.beats == beats
        finally:
            released.set()
        wait_until(lambda: looping.beats > beats and looping.member.pipeline.is_idle)


def pause(looping: Looping) -> None:
    looping.member.pipeline.is_paused = True


def fail_to_rewind(looping: Looping) -> None:
    """The brokers go away after everything was read."""
    source: Any = looping.member.source

    def be_away(*_: Any, **__: Any) -> Any:
        raise BrokerUnreachableError("the brokers are away")

    source.rewind = source.poll = be_away


def fail_to_deliver(looping: Looping) -> None:
    """Nothing that was read can be delivered, and what that left open cannot be ended."""
    delivery: Any = looping.member.pipeline._delivery

    def be_away(*_: Any, **__: Any) -> Any:
        raise BrokerUnreachableError("the brokers are away")

    delivery.deliver = delivery.settle = be_away


def place_nothing(looping: Looping) -> None:
    """The partitions wait for their place, or the group for its members."""
    source: Any = looping.member.source
    source.poll = lambda **_: []


@pytest.mark.parametrize("begin", [pause, fail_to_rewind, fail_to_deliver, place_nothing])
@pytest.mark.parametrize("has_read", [True, False])
def test_who_cannot_go_on_does_not_hang(tmp_path: Path, begin: Callable[[Looping], None], *, has_read: bool) -> None:
    """Before anything was read, and after."""
    looping = Looping(tmp_path, answer_all)
    if not has_read:
        begin(looping)
    with looping.running():
        if has_read:
            wait_until(lambda: looping.member.pipeline.finished > 0 and looping.member.pipeline.is_idle)
            begin(looping)
            looping.broker.append("events", 0, b"")
        for _ in range(3):
            beats = looping.beats
            wait_until(lambda: looping.beats > beats)  # noqa: B023 - called here


def test_a_model_that_is_at_fault_does_not_hang(tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ScoringError("the model failed")

    looping = Looping(tmp_path, fail)
    looping.member.pipeline._breaker._prove = fail
    with looping.running():
        wait_until(lambda: looping.member.pipeline._breaker.is_open)
        for _ in range(3):
            beats = looping.beats
            wait_until(lambda: looping.beats > beats)  # noqa: B023 - called here

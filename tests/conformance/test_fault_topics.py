"""An input topic that grows, or whose records expire unread."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.matrix import PYTHON, Setup
from harness.subject import IS_FOREIGN, WorkerProcess
from harness.topic_faults import EXPIRED_RECORDS, add_partitions, excuse, expire_under

pytestmark = pytest.mark.conformance

METADATA_MS = 1000
GROWTH_BAR_SECONDS = 10


@pytest.mark.fault("partition")
def test_partitions_that_are_added_are_answered_from_their_first_record(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    # Both clients look for new partitions every five minutes by default.
    name = "metadata.max.age.ms" if setup.client == PYTHON else "topic.metadata.refresh.interval.ms"
    arena = open_arena(setup, settings={"PROPERTIES": f"{name}={METADATA_MS}"})
    arena.await_ready(arena.start_worker("a"), arena.start_worker("b"))

    seconds = add_partitions(arena, 2)

    assert broken_promises(arena) == {}
    note_waits("partitions added, until answered", [seconds], bar_seconds=GROWTH_BAR_SECONDS, is_promised=False)


@pytest.mark.fault("expired")
def test_a_gap_stops_the_worker_unless_it_may_be_skipped(
    setup: Setup, open_arena: Callable[..., Arena], broken_promises: Callable[[Arena], dict[str, str]]
) -> None:
    arena = open_arena(setup)
    worker = arena.start_worker("a")
    arena.await_ready(worker)

    # One that runs meets the gap, and one that starts.
    gap = expire_under(arena, worker)
    assert_stopped(worker)
    assert_stopped(arena.start_worker("a"))
    committed = arena.facts.committed(arena.group, arena.input_topic)[0]
    assert excuse(arena, gap._replace(committed=committed)) >= EXPIRED_RECORDS

    worker = arena.start_worker("a", settings={"OFFSET_GAP": "skip"})
    arena.await_progress()
    assert arena.has_landed(gap.strike)

    gap = expire_under(arena, worker)
    arena.await_progress()
    assert arena.has_landed(gap.strike)
    assert worker.status is None, worker.log()
    assert excuse(arena, gap) >= EXPIRED_RECORDS
    assert broken_promises(arena) == {}


def assert_stopped(worker: WorkerProcess) -> None:
    assert worker.wait() == 1, worker.log()
    if not IS_FOREIGN:
        assert "no longer holds offset" in worker.log()
        assert "LIMELIGHT_OFFSET_GAP=skip" in worker.log()

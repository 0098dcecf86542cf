"""Which attempts to commit may still arrive."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import (
    CommitFailedError,
    CoordinatorNotAvailableError,
    FencedInstanceIdError,
    KafkaConnectionError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from worker.transport.kafka_python.commits import CommitWatch

pytestmark = pytest.mark.fast

ENDS: list[Exception | None] = [None, CommitFailedError(), FencedInstanceIdError(), NodeNotReadyError()]
OPEN: list[Exception] = [KafkaConnectionError(), RequestTimedOutError(), CoordinatorNotAvailableError(), OSError()]


class Coordinator:
    """What the watch sees of the client's."""

    def __init__(self) -> None:
        self.outcomes: list[asyncio.Future[None]] = []
        self.is_known = self.is_stable = True
        self.rename(1, "one")

    def rename(self, generation_id: int, member_id: str) -> None:
        self._generation = SimpleNamespace(generation_id=generation_id, member_id=member_id)

    def coordinator(self) -> int | None:
        return 7 if self.is_known else None

    def generation_if_stable(self) -> Any:
        return self._generation if self.is_stable else None

    async def _send_offset_commit_request(self, _: Any) -> None:
        if not (self.is_known and self.is_stable):
            raise CoordinatorNotAvailableError
        self.outcomes.append(asyncio.get_running_loop().create_future())
        await self.outcomes[-1]


async def start(coordinator: Coordinator) -> "asyncio.Task[None]":
    task = asyncio.create_task(coordinator._send_offset_commit_request({}))
    await asyncio.sleep(0)
    return task


async def end(task: "asyncio.Task[None]", outcome: "asyncio.Future[None]", error: Exception | None) -> None:
    if error is None:
        outcome.set_result(None)
    else:
        outcome.set_exception(error)
    await asyncio.gather(task, return_exceptions=True)


@given(st.lists(st.sampled_from(ENDS + OPEN), min_size=1, max_size=6), st.randoms())
def test_overlapping_attempts_are_late_until_each_is_answered(errors: list[Exception | None], order: Any) -> None:
    async def play() -> None:
        coordinator = Coordinator()
        watch = CommitWatch(coordinator)
        assert not watch.may_come_late()
        tasks = [await start(coordinator) for _ in errors]
        under_way = list(zip(tasks, coordinator.outcomes, errors, strict=True))
        order.shuffle(under_way)
        is_open = False
        while under_way:
            assert watch.may_come_late()
            task, outcome, error = under_way.pop()
            await end(task, outcome, error)
            is_open |= error in OPEN
        assert watch.may_come_late() == is_open

    asyncio.run(play())


def test_what_the_group_refuses_anyway_and_what_never_went_out_is_not_late() -> None:
    async def play() -> None:
        coordinator = Coordinator()
        watch = CommitWatch(coordinator)
        task = await start(coordinator)
        await end(task, coordinator.outcomes[0], KafkaConnectionError())
        assert watch.may_come_late()
        for generation_id, member_id in ((2, "one"), (1, "two"), (-1, "")):
            coordinator.rename(generation_id, member_id)
            assert not watch.may_come_late()
        for name in ("is_known", "is_stable"):
            setattr(coordinator, name, False)
            with pytest.raises(CoordinatorNotAvailableError):
                await coordinator._send_offset_commit_request({})
            assert not watch.may_come_late()

    asyncio.run(play())

"""What is read while a commit waits for its answer, and a rebalance in the middle of it."""

from typing import NamedTuple

import pytest

from worker.transport.deadline import Deadline
from worker.transport.librdkafka.commits import GroupCommits

pytestmark = pytest.mark.fast


class Message(NamedTuple):
    """As much of one as `GroupCommits` looks at; only the library can make real ones."""

    number: int

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self.number


class Consumer:
    """Gives partition 0 away in the middle of the second read, as the library's callback does."""

    def __init__(self, commits: GroupCommits) -> None:
        self._commits = commits
        self._reads = 0

    def consume(self, count: int, seconds: float) -> list[Message]:
        assert (count, seconds) == (1, pytest.approx(0.05))
        self._reads += 1
        if self._reads == 1:
            return [Message(0)]
        self._commits.drop_early([("events", 0)])
        self._commits.unanswered = 0
        return [Message(1)]


def test_what_was_read_of_a_partition_that_leaves_stays_forgotten() -> None:
    commits = GroupCommits(fenced=RuntimeError, done=lambda _: None)
    commits.unanswered = 1

    commits.wait(Consumer(commits), Deadline(10))

    assert commits.take_early(10) == [Message(1)]

"""What is read while a commit waits for its answer, and a rebalance in the middle of it."""

from typing import NamedTuple

import pytest
from confluent_kafka import TopicPartition

from worker.ports import Committed
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
        self.committed: list[tuple[int, int]] = []

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert asynchronous
        self.committed += [(each.partition, each.offset) for each in offsets]

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


def test_nothing_is_committed_for_a_partition_that_leaves_in_the_meantime() -> None:
    """Its new owner may be further on: the group would be set back."""
    commits = GroupCommits(fenced=RuntimeError, done=lambda _: None)
    commits.unanswered = 1
    consumer = Consumer(commits)
    offsets = {("events", 0): Committed(0, ""), ("events", 1): Committed(3, "")}

    commits.commit(consumer, offsets, assignment=lambda: [("events", 1)])

    assert consumer.committed == [(1, 3)]

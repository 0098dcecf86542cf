"""Commits of a group member outside any transaction.

The library's call that waits for the group's answer has no bound: while the coordinator is away it goes on for minutes,
and whoever uses the consumer meanwhile waits with it. So commits are sent without waiting; their answers come with what
the consumer reads, and who wants to wait for them reads on.

Where the library answers in the group's place, because a connection broke or time ran out, the commit may arrive all
the same, and set the group back from where it is by then. Only a member that joins anew, under its lasting name, is
another one to the group, which refuses the former. (What the library sends again by itself, at most twice within one
commit, it does not tell: an earlier copy that arrives after the answer to a later one is not seen.)
"""

from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Committed, Partition
from worker.transport.deadline import Deadline
from worker.transport.librdkafka.client import describe
from worker.transport.terms import COMMIT_SECONDS

STEP_SECONDS = 0.05
"""How long one attempt to read waits."""


class GroupCommits:
    """What was sent, and what was answered."""

    def __init__(
        self,
        *,
        fenced: Callable[[], FencedError | BrokerUnreachableError],
        done: Callable[[Mapping[Partition, Committed]], None],
    ) -> None:
        """
        Args:
            fenced: the error to raise when the group takes another process, or nobody, for this member.
            done: told what the group has accepted.
        """
        self._fenced = fenced
        self._done = done
        self._refusals: list[KafkaError] = []
        self.unanswered = 0
        """How many commits may still have an effect."""
        self.may_come_late = False
        """True if one may arrive although it was answered: it was the library that gave up."""
        self.is_waiting = False
        """True while answers are waited for, in the middle of something else."""
        self.early: list[Message] = []
        """What was read meanwhile: all that the library had fetched, which can be far more than one poll may return."""

    def take_early(self, most: int) -> list[Message]:
        """The first of `early`, which is left with the rest."""
        taken, self.early = self.early[:most], self.early[most:]
        return taken

    def drop_early(self, partitions: Collection[Partition]) -> None:
        """Forgets what was read of partitions that leave: should they come back, they begin where the group is then."""
        self.early = [each for each in self.early if (each.topic(), each.partition()) not in partitions]

    def send(self, consumer: Consumer, offsets: Mapping[Partition, Committed]) -> None:
        """Sends a commit.

        Raises:
            KafkaException: the client takes none.
        """
        positions = [TopicPartition(*home, each.offset, metadata=each.metadata) for home, each in offsets.items()]
        consumer.commit(offsets=positions, asynchronous=True)
        self.unanswered += 1

    def take_answer(self, error: KafkaError | None, positions: list[TopicPartition]) -> None:
        """The library's ``on_commit``."""
        self.unanswered -= 1
        refusals = [error] if error is not None else [each.error for each in positions if each.error is not None]
        self._refusals += refusals
        # The library's own errors have negative codes.
        self.may_come_late |= any(refusal.code() < 0 for refusal in refusals)
        if not refusals:
            self._done({(p.topic, p.partition): Committed(p.offset, p.metadata or "") for p in positions})

    def check(self) -> None:
        """
        Raises:
            BrokerUnreachableError: a commit was refused to who we no longer are.
            DeliveryError: a commit was refused since the last time.
            FencedError: another process took over this member.
        """
        refusals, self._refusals = self._refusals, []
        for refusal in refusals:
            # The only fatal error of a consumer: its heartbeat may have heard of the fence before the commit did.
            if refusal.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL):
                raise self._fenced()
            raise DeliveryError(f"the group refused a commit: {describe(refusal)}")

    def commit(
        self,
        consumer: Consumer,
        offsets: Mapping[Partition, Committed],
        *,
        assignment: Callable[[], Collection[Partition]],
    ) -> None:
        """Sends a commit, once every earlier one is answered, and waits for its own answer.

        Args:
            consumer: the member.
            offsets: what to commit.
            assignment: what is ours: a wait may bring a rebalance, and what has moved is its new owner's to commit.

        Raises:
            DeliveryError: the group refused, or did not answer in time.
            FencedError: another process took over this member.
        """
        deadline = Deadline(COMMIT_SECONDS)
        try:
            self.wait(consumer, deadline)
            ours = assignment()
            if kept := {home: each for home, each in offsets.items() if home in ours}:
                self.send(consumer, kept)
                self.wait(consumer, deadline)
            self.check()
        except KafkaException as error:
            raise DeliveryError(f"the client takes no commit: {describe(error)}") from error
        except BrokerUnreachableError as error:
            raise DeliveryError(str(error)) from error

    def wait(self, consumer: Consumer, deadline: Deadline) -> None:
        """Reads on until every commit is answered.

        Raises:
            BrokerUnreachableError: not in time. What is unanswered may still set the group back to what it says.
        """
        self.is_waiting = True
        try:
            while self.unanswered:
                if not deadline.remaining_seconds():
                    raise BrokerUnreachableError("the group did not answer a commit in time")
                # First read, then added: a rebalance in between throws away what was early before.
                read = consumer.consume(1, STEP_SECONDS)
                self.early += read
        finally:
            self.is_waiting = False

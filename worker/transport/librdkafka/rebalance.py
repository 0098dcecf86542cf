"""What a member does when the group moves its partitions, and as whom the group knows it."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Partition
from worker.stream.ownership import Ownership
from worker.transport.deadline import Deadline
from worker.transport.deferred import DeferredOffsets
from worker.transport.librdkafka.client import log
from worker.transport.librdkafka.commits import GroupCommits
from worker.transport.librdkafka.places import Places
from worker.transport.membership import Membership

IDENTITY_SECONDS = 0.1
"""Asking takes 30 us, with the interpreter's lock held: at every poll it was 4 % of what held the lock."""


class _Identity(NamedTuple):
    """As whom the group knows us."""

    member_id: str
    metadata: Any
    """The same with the generation, as a producer wants it."""


class Rebalances:
    """Tells the ownership what the group decides. Its callbacks run inside a poll or the close, on the same thread."""

    def __init__(
        self,
        consumer: Consumer,
        *,
        ownership: Ownership,
        deferred: DeferredOffsets,
        commits: GroupCommits,
        places: Places,
        membership: Membership,
    ) -> None:
        """
        Args:
            consumer: the member.
            ownership: told which partitions come and go.
            deferred: committed for partitions before they go.
            commits: of the member.
            places: where its partitions are read.
            membership: knows as whom they were read.
        """
        self._consumer = consumer
        self._ownership = ownership
        self._deferred = deferred
        self._commits = commits
        self._places = places
        self._membership = membership
        self._topics: list[str] = []
        self._is_away = False
        """True while we keep from joining anew."""
        self._was_given_up = self._is_over = False
        self.replaced: FencedError | None = None
        """Why no commit, and no poll, can succeed any more."""
        self._not_granted: list[Partition] = []
        """What was assigned while a commit was waited for. It is ours from the next poll on: between two, nothing may
        go and come back unseen."""
        self._noted: _Identity | None = None
        self._noted_lately = Deadline(0)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Joins the group, which takes some polls."""
        self._topics = list(topics)
        self._is_away = False
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def end(self) -> None:
        """The member is replaced by another of ours: what the group decides of it from now on is nobody's concern."""
        self._is_over = True

    def require_membership(self) -> None:
        """
        Raises:
            BrokerUnreachableError: once, if what was read before belongs to a membership that is over.
            FencedError: another process took over this member while this one stood still.
        """
        if self.replaced is not None:
            raise self.replaced
        if self._was_given_up:
            self._was_given_up = False
            raise BrokerUnreachableError("the group had given this member up, and took it back")

    def catch_up(self) -> None:
        """Does what waited for the time between two polls."""
        if self._is_away and not self._commits.unanswered:
            self.subscribe(self._topics)
        if self._not_granted:
            self._ownership.grant(self._not_granted)
            self._not_granted = []

    def note_identity(self) -> None:
        """Notes as whom the group knows us: whoever delivers would have to wait for the poll to ask that."""
        self._noted = self._look_up_identity()
        self._noted_lately = Deadline(IDENTITY_SECONDS)

    def refresh_identity(self) -> None:
        """Notes it anew now and then: it changes with a rebalance, of which we are told in time as a rule."""
        if not self._noted_lately.remaining_seconds():
            self.note_identity()
            if self._noted is not None and self._noted.member_id != self._membership.member_id:
                # Who owned nothing is not told that it was lost.
                self._ownership.part()

    def group_metadata(self, *, anew: bool) -> Any:
        """Implements `worker.transport.transactional.GroupMetadata`."""
        if self._is_over:
            raise DeliveryError("the member that read this is about to be replaced by another of ours")
        noted = self._noted
        if anew or noted is None:
            noted = self._look_up_identity()
        if noted.member_id != self._membership.member_id:
            raise DeliveryError("the group gave this member up, and what it has read with it")
        return noted.metadata

    def _look_up_identity(self) -> _Identity:
        # In this order: if the group takes us for another in between, the broker refuses the older of both.
        metadata = self._consumer.consumer_group_metadata()
        return _Identity(self._consumer.memberid() or "", metadata)

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        if self._is_over:
            consumer.incremental_assign([])
            return
        self._note_member_id()
        partitions = _homes(assigned)
        self._places.add(partitions)
        self._grant(partitions)

    def _grant(self, partitions: Collection[Partition]) -> None:
        """In the middle of a commit later: what the caller has read must not be stamped with the new epoch."""
        if self._commits.is_waiting:
            self._not_granted += partitions
        else:
            self._ownership.grant(partitions)

    def _note_member_id(self) -> None:
        """Where the group gave a member up in the middle of a rebalance, and takes it back, nothing is called lost."""
        self.note_identity()
        known_id, self._membership.member_id = self._membership.member_id, self._consumer.memberid() or ""
        if known_id not in ("", self._membership.member_id):
            self._was_given_up = True
            ours = frozenset(self._places.all())
            self._ownership.forget(ours)
            self._deferred.drop(ours)
            self._grant(ours)

    def _revoked(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        if self._is_over or consumer.memberid() != self._membership.member_id:
            self._lost(consumer, revoked)
            return
        partitions = _homes(revoked)
        self._ownership.withdraw(partitions)
        if last := self._deferred.departing(partitions):
            # The library gives the partitions away when it has the answer.
            self._commits.send(self._consumer, last)
        self._forget(partitions)

    def _lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        # Not called for who owned nothing. Woken after a suspension, the library's own thread looks at its session
        # before anything else, even at max.poll.interval.ms, and has joined anew before we could ask who has our name.
        partitions = _homes(lost)
        if self._is_over:
            self._places.remove(partitions)
            return
        self._ownership.forget(partitions)
        self._ownership.part()
        try:
            self._membership.require_name()
        except FencedError as error:
            self.replaced = error
            # As soon as it is told that the partitions are gone, the library joins anew under our name. Where this
            # raises, it has heard from the group itself that it is fenced.
            self._consumer.unsubscribe()
        else:
            self._stay_away_while_commits_may_come_late()
        self._forget(partitions)
        self._membership.member_id = ""

    def _stay_away_while_commits_may_come_late(self) -> None:
        """A commit that waits for the coordinator is sent as who the library is when it goes out.

        As nobody it is refused, which the library takes for a fence: `LibrdkafkaSource` sees to that. As a new member
        we would set the group back, past whoever has read on meanwhile.
        """
        if self._commits.unanswered:
            log.warning("%d commits are unanswered: waiting with the return to the group", self._commits.unanswered)
            self._is_away = True
            self._consumer.unsubscribe()

    def _forget(self, partitions: Collection[Partition]) -> None:
        self._deferred.drop(partitions)
        self._not_granted = [partition for partition in self._not_granted if partition not in partitions]
        self._commits.drop_early(partitions)
        self._places.remove(partitions)


def _homes(partitions: list[TopicPartition]) -> list[Partition]:
    return [(partition.topic, partition.partition) for partition in partitions]

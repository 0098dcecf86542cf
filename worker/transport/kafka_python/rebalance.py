"""What a member does when the group moves its partitions."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from worker.ports import Committed, Partition
from worker.stream.ownership import WITHDRAW_SECONDS, Ownership
from worker.transport.deadline import Deadline
from worker.transport.deferred import DeferredOffsets
from worker.transport.kafka_python.client import describe
from worker.transport.membership import Membership

log = logging.getLogger(__name__)


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the ownership what the group decides. Runs inside a poll or the close, on the client's own thread."""

    def __init__(
        self, ownership: Ownership, deferred: DeferredOffsets, membership: Membership, coordinator: Any
    ) -> None:
        """
        Args:
            ownership: told which partitions come and go.
            deferred: committed for partitions before they go.
            membership: knows as whom the partitions were read.
            coordinator: the consumer's.
        """
        self._ownership = ownership
        self._deferred = deferred
        self._membership = membership
        self._coordinator = coordinator

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """They begin at their committed offsets."""
        forget_answers(self._coordinator)
        self._ownership.grant(homes(assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """A coroutine because it commits: on this thread, the client refuses calls that wait."""
        if self._coordinator._generation.member_id != self._membership.member_id:
            # The group had given this member up, which makes them lost.
            self.on_partitions_lost(revoked)
            return
        partitions = homes(revoked)
        deadline = Deadline(WITHDRAW_SECONDS)  # for both waits: the whole group waits with us
        self._ownership.withdraw(partitions)
        if last := self._deferred.departing(partitions):
            try:
                await self._coordinator._commit_offsets_sync_async(to_kafka(last), deadline.remaining_seconds() * 1000)
            except KafkaError as error:
                log.warning("offsets of moved partitions were not committed: %s", describe(error))
        self._deferred.drop(partitions)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Others may own them already: nothing of theirs may be committed any more."""
        partitions = homes(lost)
        self._ownership.forget(partitions)
        self._ownership.part()
        self._deferred.drop(partitions)
        self._membership.member_id = ""


def keep_member_id(coordinator: Any) -> None:
    """Makes a member that gives itself up after a long silence join anew as who it was, not as a newcomer.

    The group takes a newcomer under a lasting name for the successor of whoever has it. Who was suspended, and replaced
    meanwhile, would drive out its own replacement; asked for its old id, the group answers that it is fenced.
    """

    async def give_up(*_: Any, **__: Any) -> None:
        # A static member tells nobody that it leaves: the client's own does no more, but for forgetting the id.
        coordinator.reset_generation(member_id=coordinator._generation.member_id)

    coordinator.maybe_leave_group_async = give_up


def forget_answers(coordinator: Any) -> None:
    """Has the client ask anew what the group has committed.

    It keeps a question that it had no time to wait for, and gives its answer to whoever next asks for the same
    partitions, be it after others have had and read them.
    """
    coordinator._offset_fetch_futures.clear()


def homes(partitions: Iterable[TopicPartition]) -> list[Partition]:
    """The client's partitions as ours."""
    return [(partition.topic, partition.partition) for partition in partitions]


def to_kafka(offsets: Mapping[Partition, Committed]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Our offsets as the client's."""
    return {TopicPartition(*p): OffsetAndMetadata(each.offset, each.metadata) for p, each in offsets.items()}

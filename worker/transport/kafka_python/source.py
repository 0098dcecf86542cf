"""Reads the input topic through kafka-python.

The consumer is a static member of its group with cooperative-sticky assignment, reads ``read_committed`` and commits
nothing by itself: offsets travel in the sink's transactions. The client's own reset policy stays off, because it would
jump over a gap in silence.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from kafka.structs import ConsumerGroupMetadata, MemberState

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed, Offsets, Partition, Record
from worker.stream.ownership import Ownership
from worker.transport import terms
from worker.transport.deferred import DeferredOffsets
from worker.transport.kafka_python.client import connect, describe, principal, require_partitions, transport_error
from worker.transport.kafka_python.commits import CommitWatch
from worker.transport.kafka_python.rebalance import RebalanceListener, forget_answers, keep_member_id, to_kafka
from worker.transport.kafka_python.starts import Starts
from worker.transport.membership import Membership
from worker.transport.rights import Rights
from worker.transport.terms import (
    COMMIT_SECONDS,
    END_SECONDS,
    HEARTBEAT_MS,
    MAX_POLL_SECONDS,
    METADATA_SECONDS,
    PARTITION_FETCH_BYTES,
    OffsetGap,
)

log = logging.getLogger(__name__)

FETCH_BYTES = 8 * 1024 * 1024
"""Most bytes in one answer to a fetch."""
JOIN_SECONDS = 1
"""A poll that ends in the middle of a rebalance throws away what the group has answered, and the next one begins anew:
with the short polls of a busy worker, on a busy machine, members were seen to join for ever."""
LAG_SECONDS = 1
"""A report is not worth a longer halt of the polling."""


class KafkaSource:
    """Reads the input topic as a member of the consumer group. Implements `worker.ports.Source`."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        topics: Sequence[str],
        group_id: str,
        instance: str,
        offset_gap: OffsetGap,
        session_timeout_seconds: float,
        ownership: Ownership,
        membership: Membership,
        may_repeat: bool,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            topics: input topics.
            group_id: consumer group.
            instance: static member id.
            offset_gap: what to do when the position is gone from the log.
            session_timeout_seconds: after this silence the group gives the partitions away.
            ownership: told which partitions come and go.
            membership: of the same member.
            may_repeat: answers may be given twice. Then a commit that comes late does no harm: the next one sets the
                group forward again.

        Raises:
            BrokerUnreachableError: no broker answered.
            TopicMissingError: a topic does not exist.
        """
        self._rights = Rights(partial(principal, client), "READ", tuple(topics), group_id)
        self._instance = instance
        self.membership = membership
        self._session_timeout_seconds = session_timeout_seconds
        self._consumer = connect(
            KafkaConsumer,
            client,
            group_id=group_id,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            partition_assignment_strategy=[CooperativeStickyAssignor()],
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
            session_timeout_ms=int(session_timeout_seconds * 1000),
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=MAX_POLL_SECONDS * 1000,
        )
        for topic in topics:
            require_partitions(self._consumer, client, topic, self._rights)
        keep_member_id(self._consumer._coordinator)
        self._commits = None if may_repeat else CommitWatch(self._consumer._coordinator)
        self._joins_anew = False
        """True from the moment when a commit may come late until the group knows us as somebody else."""
        self._starts = Starts(self._consumer, offset_gap=offset_gap)
        self._ownership = ownership
        self._deferred = DeferredOffsets(self.commit)
        self.commit_soon = self._deferred.add
        self._consumer.subscribe(
            list(topics), listener=RebalanceListener(ownership, self._deferred, membership, self._consumer._coordinator)
        )

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        self.membership.attend()
        if self._is_cast_out():
            self._ownership.part()
        if self._joins_anew:
            self._join_anew()
        self._deferred.try_to_flush()
        if self._consumer._coordinator.rejoining:
            # An answer that came between two polls may have made the client forget that it still has to be taken.
            self._consumer._coordinator.request_rejoin()
        if self._consumer._coordinator.need_rejoin():
            timeout_seconds = max(timeout_seconds, JOIN_SECONDS)
        try:
            polled = self._poll(max_records=max_records, timeout_ms=int(timeout_seconds * 1000))
        except FencedInstanceIdError as error:
            raise self.membership.fenced("group instance", self._instance) from error
        except InvalidSessionTimeoutError as error:
            raise terms.session_refused(self._session_timeout_seconds) from error
        except KafkaError as error:
            raise transport_error("reading failed", error, self._rights) from error
        self._check_membership()
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
            for records in polled.values()
            for r in records
        ]

    def _poll(self, *, max_records: int, timeout_ms: int) -> Mapping[TopicPartition, Sequence[Any]]:
        try:
            polled: Mapping[TopicPartition, Sequence[Any]] = self._consumer.poll(timeout_ms, max_records=max_records)
        except NoOffsetForPartitionError as error:
            self._starts.seek(error.args[0])
            return {}
        except OffsetOutOfRangeError as error:
            self._starts.cross_gap(error.args[0])
            return {}
        return polled

    def _check_membership(self) -> None:
        """Finds out what the client knows of the group and does not tell.

        Raises:
            BrokerUnreachableError: the group had given us up meanwhile. What was read before is stale.
            FencedError: another member has our name. The heartbeat noticed, and stopped without a word.
        """
        coordinator = self._consumer._coordinator
        with coordinator._lock:
            is_member = (
                coordinator.state == MemberState.STABLE and coordinator._join_task is None and not coordinator.rejoining
            )
            is_fenced = is_member and not coordinator._heartbeat_enabled
            member_id = coordinator._generation.member_id
        if is_fenced:
            raise self.membership.fenced("group instance", self._instance)
        if not is_member:
            return
        known_id, self.membership.member_id = self.membership.member_id, member_id
        if known_id not in ("", member_id):
            # The client calls no listener where the group gave a member up in the middle of a rebalance and takes it
            # back with the same partitions; but others may have had them in between.
            self._ownership.forget(self.assignment())
            self._deferred.drop(self.assignment())
            self._ownership.grant(self.assignment())
            raise BrokerUnreachableError("the group had given this member up, and took it back")
        if not self._ownership.joined and not self._is_cast_out():
            # The listener does not hear of a first assignment that is empty.
            self._ownership.grant([])

    def _is_cast_out(self) -> bool:
        """True if the group has given us up, or will have: it has not answered for as long as a session lasts."""
        coordinator = self._consumer._coordinator
        with coordinator._lock:
            # In the middle of a rebalance nothing need be heard for so long.
            is_silent = coordinator.state == MemberState.STABLE and coordinator.heartbeat.session_timeout_expired()
            return is_silent or bool(coordinator._generation.is_lost())

    def assignment(self) -> frozenset[Partition]:
        """Implements `worker.ports.Source`."""
        return frozenset((p.topic, p.partition) for p in self._consumer.assignment())

    def positions(self) -> Offsets:
        """Implements `worker.ports.Source`."""
        try:
            known = {partition: self._known_offset(partition, {}) for partition in self._consumer.assignment()}
        except KafkaError as error:
            raise transport_error("the positions cannot be read", error) from error
        return {(p.topic, p.partition): offset for p, offset in known.items() if offset is not None}

    def pause(self) -> None:
        """Implements `worker.ports.Source`."""
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Implements `worker.ports.Source`."""
        if paused := self._consumer.paused():
            self._consumer.resume(*paused)

    def rewind(self) -> None:
        """Implements `worker.ports.Source`. One question for all partitions, which a pending transaction holds up."""
        if self._may_be_set_back():
            # What the group says until then need not last.
            self._joins_anew = True
            raise BrokerUnreachableError("a commit may arrive late: joining the group anew, so that it is refused")
        assigned = self._consumer.assignment()
        known = self._deferred.waiting(self.assignment())
        asked = [each for each in assigned if (each.topic, each.partition) not in known]
        try:
            known |= self._fetch_committed(asked)
            for partition in assigned:
                if found := known.get((partition.topic, partition.partition)):
                    self._consumer.seek(partition, found.offset)
                else:
                    # Nothing was committed yet. The log's end may have moved since: what was polled lies before it.
                    self._starts.seek([partition])
        except KafkaError as error:
            raise transport_error("the committed offsets cannot be read", error) from error

    def _may_be_set_back(self) -> bool:
        """True if a commit may arrive late, past which we may have gone on by then."""
        return self._commits is not None and self._commits.may_come_late()

    def _join_anew(self) -> None:
        """Has the next poll join as nobody: the group gives us another id, and the partitions that belong to our name.

        Asked for until then, and no longer: who joins as nobody drives out whoever has the name, and once the group has
        been asked to take us, that may be ourselves.

        Raises:
            BrokerUnreachableError: nobody could say who has our name.
            FencedError: another process has it.
        """
        coordinator = self._consumer._coordinator
        if coordinator.rejoining or coordinator._join_task is not None:
            return
        if coordinator.state == MemberState.STABLE and not self._may_be_set_back():
            self._joins_anew = False
            return
        self._ownership.part()
        try:
            has_name = self.membership.has_name(coordinator._generation.member_id)
        except BrokerUnreachableError as error:
            if coordinator.state != MemberState.STABLE:
                raise
            # The poll keeps our place meanwhile, and the rewind refuses to go on.
            log.warning("joining the group anew has to wait: %s", error)
            return
        if not has_name:
            raise self.membership.fenced("group instance", self._instance)
        with coordinator._lock:
            if coordinator.state == MemberState.STABLE and coordinator._join_task is None:
                coordinator.reset_generation()

    def _fetch_committed(self, partitions: Collection[TopicPartition]) -> dict[Partition, Committed]:
        """With require_stable: an offset that an open transaction may still change is not an answer.

        Nothing is polled meanwhile, so who has to wait longer asks again later.
        """
        coordinator = self._consumer._coordinator
        forget_answers(coordinator)
        found = coordinator.fetch_committed_offsets(partitions, timeout_ms=METADATA_SECONDS * 1000)
        return {(p.topic, p.partition): Committed(each.offset, each.metadata) for p, each in found.items()}

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Implements `worker.ports.Source`."""
        self._deferred.flush()
        try:
            return self._fetch_committed([TopicPartition(*partition) for partition in partitions])
        except KafkaError as error:
            raise transport_error("the committed offsets cannot be read", error) from error

    def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Implements `worker.ports.Source`."""
        try:
            self._consumer.commit(to_kafka(offsets), timeout_ms=COMMIT_SECONDS * 1000)
            if self._may_be_set_back():
                # The client had to try more than once. The rewind that follows a failure sees to it.
                raise DeliveryError("the group took a commit, but an earlier attempt may arrive late")
        except FencedInstanceIdError as error:
            raise self.membership.fenced("group instance", self._instance) from error
        except KafkaTimeoutError as error:
            raise DeliveryError("the group did not answer a commit in time") from error
        except KafkaError as error:
            raise DeliveryError(f"the group refused a commit: {describe(error)}") from error

    def commit_at_departure(self, give: Callable[[Collection[Partition]], Mapping[Partition, Committed]]) -> None:
        """Implements `worker.ports.Source`."""
        self._deferred.give = give

    def lag(self, committed: Offsets) -> int:
        """Implements `worker.ports.Source`."""
        try:
            ends = self._consumer.end_offsets(list(self._consumer.assignment()), timeout_ms=LAG_SECONDS * 1000)
            known = {partition: self._known_offset(partition, committed) for partition in ends}
        except KafkaError as error:
            raise transport_error("the lag cannot be read", error) from error
        return sum(max(0, ends[partition] - offset) for partition, offset in known.items() if offset is not None)

    def _known_offset(self, partition: TopicPartition, committed: Offsets) -> int | None:
        offset = committed.get((partition.topic, partition.partition))
        return self._starts.position(partition) if offset is None else offset

    def group_metadata(self, *, anew: bool) -> ConsumerGroupMetadata:  # noqa: ARG002 - it is always new
        """Membership that goes into a transaction, so that the broker refuses offsets of a member that was replaced.

        Raises:
            DeliveryError: the group has given up the member that read the records; it may be another by now.
        """
        metadata = self._consumer.group_metadata()
        if metadata.member_id != self.membership.member_id:
            raise DeliveryError("the group gave this member up, and what it has read with it")
        return metadata

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        # What is deferred is committed by the listener, which hears that the partitions go.
        self._consumer.close(autocommit=False, timeout_ms=END_SECONDS * 1000)

    def leave(self) -> None:
        """Implements `worker.transport.connections.GroupSource`."""
        self.close()
        self.membership.remove()

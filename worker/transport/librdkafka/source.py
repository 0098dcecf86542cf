"""Records through librdkafka, as a static member of a group with cooperative-sticky assignment."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError, LimelightError
from worker.ports import Committed, Offsets, Partition, Record
from worker.stream.ownership import Ownership
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.deferred import DeferredOffsets
from worker.transport.librdkafka import lookup
from worker.transport.librdkafka.client import close, connect, describe, log, principal, raise_denial, transport_error
from worker.transport.librdkafka.commits import GroupCommits
from worker.transport.librdkafka.consuming import consumer_properties
from worker.transport.librdkafka.places import Places
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.librdkafka.rebalance import Rebalances
from worker.transport.librdkafka.records import to_record
from worker.transport.membership import Membership
from worker.transport.rights import Rights
from worker.transport.terms import METADATA_SECONDS, OffsetGap

ASK_AGAIN_SECONDS = 0.02
"""Until committed offsets are asked for again that an open transaction held back, while the caller waits."""
STEP_SECONDS = 0.02
"""After so long a poll looks whether the group has given it partitions, which have to be placed."""
FENCED = str(KafkaError(KafkaError.FENCED_INSTANCE_ID).str())
"""Stands in the text of the fatal error that a replaced static member gets; its code says only that it is fatal."""


class LibrdkafkaSource:
    """Reads the input topic as a member of the consumer group. Implements `worker.ports.Source`."""

    def __init__(
        self,
        client: ClientProperties,
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
        self._client = client
        self._topics = topics
        self._ownership = ownership
        self._rights = Rights(partial(principal, client), "READ", tuple(topics), group_id)
        self.membership = membership
        self._fenced = partial(membership.fenced, "group instance", instance)
        self._offset_gap = offset_gap
        self._session_timeout_seconds = session_timeout_seconds
        self._may_repeat = may_repeat
        self._is_closed = self._is_called_fenced = False
        self._deferred = DeferredOffsets(self.commit)
        self.commit_soon = self._deferred.add
        self._properties = consumer_properties(group_id, instance, session_timeout_seconds)
        self._lookup = lookup.OffsetLookup(client, group_id=group_id)
        try:
            for topic in topics:
                self._lookup.require(topic)
            self._join(*self._connect())
        except LimelightError:
            self._lookup.close()
            raise

    def _connect(self) -> tuple[Consumer, GroupCommits]:
        """A consumer that has not joined yet.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        commits = GroupCommits(fenced=self._find_fence, done=self._deferred.settle)
        return connect(Consumer, "C", self._client, {**self._properties, "on_commit": commits.take_answer}), commits

    def _join(self, consumer: Consumer, commits: GroupCommits) -> None:
        self._consumer, self._commits = consumer, commits
        self._places = Places(self._consumer, self._lookup, deferred=self._deferred.waiting)
        self._rebalances = Rebalances(
            self._consumer,
            ownership=self._ownership,
            deferred=self._deferred,
            commits=self._commits,
            places=self._places,
            membership=self.membership,
        )
        self._rebalances.subscribe(self._topics)

    def _reopen(self, reason: str) -> None:
        """Joins with a new consumer under the same name: the group takes nothing more from the one before.

        Raises:
            BrokerUnreachableError: nobody could say who has our name, or no broker answered.
            FencedError: another process has it.
        """
        # Before the question: it takes a while, in which others could take the name.
        successor = self._connect()
        try:
            if not self._has_name():
                raise self._fenced()
        except LimelightError:
            close(successor[0])
            raise
        ours = self.assignment()
        self._ownership.forget(ours)
        self._ownership.part()
        self._deferred.drop(ours)
        self._rebalances.end()
        close(self._consumer)
        self.membership.member_id = ""
        self._join(*successor)
        self._is_called_fenced = False
        log.warning("joining the group anew: %s", reason)

    def _find_fence(self) -> FencedError | BrokerUnreachableError:
        """What to raise when the library says that another process took over this member.

        It says so, too, when nobody did: a commit that waits for the coordinator while the group gives us up is sent
        under our name and as no member, the group refuses that, and the library takes the refusal for final.
        """
        self._is_called_fenced = True
        try:
            has_name = self._has_name()
        except BrokerUnreachableError as error:
            return BrokerUnreachableError(f"the group may have given this member up: {error}")
        return BrokerUnreachableError("the group had given this member up") if has_name else self._fenced()

    def _has_name(self) -> bool:
        # The library may have joined again, and not yet told.
        return self.membership.has_name(self._consumer.memberid() or "")

    def group_metadata(self, *, anew: bool) -> Any:
        """Implements `worker.transport.transactional.GroupMetadata`."""
        return self._rebalances.group_metadata(anew=anew)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        self.membership.attend()
        if self._is_called_fenced:
            self._reopen("it had given this member up, and nobody else has its name")
        try:
            self._rebalances.require_membership()
            self._catch_up()
            messages = self._commits.take_early(max_records) or self._wait(timeout_seconds)
            if messages and len(messages) < max_records:
                messages += self._consumer.consume(max_records - len(messages), 0)
            self._rebalances.refresh_identity()
            self._rebalances.require_membership()
            return [record for message in messages if (record := self._accept(message)) is not None]
        except KafkaException as error:
            raise self._failure(error) from error

    def _catch_up(self) -> None:
        """Does what waited for this poll.

        Raises:
            FencedError: another process took over this member.
            KafkaException: nothing can be committed any more.
        """
        self._rebalances.catch_up()
        try:
            self._commits.check()
        except DeliveryError as error:
            log.warning("offsets of delivered slices wait to be committed: %s", error)
        if not self._commits.unanswered and (waiting := self._deferred.waiting()):
            self._commits.send(self._consumer, waiting)

    def _wait(self, timeout_seconds: float) -> list[Message]:
        """Waits for one message: for more of them, the library would wait until the time is over."""
        deadline = Deadline(timeout_seconds)
        while True:
            self._places.fill()
            remaining_seconds = deadline.remaining_seconds()
            messages = self._consumer.consume(1, min(STEP_SECONDS, remaining_seconds))
            if messages or remaining_seconds <= STEP_SECONDS:
                return messages

    def assignment(self) -> frozenset[Partition]:
        """Implements `worker.ports.Source`."""
        return frozenset(self._places.all())

    def positions(self) -> Offsets:
        """Implements `worker.ports.Source`."""
        return {partition: position for partition, position in self._places.all().items() if position is not None}

    def pause(self) -> None:
        """Implements `worker.ports.Source`."""
        self._places.pause()

    def resume(self) -> None:
        """Implements `worker.ports.Source`."""
        if self._places.resume():
            self._commits.early = []  # it is read again

    def rewind(self) -> None:
        """Implements `worker.ports.Source`. Polls return nothing until no transaction is pending on the partitions."""
        self._commits.wait(self._consumer, Deadline(METADATA_SECONDS))
        if self._commits.may_come_late and not self._may_repeat:
            # What the group says until then need not last.
            self._reopen(reason := "a commit may arrive late, and is to be refused")
            raise BrokerUnreachableError(f"joining the group anew: {reason}")
        self._commits.early = []
        try:
            self._places.rewind()
        except KafkaException as error:
            raise transport_error("the committed offsets cannot be read", error) from error

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Implements `worker.ports.Source`."""
        self._deferred.flush()
        deadline = Deadline(METADATA_SECONDS)
        try:
            found = self._lookup.committed(partitions)
            while waiting := [partition for partition in partitions if partition not in found]:
                if not deadline.remaining_seconds():
                    raise BrokerUnreachableError("an open transaction may change the committed offsets")
                # After a commit the brokers still need some milliseconds to end the transaction.
                time.sleep(ASK_AGAIN_SECONDS)
                found |= self._lookup.committed(waiting)
        except KafkaException as error:
            raise transport_error("the committed offsets cannot be read", error) from error
        return {partition: committed for partition, committed in found.items() if committed is not None}

    def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """Implements `worker.ports.Source`."""
        self._commits.commit(self._consumer, offsets, assignment=self.assignment)

    def commit_at_departure(self, give: Callable[[Collection[Partition]], Mapping[Partition, Committed]]) -> None:
        """Implements `worker.ports.Source`."""
        self._deferred.give = give

    def lag(self, committed: Offsets) -> int:
        """Implements `worker.ports.Source`."""
        try:
            self._places.fill()
            positions = self._places.all()
            ends = self._lookup.logged(positions, lookup.END)
        except KafkaException as error:
            raise transport_error("the lag cannot be read", error) from error
        known = {partition: committed.get(partition, position) for partition, position in positions.items()}
        return sum(max(0, ends[partition] - offset) for partition, offset in known.items() if offset is not None)

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        if not self._is_closed:
            self._part()
            self._is_closed = True
            close(self._consumer)
            self._lookup.close()

    def _part(self) -> None:
        """Commits what waits, while that is still possible."""
        if last := self._deferred.departing(self.assignment()):
            try:
                self.commit(last)
            except DeliveryError as error:
                log.warning("offsets were not committed at the end: %s", error)

    def leave(self) -> None:
        """Implements `worker.transport.connections.GroupSource`."""
        self.close()
        self.membership.remove()

    def _accept(self, message: Any) -> Record | None:  # by its stubs, everything in a message may be missing
        home, offset, error = (message.topic(), message.partition()), message.offset(), message.error()
        if error is not None:
            self._take_note(error, home, offset)
        elif self._places.get(home) is not None:
            self._places.advance(home, offset + 1)
            return to_record(message)
        return None

    def _take_note(self, error: KafkaError, home: Partition, offset: int) -> None:
        """What is not a record: the end of a partition, a gap, or a failure.

        Raises:
            LimelightError: it is more than a note.
        """
        position = self._places.get(home)
        match error.code():
            case KafkaError._PARTITION_EOF if position is not None:
                self._places.advance(home, max(position, offset))
            case KafkaError._AUTO_OFFSET_RESET if home in self._places:
                self._handle_gap(home, offset if position is None else position)
            case KafkaError._PARTITION_EOF | KafkaError._AUTO_OFFSET_RESET:
                pass
            case KafkaError._MAX_POLL_EXCEEDED:
                log.warning("left the group: %s", describe(error))
            case _:
                raise self._failure(error)

    def _handle_gap(self, home: Partition, offset: int) -> None:
        """
        Raises:
            OffsetGapError: it is not to be skipped, or the log ends before it.
        """
        end = self._lookup.logged([home], lookup.END)[home]
        if offset > end:
            raise terms.beyond_end(*home, offset=offset, end=end)
        if self._offset_gap == "stop":
            raise terms.gap(*home, offset=offset)
        log.warning("%s-%d: offset %d is gone, going on with the oldest left", *home, offset)
        self._places.restart(home, self._lookup.logged([home], lookup.FIRST)[home])

    def _failure(self, error: KafkaException | KafkaError) -> LimelightError:
        if self._rebalances.replaced is not None:
            return self._rebalances.replaced
        raise_denial(error if isinstance(error, KafkaException) else KafkaException(error), self._rights)
        if FENCED in describe(error):
            return self._find_fence()
        if isinstance(error, KafkaError) and error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            return terms.session_refused(self._session_timeout_seconds)
        return transport_error("reading failed", error)

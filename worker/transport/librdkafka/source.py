"""Records through librdkafka, as a static member of a group with cooperative-sticky assignment."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import (
    BrokerUnreachableError,
    DecodeError,
    DeliveryError,
    FencedError,
    LimelightError,
    RecordError,
)
from worker.messages import Headers
from worker.ownership import Ownership
from worker.ports import Committed, Offsets, Partition, Record
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.deferred import DeferredOffsets
from worker.transport.librdkafka import lookup
from worker.transport.librdkafka.client import close, connect, describe, log, principal, raise_denial, transport_error
from worker.transport.librdkafka.commits import GroupCommits
from worker.transport.librdkafka.places import Places
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.membership import Membership
from worker.transport.rights import Rights
from worker.transport.terms import (
    FETCH_BYTES,
    HEARTBEAT_MS,
    MAX_POLL_SECONDS,
    METADATA_SECONDS,
    PARTITION_FETCH_BYTES,
    OffsetGap,
)

QUEUE_BACKOFF_MS = 20
"""How long a full queue rests. The library's second would cap the throughput at one queue a second."""
FETCH_WAIT_MS = 100
"""How long a fetch waits where nothing is left to read. A seek waits as long, for the fetch that is under way: with the
library's 500 ms every abort and every rebalance would cost half a second."""
ASK_AGAIN_SECONDS = 0.02
"""Until committed offsets are asked for again that an open transaction held back, while the caller waits."""
STEP_SECONDS = 0.01
"""After so long a poll looks whether the group has given it partitions, which have to be placed. The binding lets one
thread at a time into a consumer, so whoever delivers waits as long for its membership: with 50 ms that halved the
throughput."""
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

        Raises:
            BrokerUnreachableError: no broker answered.
            TopicMissingError: a topic does not exist.
        """
        self._rights = Rights(partial(principal, client), "READ", tuple(topics), group_id)
        self._instance = instance
        self.membership = membership
        self._offset_gap = offset_gap
        self._ownership = ownership
        self._session_timeout_seconds = session_timeout_seconds
        self._closed = False
        self._was_given_up = False
        self._replaced: FencedError | None = None
        self._deferred = DeferredOffsets(self.commit)
        self.commit_soon = self._deferred.add
        self._commits = GroupCommits(fenced=self._fenced, done=self._deferred.settle)
        self._not_granted: list[Partition] = []
        """What was assigned while a commit was waited for. It is ours from the next poll on: between two, nothing may
        go and come back unseen."""
        properties = {
            "group.id": group_id,
            "group.instance.id": instance,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(session_timeout_seconds * 1000),
            "heartbeat.interval.ms": HEARTBEAT_MS,
            "max.poll.interval.ms": int(max(MAX_POLL_SECONDS, session_timeout_seconds) * 1000),
            "auto.offset.reset": "error",
            # What is fetched ahead is thrown away, and fetched again, by every pause.
            "queued.max.messages.kbytes": FETCH_BYTES // 1024,
            "fetch.max.bytes": FETCH_BYTES,
            "fetch.message.max.bytes": PARTITION_FETCH_BYTES,
            "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            # The marks that end transactions take offsets too: only this tells that nothing stands behind them.
            "enable.partition.eof": True,
            "on_commit": self._commits.take_answer,
        }
        self._lookup = lookup.OffsetLookup(client, group_id=group_id)
        try:
            for topic in topics:
                self._lookup.require(topic)
            self._consumer = connect(Consumer, "C", client, properties)
        except LimelightError:
            self._lookup.close()
            raise
        self._places = Places(self._consumer, self._lookup, deferred=self._deferred.waiting)
        self._consumer.subscribe(list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        self.membership.attend()
        try:
            self._require_membership()
            self._catch_up()
            messages = self._commits.take_early(max_records) or self._wait(timeout_seconds)
            if messages and len(messages) < max_records:
                messages += self._consumer.consume(max_records - len(messages), 0)
            self._require_membership()
            return [record for message in messages if (record := self._accept(message)) is not None]
        except KafkaException as error:
            raise self._failure(error) from error

    def _require_membership(self) -> None:
        """
        Raises:
            BrokerUnreachableError: once, if what was read before belongs to a membership that is over.
            FencedError: another process took over this member while this one stood still.
        """
        if self._replaced is not None:
            raise self._replaced
        if self._was_given_up:
            self._was_given_up = False
            raise BrokerUnreachableError("the group had given this member up, and took it back")

    def _catch_up(self) -> None:
        """Does what waited for this poll.

        Raises:
            FencedError: another process took over this member.
            KafkaException: nothing can be committed any more.
        """
        if self._not_granted:
            self._ownership.grant(self._not_granted)
            self._not_granted = []
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

    def group_metadata(self) -> Any:
        """Membership that goes into a transaction, so that the broker refuses offsets of a member that was replaced.

        Raises:
            DeliveryError: the group has given up the member that read the records; it may be another by now.
        """
        metadata = self._consumer.consumer_group_metadata()
        if self._consumer.memberid() != self.membership.member_id:
            raise DeliveryError("the group gave this member up, and what it has read with it")
        return metadata

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        if not self._closed:
            self._part()
            self._closed = True
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

    def _assigned(self, _: Consumer, assigned: list[TopicPartition]) -> None:
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
        known_id, self.membership.member_id = self.membership.member_id, self._consumer.memberid() or ""
        if known_id not in ("", self.membership.member_id):
            self._was_given_up = True
            self._ownership.forget(self.assignment())
            self._deferred.drop(self.assignment())
            self._grant(self.assignment())

    def _revoked(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        if self._consumer.memberid() != self.membership.member_id and not self._closed:
            self._lost(consumer, revoked)
            return
        partitions = _homes(revoked)
        self._ownership.withdraw(partitions)
        if not self._closed and (last := self._deferred.departing(partitions)):
            # The library gives the partitions away when it has the answer.
            self._commits.send(self._consumer, last)
        self._forget(partitions)

    def _lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        partitions = _homes(lost)
        self._ownership.forget(partitions)
        try:
            self.membership.require_name()
        except FencedError as error:
            self._replaced = error
            # As soon as it is told that the partitions are gone, the library joins anew under our name. Where this
            # raises, it has heard from the group itself that it is fenced.
            self._consumer.unsubscribe()
        self._forget(partitions)
        self.membership.member_id = ""

    def _forget(self, partitions: Collection[Partition]) -> None:
        self._deferred.drop(partitions)
        self._not_granted = [partition for partition in self._not_granted if partition not in partitions]
        self._commits.drop_early(partitions)
        self._places.remove(partitions)

    def _accept(self, message: Any) -> Record | None:  # by its stubs, everything in a message may be missing
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        home, error = (topic, partition), message.error()
        if error is not None:
            self._take_note(error, home, offset)
        elif self._places.get(home) is not None:
            self._places.advance(home, offset + 1)
            timestamp_ms = message.timestamp()[1]
            headers, fault = _headers(message)
            return Record(topic, partition, offset, timestamp_ms, message.key(), message.value(), headers, fault)
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
        if self._replaced is not None:
            return self._replaced
        raise_denial(error if isinstance(error, KafkaException) else KafkaException(error), self._rights)
        if FENCED in describe(error):
            return self._fenced()
        if isinstance(error, KafkaError) and error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
            return terms.session_refused(self._session_timeout_seconds)
        return transport_error("reading failed", error)

    def _fenced(self) -> FencedError:
        return self.membership.fenced("group instance", self._instance)


def _homes(partitions: list[TopicPartition]) -> list[Partition]:
    return [(partition.topic, partition.partition) for partition in partitions]


_read_headers = methodcaller("headers")
"""For a name that it cannot decode the binding returns a broken list *and* sets an exception. CPython 3.11 looks for
that after a call from C, such as this; where a call from Python has become a fast one it does not, and the list crashes
who uses it."""


def _headers(message: Any) -> tuple[Headers, RecordError | None]:
    """The message's headers, or why there are none: the binding has no way to a name that is no text."""
    try:
        return _read_headers(message) or [], None
    except SystemError:  # the binding's way to say that it could not decode
        return [], DecodeError(
            "a header has a name that is not UTF-8, which librdkafka's binding cannot read. Send names that are text; "
            "LIMELIGHT_TRANSPORT=kafka-python reads them all."
        )

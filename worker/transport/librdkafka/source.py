"""Records through librdkafka, as a static member of a group with cooperative-sticky assignment.

The library would look the committed offset of a new partition up by itself. We do, for three reasons: a lookup of its
own that fails at the wrong moment leaves the partition unread until the next rebalance; where no offset was committed
it raises the same error as for a gap; and a rewind needs the lookup anyway. So a partition has a *place* once it was
sought to where we know it begins; until then it is paused, and what still comes from it is dropped.

::

    assigned ──> without a place ── committed offset, or start ──> placed ── polled ──┐
                       ^                                             ^                │
                       └──────────────────── rewind ─────────────────┴────────────────┘
"""

import time
from collections.abc import Collection, Mapping, Sequence
from operator import methodcaller
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.errors import BrokerUnreachableError, DecodeError, LimelightError, RecordError, TransportError
from worker.messages import Headers
from worker.ownership import Ownership
from worker.ports import Committed, Offsets, Partition, Record
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.librdkafka import lookup
from worker.transport.librdkafka.client import code_of, connect, describe, log, transport_error
from worker.transport.librdkafka.commits import GroupCommits
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.terms import HEARTBEAT_MS, MAX_POLL_SECONDS, METADATA_SECONDS, OffsetGap, Start

QUEUE_KILOBYTES = 8 * 1024
"""Fetched ahead at most. The library's 64 MiB would be thrown away, and fetched again, by every pause."""
QUEUE_BACKOFF_MS = 20
"""How long a full queue rests. The library's second would cap the throughput at one queue a second."""
FETCH_WAIT_MS = 100
"""How long a fetch waits where nothing is left to read. A seek waits as long, for the fetch that is under way: with the
library's 500 ms every abort and every rebalance would cost half a second."""
LOOKUP_PAUSE_SECONDS = 0.5
"""Until committed offsets are asked for again that an open transaction held back."""
ASK_AGAIN_SECONDS = 0.02
"""The same for one question that a caller waits for."""
STEP_SECONDS = 0.05
"""After so long a poll looks whether the group has given it partitions, which have to be placed."""
NOT_NOW = frozenset({KafkaError._TIMED_OUT, KafkaError._STATE, KafkaError._PREV_IN_PROGRESS, KafkaError._OUTDATED})
"""Codes of a lookup or a seek that the next poll repeats: a transaction is open, or the fetcher is still starting."""
FENCED = str(KafkaError(KafkaError.FENCED_INSTANCE_ID).str())
"""Stands in the text of the fatal error that a replaced static member gets; its code says only that it is fatal."""


class LibrdkafkaSource:
    """Reads the input topic as a member of the consumer group. Implements `worker.ports.Source`."""

    def __init__(
        self,
        client: ClientProperties,
        *,
        topic: str,
        group_id: str,
        instance: str,
        start: Start,
        offset_gap: OffsetGap,
        session_timeout_seconds: float,
        ownership: Ownership,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            topic: input topic.
            group_id: consumer group.
            instance: static member id.
            start: where a partition without a committed offset begins.
            offset_gap: what to do when the position is gone from the log.
            session_timeout_seconds: after this silence the group gives the partitions away.
            ownership: told which partitions come and go.

        Raises:
            BrokerUnreachableError: no broker answered.
            TopicMissingError: the topic does not exist.
        """
        self._instance = instance
        self._begin = lookup.FIRST if start == "earliest" else lookup.END
        self._offset_gap = offset_gap
        self._started: dict[Partition, int] = {}
        """Where partitions began for which nothing was committed: the log's end moves on, a rewind must not."""
        self._ownership = ownership
        self._positions: dict[Partition, int | None] = {}
        """Next offset of every partition that is ours; None while it has no place."""
        self._lookup_pause = Deadline(0)
        self._paused = False
        self._closed = False
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
            "queued.max.messages.kbytes": QUEUE_KILOBYTES,
            "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
            # The marks that end transactions take offsets too: only this tells that nothing stands behind them.
            "enable.partition.eof": True,
        }
        self._lookup = lookup.OffsetLookup(client, group_id=group_id)
        try:
            self._lookup.require(topic)
            self._consumer = connect(Consumer, "C", client, properties)
        except LimelightError:
            self._lookup.close()
            raise
        self._commits = GroupCommits(self._consumer, instance=instance)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        try:
            messages = self._wait(timeout_seconds)
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
            return [record for message in messages if (record := self._accept(message)) is not None]
        except KafkaException as error:
            raise self._failure(error) from error

    def _wait(self, timeout_seconds: float) -> list[Message]:
        """Waits for one message: for more of them, the library would wait until the time is over."""
        deadline = Deadline(timeout_seconds)
        while True:
            self._place()
            remaining_seconds = deadline.remaining_seconds()
            messages = self._consumer.consume(1, min(STEP_SECONDS, remaining_seconds))
            if messages or remaining_seconds <= STEP_SECONDS:
                return messages

    def assignment(self) -> frozenset[Partition]:
        """Implements `worker.ports.Source`."""
        return frozenset(self._positions)

    def pause(self) -> None:
        """Implements `worker.ports.Source`."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._placed())

    def resume(self) -> None:
        """Implements `worker.ports.Source`."""
        if self._paused:
            self._paused = False
            self._consumer.resume(self._placed())
            for partition, position in self._positions.items():
                if position is not None:
                    self._seek(partition, position)

    def rewind(self) -> None:
        """Implements `worker.ports.Source`. Polls return nothing until no transaction is pending on the partitions."""
        self._commits.require_end()
        try:
            self._consumer.pause(self._placed())
            self._positions = dict.fromkeys(self._positions)
            self._lookup_pause = Deadline(0)
            self._place()
        except KafkaException as error:
            raise transport_error("the committed offsets cannot be read", error) from error

    def committed(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """Implements `worker.ports.Source`."""
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
        self._commits.commit(offsets)

    def lag(self, committed: Offsets) -> int:
        """Implements `worker.ports.Source`."""
        try:
            self._place()
            ends = self._lookup.logged(self._positions, lookup.END)
        except KafkaException as error:
            raise transport_error("the lag cannot be read", error) from error
        known = {partition: committed.get(partition, position) for partition, position in self._positions.items()}
        return sum(max(0, ends[partition] - offset) for partition, offset in known.items() if offset is not None)

    def group_metadata(self) -> Any:
        """Membership that goes into a transaction, so that the broker refuses offsets of a member that was replaced."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        if not self._closed:
            self._closed = True
            self._consumer.close()
            self._lookup.close()

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Takes partitions without reading them: any position would do, and the end is always there."""
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, OFFSET_END) for p in assigned])
        consumer.pause(assigned)
        partitions = _homes(assigned)
        self._positions |= dict.fromkeys(partitions)
        self._lookup_pause = Deadline(0)
        self._ownership.grant(partitions)

    def _revoked(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        partitions = _homes(revoked)
        self._ownership.withdraw(partitions)
        self._forget(partitions)

    def _lost(self, _: Consumer, lost: list[TopicPartition]) -> None:
        partitions = _homes(lost)
        self._ownership.forget(partitions)
        self._forget(partitions)

    def _forget(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self._positions.pop(partition, None)

    def _place(self) -> None:
        """Seeks the partitions without a place to their committed offset, or to the start, if that is known now."""
        waiting = self._unplaced()
        if not waiting or self._lookup_pause.remaining_seconds():
            return
        reason = "an open transaction may move their offsets"
        try:
            committed = self._lookup.committed(waiting)
            unread = [each for each, found in committed.items() if found is None and each not in self._started]
            self._started |= self._lookup.logged(unread, self._begin)
            for partition, found in committed.items():
                if not self._paused:
                    self._consumer.resume([TopicPartition(*partition)])
                self._seek(partition, self._started[partition] if found is None else found.offset)
        except KafkaException as error:
            if code_of(error) not in NOT_NOW:
                raise
            reason = describe(error)
        if waiting := self._unplaced():
            self._lookup_pause = Deadline(LOOKUP_PAUSE_SECONDS)
            log.warning("%d partitions wait for their place: %s", len(waiting), reason)

    def _seek(self, partition: Partition, offset: int) -> None:
        """Goes on at `offset`. Unlike a resume alone, a seek wakes the fetcher, which sleeps for up to a second."""
        self._consumer.seek(TopicPartition(*partition, offset))
        self._positions[partition] = offset

    def _unplaced(self) -> list[Partition]:
        return [partition for partition, position in self._positions.items() if position is None]

    def _placed(self) -> list[TopicPartition]:
        return [TopicPartition(*partition) for partition, position in self._positions.items() if position is not None]

    def _accept(self, message: Any) -> Record | None:  # by its stubs, everything in a message may be missing
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        home, error = (topic, partition), message.error()
        if error is not None:
            self._take_note(error, home, offset)
        elif self._positions.get(home) is not None:
            self._positions[home] = offset + 1
            timestamp_ms = message.timestamp()[1]
            headers, fault = _headers(message)
            return Record(topic, partition, offset, timestamp_ms, message.key(), message.value(), headers, fault)
        return None

    def _take_note(self, error: KafkaError, home: Partition, offset: int) -> None:
        """What is not a record: the end of a partition, a gap, or a failure.

        Raises:
            LimelightError: it is more than a note.
        """
        position = self._positions.get(home)
        match error.code():
            case KafkaError._PARTITION_EOF if position is not None:
                self._positions[home] = max(position, offset)
            case KafkaError._AUTO_OFFSET_RESET if home in self._positions:
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
        # After this error the fetcher of the partition takes no seek: it has to be started again.
        self._consumer.incremental_unassign([TopicPartition(*home)])
        oldest = self._lookup.logged([home], lookup.FIRST)[home]
        self._consumer.incremental_assign([TopicPartition(*home, oldest)])
        self._positions[home] = oldest

    def _failure(self, error: KafkaException | KafkaError) -> TransportError:
        if FENCED in describe(error):
            return terms.fenced("group instance", self._instance)
        return transport_error("reading failed", error)


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

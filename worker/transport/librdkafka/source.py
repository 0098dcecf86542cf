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

from collections.abc import Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from worker.errors import BrokerUnreachableError, LimelightError, TransportError
from worker.messages import Headers
from worker.ownership import Ownership
from worker.ports import Partition, Record
from worker.transport import terms
from worker.transport.librdkafka.client import code_of, connect, describe, find_partitions, log, transport_error
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.terms import MAX_POLL_SECONDS, REQUEST_SECONDS, OffsetGap, Start, require_topic

LOOKUP_SECONDS = 2.0
"""How long a poll may wait for committed offsets, which an open transaction can hold back: shorter than a revocation
may take."""
QUEUE_KILOBYTES = 8 * 1024
"""Fetched ahead at most. The library's 64 MiB would be thrown away, and fetched again, by every pause."""
QUEUE_BACKOFF_MS = 20
"""How long a full queue rests. The library's second would cap the throughput at one queue a second."""
NO_OFFSET = -1001
"""Of a partition for which the group has committed nothing."""
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
        self._begin = OFFSET_BEGINNING if start == "earliest" else OFFSET_END
        self._ownership = ownership
        self._positions: dict[Partition, int | None] = {}
        """Next offset of every partition that is ours; None while it has no place."""
        self._paused = False
        reading = {"group.id": group_id, "isolation.level": "read_committed", "enable.auto.commit": False}
        member = {
            "group.instance.id": instance,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": int(session_timeout_seconds * 1000),
            "heartbeat.interval.ms": int(session_timeout_seconds * 1000 / 3),
            "max.poll.interval.ms": int(max(MAX_POLL_SECONDS, session_timeout_seconds) * 1000),
            # Every partition begins at an offset that exists or is wanted, so this is about gaps only.
            "auto.offset.reset": "error" if offset_gap == "stop" else "earliest",
            "queued.max.messages.kbytes": QUEUE_KILOBYTES,
            "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
            # The marks that end transactions take offsets too: only this tells that nothing stands behind them.
            "enable.partition.eof": True,
        }
        self._consumer = connect(Consumer, "C", client, reading | member)
        try:
            # Asks for offsets: on the member's own connection a question waits behind a fetch, 500 ms on an idle topic.
            self._observer = connect(Consumer, "C", client, reading)
        except LimelightError:
            self._consumer.close()
            raise
        try:
            require_topic(find_partitions(self._observer, topic), topic)
        except LimelightError:
            self.close()
            raise
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        try:
            self._place()
            messages = self._consumer.consume(1, timeout_seconds)
            if messages and max_records > 1:
                messages += self._consumer.consume(max_records - 1, 0)
        except KafkaException as error:
            raise self._failure(error) from error
        return [record for message in messages if (record := self._accept(message)) is not None]

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

    def rewind(self) -> None:
        """Implements `worker.ports.Source`. Polls return nothing until no transaction is pending on the partitions."""
        try:
            self._consumer.pause(self._placed())
            self._positions = dict.fromkeys(self._positions)
            self._place()
        except KafkaException as error:
            raise transport_error("the committed offsets cannot be read", error) from error

    def lag(self) -> int:
        """Implements `worker.ports.Source`."""
        try:
            self._place()
            ends = self._find_offsets(list(self._positions), OFFSET_END)
        except KafkaException as error:
            raise transport_error("the lag cannot be read", error) from error
        behind = 0
        for partition, position in self._positions.items():
            if position is None:
                raise BrokerUnreachableError("the lag cannot be read: the committed offsets are not known yet")
            behind += max(0, ends[partition] - position)
        return behind

    def group_metadata(self) -> Any:
        """Membership that goes into a transaction, so that the broker refuses offsets of a member that was replaced."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        self._consumer.close()
        self._observer.close()

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        """Takes partitions without reading them: any position would do, and the end is always there."""
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, OFFSET_END) for p in assigned])
        consumer.pause(assigned)
        partitions = _homes(assigned)
        self._positions |= dict.fromkeys(partitions)
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
        waiting = [partition for partition, position in self._positions.items() if position is None]
        if not waiting:
            return
        try:
            offsets = self._find_committed(waiting)
            if unread := [partition for partition in waiting if partition not in offsets]:
                offsets |= self._find_offsets(unread, self._begin)
            for partition, offset in offsets.items():
                self._consumer.seek(TopicPartition(*partition, offset))
                self._positions[partition] = offset
                if not self._paused:
                    self._consumer.resume([TopicPartition(*partition)])
        except KafkaException as error:
            if code_of(error) not in NOT_NOW:
                raise
            log.warning("partitions wait for their committed offsets: %s", describe(error))

    def _find_committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Committed offsets, where there are any. One that an open transaction may change counts as not answered."""
        found = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=LOOKUP_SECONDS)
        return {partition: offset for partition, offset in _offsets(found).items() if offset != NO_OFFSET}

    def _find_offsets(self, partitions: Sequence[Partition], which: int) -> dict[Partition, int]:
        """First or ``read_committed`` end offsets."""
        if not partitions:
            return {}
        asked = [TopicPartition(*partition, which) for partition in partitions]
        return _offsets(self._observer.offsets_for_times(asked, timeout=REQUEST_SECONDS))

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
            return Record(topic, partition, offset, timestamp_ms, message.key(), message.value(), _headers(message))
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
            case KafkaError._PARTITION_EOF:
                pass
            case KafkaError._AUTO_OFFSET_RESET if home in self._positions:
                raise terms.gap(*home, offset=offset if position is None else position)
            case KafkaError._AUTO_OFFSET_RESET:
                pass
            case KafkaError._MAX_POLL_EXCEEDED:
                log.warning("left the group: %s", describe(error))
            case _:
                raise self._failure(error)

    def _failure(self, error: KafkaException | KafkaError) -> TransportError:
        if FENCED in describe(error):
            return terms.fenced("group instance", self._instance)
        return transport_error("reading failed", error)


def _homes(partitions: list[TopicPartition]) -> list[Partition]:
    return [(partition.topic, partition.partition) for partition in partitions]


def _offsets(answered: list[TopicPartition]) -> dict[Partition, int]:
    """
    Raises:
        KafkaException: a partition has an error in place of an offset.
    """
    for each in answered:
        if each.error is not None:
            raise KafkaException(each.error)
    return {(each.topic, each.partition): each.offset for each in answered}


def _headers(message: Any) -> Headers:
    """
    Raises:
        TransportError: a header's name is no text.
    """
    try:
        return message.headers() or []
    except SystemError as error:  # the binding's way to say that it could not decode
        where = f"{message.topic()}-{message.partition()}-{message.offset()}"
        raise TransportError(
            f"{where} has a header whose name is not UTF-8, which this client cannot read. "
            "Move the group's offset behind it."
        ) from error

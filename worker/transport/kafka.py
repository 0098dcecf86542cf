"""Kafka through kafka-python: the worker's source and sink, and a plain producer for the rest.

The consumer is a static member of its group with cooperative-sticky assignment, reads ``read_committed`` and commits
nothing by itself: offsets travel in the sink's transactions. The client's own reset policy stays off, because it would
jump over a gap in silence.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    FencedInstanceIdError,
    InvalidProducerEpochError,
    KafkaError,
    KafkaTimeoutError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    ProducerFencedError,
)
from kafka.net.compat import KafkaNetClient
from kafka.structs import ConsumerGroupMetadata, MemberState, OffsetAndMetadata

from worker.errors import BrokerUnreachableError, DeliveryError, SettingsError, TransportError
from worker.ownership import Ownership
from worker.ports import Claim, Offsets, Output, Partition, Record
from worker.settings import Settings
from worker.transport import kafka_transactions as transactions
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_properties import kafka_properties
from worker.transport.terms import (
    BATCH_BYTES,
    BOOTSTRAP_SECONDS,
    DEFAULT_RECORD_LIMIT_BYTES,
    END_SECONDS,
    HEARTBEAT_MS,
    LINGER_MS,
    MAX_POLL_SECONDS,
    MAX_REQUEST_BYTES,
    METADATA_SECONDS,
    REQUEST_SECONDS,
    RETRY_BACKOFF_MS,
    OffsetGap,
    Start,
    require_topic,
)

FENCED = (ProducerFencedError, InvalidProducerEpochError, FencedInstanceIdError)
LAG_SECONDS = 1
"""A report is not worth a longer halt of the polling."""


class KafkaSource:
    """Reads the input topic as a member of the consumer group. Implements `worker.ports.Source`."""

    def __init__(
        self,
        client: Mapping[str, Any],
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
        self._start = start
        self._offset_gap = offset_gap
        self._started: dict[TopicPartition, int] = {}
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
            session_timeout_ms=int(session_timeout_seconds * 1000),
            heartbeat_interval_ms=HEARTBEAT_MS,
            max_poll_interval_ms=MAX_POLL_SECONDS * 1000,
        )
        require_topic(self._consumer.partitions_for_topic(topic), topic)
        self._ownership = ownership
        self._consumer.subscribe([topic], listener=_Rebalance(ownership))

    def poll(self, *, max_records: int, timeout_seconds: float) -> Sequence[Record]:
        """Implements `worker.ports.Source`."""
        try:
            polled = self._poll(max_records=max_records, timeout_ms=int(timeout_seconds * 1000))
        except FencedInstanceIdError as error:
            raise terms.fenced("group instance", str(self._consumer.config["group_instance_id"])) from error
        except KafkaError as error:
            raise transport_error("reading failed", error) from error
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
            self._seek_to_start(error.args[0])
            return {}
        except OffsetOutOfRangeError as error:
            self._handle_gap(error)
            return {}
        return polled

    def _check_membership(self) -> None:
        """Finds out what the client knows of the group and does not tell.

        Raises:
            FencedError: another member has our name. The heartbeat noticed, and stopped without a word.
        """
        coordinator = self._consumer._coordinator
        with coordinator._lock:
            is_member = coordinator.state == MemberState.STABLE and coordinator._join_task is None
            is_fenced = is_member and not coordinator._heartbeat_enabled
        if is_fenced:
            raise terms.fenced("group instance", str(self._consumer.config["group_instance_id"]))
        if is_member and not self._ownership.joined:
            # The listener does not hear of a first assignment that is empty.
            self._ownership.grant([])

    def assignment(self) -> frozenset[Partition]:
        """Implements `worker.ports.Source`."""
        return frozenset((p.topic, p.partition) for p in self._consumer.assignment())

    def pause(self) -> None:
        """Implements `worker.ports.Source`."""
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """Implements `worker.ports.Source`."""
        if paused := self._consumer.paused():
            self._consumer.resume(*paused)

    def rewind(self) -> None:
        """Implements `worker.ports.Source`. Waits until no transaction is pending on the partitions."""
        try:
            for partition in self._consumer.assignment():
                # Read with require_stable: an offset that an open transaction may still change is not an answer.
                committed = self._consumer.committed(partition, timeout_ms=MAX_POLL_SECONDS * 1000)
                if committed is None:
                    # Nothing was committed yet. The log's end may have moved since: what was polled lies before it.
                    self._seek_to_start([partition])
                else:
                    self._consumer.seek(partition, committed)
        except KafkaError as error:
            raise transport_error("the committed offsets cannot be read", error) from error

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
        if offset is not None:
            return offset
        try:
            # None while the group's offsets cannot be read, as when a dead worker's transaction is still open.
            position: int | None = self._consumer.position(partition, timeout_ms=0)
        except NoOffsetForPartitionError:
            # Asked between the join and the first poll.
            self._seek_to_start([partition])
            position = self._started[partition]
        return position

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Membership that goes into a transaction, so that the broker refuses offsets of a member that was replaced."""
        return self._consumer.group_metadata()

    def close(self) -> None:
        """Implements `worker.ports.Source`."""
        self._consumer.close(autocommit=False, timeout_ms=END_SECONDS * 1000)

    def _seek_to_start(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            if partition not in self._started:
                ask = self._consumer.beginning_offsets if self._start == "earliest" else self._consumer.end_offsets
                self._started |= ask([partition], timeout_ms=REQUEST_SECONDS * 1000)
            self._consumer.seek(partition, self._started[partition])

    def _handle_gap(self, error: OffsetOutOfRangeError) -> None:
        for partition, offset in error.args[0].items():
            [end] = self._consumer.end_offsets([partition], timeout_ms=REQUEST_SECONDS * 1000).values()
            if offset > end:
                raise terms.beyond_end(partition.topic, partition.partition, offset=offset, end=end) from error
            if self._offset_gap == "stop":
                raise terms.gap(partition.topic, partition.partition, offset=offset) from error
            where = f"{partition.topic}-{partition.partition}"
            logging.getLogger(__name__).warning("%s: offset %d is gone, going on with the oldest left", where, offset)
            self._consumer.seek_to_beginning(partition)


class KafkaSink:
    """Commits slices in transactions. Implements `worker.ports.Sink`."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        transactional_id: str,
        group: Callable[[], ConsumerGroupMetadata],
        transaction_timeout_seconds: float,
        deadline_seconds: float,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            transactional_id: stable name of this producer; whoever comes later with the same name fences it.
            group: gives the consumer's current membership.
            transaction_timeout_seconds: an abandoned transaction blocks readers for this long, and then up to 10 s.
            deadline_seconds: bound on one delivery, all its steps together.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._client = client
        self._transactional_id = transactional_id
        self._group = group
        self._transaction_timeout_seconds = transaction_timeout_seconds
        self._deadline_seconds = deadline_seconds
        self._producer: KafkaProducer | None = self._build_producer()

    def partitions(self, topic: str) -> int:
        """Implements `worker.ports.Sink`."""
        return len(require_topic(find_partitions(self._ready_producer(), topic), topic))

    def record_limit_bytes(self, topic: str) -> int:
        """Implements `worker.ports.Sink`. Who may not see the topic's properties goes by Kafka's default."""
        try:
            with connect(KafkaAdminClient, self._client) as admin:
                found = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
        except KafkaError as error:
            logging.getLogger(__name__).warning("%s: its size limit is not known: %s", topic, describe(error))
            return DEFAULT_RECORD_LIMIT_BYTES
        return int(found["topic"][topic]["max.message.bytes"]["value"])

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`. One deadline bounds all of these steps.

        1. begin the transaction
        2. send every output, flush, and look at every confirmation
        3. under the claim on the partitions, add the offsets, with the consumer's membership
        4. commit

        If any of them fails: abort if the client can, and end the producer. A new one with the same transactional id
        first settles what the old one left open.
        """
        producer = self._ready_producer()
        deadline = Deadline(self._deadline_seconds)
        try:
            producer.begin_transaction()  # 1
            transactions.send_all(producer, outputs, deadline)  # 2
            group = self._group()
            with claim():
                transactions.send_offsets(producer, _to_kafka(offsets), group, deadline)  # 3
            transactions.commit(producer, deadline)  # 4
        except FENCED as error:
            self._end()
            raise terms.fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            self._abort(producer)
            raise DeliveryError(f"the transaction was aborted: {describe(error)}") from error
        except BaseException:
            self._abort(producer)
            raise

    def close(self) -> None:
        """Implements `worker.ports.Sink`."""
        self._end()

    def _ready_producer(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = self._build_producer()
        return self._producer

    def _build_producer(self) -> KafkaProducer:
        producer = connect(
            KafkaProducer,
            self._client,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(self._transaction_timeout_seconds * 1000),
            retry_backoff_ms=RETRY_BACKOFF_MS,
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=int(self._deadline_seconds * 1000),
            delivery_timeout_ms=int(self._deadline_seconds * 1000),
            allow_auto_create_topics=False,
        )
        transactions.tolerate_refused_coordinator(producer)
        try:
            producer.init_transactions()
        except FENCED as error:
            transactions.end_producer(producer, timeout_seconds=END_SECONDS)
            raise terms.fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            transactions.end_producer(producer, timeout_seconds=END_SECONDS)
            raise terms.uninitialised(self._transactional_id, reason=describe(error)) from error
        return producer

    def _abort(self, producer: KafkaProducer) -> None:
        try:
            transactions.abort(producer, Deadline(self._deadline_seconds))
        except FENCED as error:
            self._end()
            raise terms.fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            logging.getLogger(__name__).warning("the abort failed too: %s", describe(error))
        # After a failed send its sequence numbers have a hole: the broker would refuse the next transaction as well.
        self._end()
        # Built now, because it settles what is still open: until then the committed offsets cannot be read.
        self._producer = self._build_producer()

    def _end(self) -> None:
        if self._producer is not None:
            transactions.end_producer(self._producer, timeout_seconds=END_SECONDS)
            self._producer = None


class KafkaFeed:
    """A plain idempotent producer, for filling a topic and for status messages."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._producer = connect(
            KafkaProducer,
            client,
            linger_ms=LINGER_MS,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=REQUEST_SECONDS * 1000,
            allow_auto_create_topics=False,
        )
        self._failure: Exception | None = None

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._producer, topic), topic)

    def send(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Queues a record; a failure is raised by the next `flush`.

        Raises:
            TransportError: it cannot be queued.
        """
        try:
            self._producer.send(topic, value, key=key).add_errback(self._failed)
        except KafkaError as error:
            raise transport_error(f"a record for {topic} cannot be sent", error) from error

    def _failed(self, error: Exception) -> None:
        self._failure = self._failure or error

    def flush(self, *, timeout_seconds: float) -> None:
        """Waits until everything that was sent is confirmed.

        Raises:
            TransportError: a record was not confirmed.
        """
        try:
            self._producer.flush(timeout=timeout_seconds)
        except KafkaTimeoutError as error:
            self._failed(error)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise TransportError(f"a record was not confirmed: {describe(failure)}")

    def close(self) -> None:
        """Ends the connection; what was not flushed may be lost."""
        transactions.end_producer(self._producer, timeout_seconds=END_SECONDS)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the ownership what the group decides. Runs inside a poll, on the client's own thread."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._ownership.grant((p.topic, p.partition) for p in assigned)

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._ownership.withdraw((p.topic, p.partition) for p in revoked)

    def on_partitions_lost(self, lost: Any) -> None:
        self._ownership.forget((p.topic, p.partition) for p in lost)


def connect(kind: type[Any], client: Mapping[str, Any], **properties: Any) -> Any:
    """Builds a Kafka client.

    Args:
        kind: the client's class.
        client: connection properties, from `client_properties`.
        properties: what this use of the client needs.

    Raises:
        BrokerUnreachableError: no broker answered in time.
        SettingsError: the client does not take a value of its properties.
    """
    opened: list[KafkaNetClient] = []

    def open_network(**configuration: Any) -> KafkaNetClient:
        opened.append(KafkaNetClient(**configuration))
        return opened[-1]

    shared = {"bootstrap_timeout_ms": BOOTSTRAP_SECONDS * 1000, "request_timeout_ms": REQUEST_SECONDS * 1000}
    # The user's own properties win, where this kind of client has them.
    own = {name: value for name, value in client.items() if name in kind.DEFAULT_CONFIG}
    try:
        return kind(**{**shared, **properties, **own, "kafka_client": open_network})
    except (ValueError, AssertionError) as error:
        raise SettingsError(f"kafka-python refuses its properties: {describe(error)}.") from error
    except KafkaError as error:
        # A client that could not be built leaves its sockets and its thread behind: an outage would collect them.
        for network in opened:
            network.close()
        servers = ",".join(client["bootstrap_servers"])
        raise terms.unreachable(servers, within_seconds=BOOTSTRAP_SECONDS, reason=describe(error)) from error


def find_partitions(producer: KafkaProducer, topic: str) -> set[int] | None:
    """Partitions of `topic`, None if it does not exist.

    `KafkaProducer.partitions_for` would keep asking for a topic that is missing until ``max_block_ms``.
    """
    try:
        partitions: set[int] = producer._wait_on_metadata(topic, METADATA_SECONDS * 1000)
    except KafkaTimeoutError:
        return None
    except KafkaError as error:
        raise transport_error(f"topic {topic!r} cannot be looked up", error) from error
    return partitions


def transport_error(what: str, error: KafkaError) -> TransportError:
    """The error to raise for one of the client's: retriable if the client says so."""
    kind = BrokerUnreachableError if error.retriable else TransportError
    return kind(f"{what}: {describe(error)}")


def describe(error: Exception) -> str:
    """The error on one line; kafka-python's own begin with the name of their class."""
    text = str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).removesuffix(".")


def client_properties(settings: Settings) -> dict[str, Any]:
    """kafka-python's connection properties for the settings, and what the user set besides.

    Raises:
        SettingsError: the user set what the client does not know, or what may not be set.
    """
    properties: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
    }
    if settings.sasl_password is not None:
        properties |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    if settings.ssl_ca_file is not None:
        properties["ssl_cafile"] = str(settings.ssl_ca_file)
    # Where another client was chosen, the user's properties are meant for that one.
    return properties | (kafka_properties(settings) if settings.transport == "kafka-python" else {})


def _to_kafka(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()}

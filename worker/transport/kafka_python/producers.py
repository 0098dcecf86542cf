"""kafka-python's producers, as the sinks want them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource
from kafka.errors import (
    CommitFailedError,
    KafkaError,
    UnknownTopicOrPartitionError,
    UnsupportedForMessageFormatError,
    UnsupportedVersionError,
    for_code,
)

from worker.errors import LimelightError, TransportError
from worker.ports import Committed, Output, Partition
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import (
    FENCED,
    connect,
    denial,
    describe,
    find_partitions,
    principal,
    transport_error,
)
from worker.transport.kafka_python.rebalance import to_kafka
from worker.transport.rights import Rights
from worker.transport.terms import END_SECONDS, LINGER_MS, MAX_REQUEST_BYTES, REQUEST_SECONDS, RETRY_BACKOFF_MS

PERMANENT = (UnsupportedVersionError, UnsupportedForMessageFormatError)

log = logging.getLogger(__name__)


class KafkaProducers:
    """Idempotent producers. Implements `worker.transport.producing.Producers`."""

    error: type[Exception] = KafkaError

    def __init__(self, client: Mapping[str, Any], *, deadline_seconds: float) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            deadline_seconds: bound on one delivery.
        """
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._rights = Rights(partial(principal, client), "WRITE")

    def build(self, *, batch_bytes: int, deadline: Deadline | None, **properties: Any) -> KafkaProducer:
        """Implements `Producers`."""
        timeout_ms = int(self._deadline_seconds * 1000)
        producer = connect(
            KafkaProducer,
            self._client,
            deadline=deadline,
            # The client refuses requests that may outlive the delivery.
            request_timeout_ms=max(1, min(REQUEST_SECONDS * 1000, timeout_ms - LINGER_MS - 1)),
            retry_backoff_ms=RETRY_BACKOFF_MS,
            linger_ms=LINGER_MS,
            batch_size=batch_bytes,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=timeout_ms,
            delivery_timeout_ms=timeout_ms,
            allow_auto_create_topics=False,
            **properties,
        )
        transactions.tolerate_refused_coordinator(producer)
        return producer

    def end(self, producer: KafkaProducer, *, timeout_seconds: float) -> None:
        """Implements `Producers`."""
        transactions.end_producer(producer, timeout_seconds=timeout_seconds)

    def send_all(self, producer: KafkaProducer, outputs: Sequence[Output], deadline: Deadline) -> None:
        """Implements `Producers`."""
        transactions.send_all(producer, outputs, deadline)

    def partitions(self, producer: KafkaProducer, topic: str) -> set[int] | None:
        """Implements `Producers`."""
        return find_partitions(producer, topic, self._rights)

    def partitions_now(
        self,
        producer: KafkaProducer,  # noqa: ARG002 - it keeps what it knows, and takes silence for absence
        topic: str,
        *,
        within_seconds: float,
    ) -> set[int] | None:
        """Implements `Producers`."""
        what = f"topic {topic!r} cannot be looked up"
        try:
            with self._open_admin(within_seconds) as admin:
                [described] = admin.describe_topics([topic])
        except KafkaError as error:
            raise transport_error(what, error, self._rights) from error
        if described["error_code"] == UnknownTopicOrPartitionError.errno:
            return None
        if described["error_code"]:
            raise transport_error(what, for_code(described["error_code"])([topic]), self._rights)
        return {partition["partition_index"] for partition in described["partitions"]}

    def record_limits(self, topics: Collection[str], *, within_seconds: float) -> dict[str, int]:
        """Implements `Producers`."""
        try:
            with self._open_admin(within_seconds) as admin:
                found = admin.describe_configs([ConfigResource("TOPIC", each) for each in topics], config_filter="all")
        except (KafkaError, TransportError) as error:
            log.warning("%s: their size limits are not known: %s", ", ".join(topics), error)
            return {}
        shown = {topic: found["topic"][topic].get("max.message.bytes") for topic in topics}
        for topic in (topic for topic in topics if shown[topic] is None):
            # To who may not see them the client shows none at all.
            log.warning("%s: its size limit is not known: we may not describe it", topic)
        return {topic: int(limit["value"]) for topic, limit in shown.items() if limit is not None}

    def describe(self, error: Exception) -> str:
        """Implements `Producers`."""
        return describe(error)

    def permanent(self, error: Exception) -> LimelightError | None:
        """Implements `Producers`."""
        assert isinstance(error, KafkaError)
        if isinstance(error, PERMANENT):
            return terms.unsupported(describe(error))
        return denial(error, self._rights)

    def _open_admin(self, within_seconds: float) -> Any:
        """Half of the time is for the way to the brokers, half for their answer."""
        half_seconds = within_seconds / 2
        timeout_ms = int(half_seconds * 1000)
        return connect(KafkaAdminClient, self._client, deadline=Deadline(half_seconds), request_timeout_ms=timeout_ms)


class KafkaTransactionalProducers(KafkaProducers):
    """Implements `worker.transport.producing.TransactionalProducers`."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        transactional_id: str,
        group_id: str,
        transaction_timeout_seconds: float,
        deadline_seconds: float,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            transactional_id: stable name of the producers; whoever comes later with the same name fences them.
            group_id: whose offsets are committed.
            transaction_timeout_seconds: an abandoned transaction blocks readers for this long, and then up to 10 s.
            deadline_seconds: bound on one delivery.
        """
        super().__init__(client, deadline_seconds=deadline_seconds)
        self._rights = self._rights._replace(transactional_id=transactional_id, group_id=group_id)
        self._transaction_timeout_seconds = transaction_timeout_seconds

    def build(self, *, batch_bytes: int, deadline: Deadline | None, **properties: Any) -> KafkaProducer:
        """Implements `Producers`."""
        producer = super().build(
            batch_bytes=batch_bytes,
            deadline=deadline,
            transactional_id=self._rights.transactional_id,
            transaction_timeout_ms=int(self._transaction_timeout_seconds * 1000),
            **properties,
        )
        deadline = deadline or Deadline(self._deadline_seconds)
        try:
            transactions.initialise(producer, deadline)
        except BaseException:
            self.end(producer, timeout_seconds=deadline.within(END_SECONDS))
            raise
        return producer

    def begin(self, producer: KafkaProducer) -> None:
        """Implements `TransactionalProducers`."""
        transactions.begin(producer)

    def send_offsets(
        self, producer: KafkaProducer, offsets: Mapping[Partition, Committed], group: Any, deadline: Deadline
    ) -> None:
        """Implements `TransactionalProducers`."""
        transactions.send_offsets(producer, to_kafka(offsets), group, deadline)

    def commit(self, producer: KafkaProducer, deadline: Deadline) -> None:
        """Implements `TransactionalProducers`."""
        transactions.commit(producer, deadline)

    def abort(self, producer: KafkaProducer, deadline: Deadline, *, after: BaseException) -> None:  # noqa: ARG002 - any
        """Implements `TransactionalProducers`."""
        transactions.abort(producer, deadline)

    def is_fenced(self, error: Exception) -> bool:
        """Implements `TransactionalProducers`."""
        return isinstance(error, FENCED)

    def is_outdated(self, error: Exception) -> bool:
        """Implements `TransactionalProducers`."""
        return isinstance(error, CommitFailedError)

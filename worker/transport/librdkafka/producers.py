"""librdkafka's producers, as the sinks want them."""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.errors import LimelightError
from worker.ports import Committed, Output, Partition
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.librdkafka import transactions
from worker.transport.librdkafka.client import (
    code_of,
    connect,
    denial,
    describe,
    find_partitions,
    find_record_limits,
    principal,
)
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.rights import Rights
from worker.transport.terms import LINGER_MS, MAX_REQUEST_BYTES, METADATA_SECONDS, REQUEST_SECONDS, RETRY_BACKOFF_MS

NO_LIMIT = {"queue.buffering.max.messages": 0, "queue.buffering.max.kbytes": 2**31 - 1}
"""What waits to be sent is one transaction, which is bounded already: a second bound could only refuse part of it."""
REST_SECONDS = 0.002
"""Between two transactions. While the brokers still write the marks of the last one they take nothing of the next, and
the library asks again only after 20 ms: at 3,500 records a second the 99th percentile of the latency was 103 ms without
the rest, and 76 ms with it (medians of four pairs)."""
PERMANENT = frozenset(
    {
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)
OUTDATED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        # Also of ourselves, as who we were before the group gave us up.
        KafkaError.FENCED_INSTANCE_ID,
    }
)

log = logging.getLogger(__name__)


class LibrdkafkaProducers:
    """Idempotent producers. Implements `worker.transport.producing.Producers`."""

    error: type[Exception] = KafkaException

    def __init__(self, client: ClientProperties, *, deadline_seconds: float) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            deadline_seconds: bound on one delivery.
        """
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._rights = Rights(partial(principal, client), "WRITE")

    def build(self, *, batch_bytes: int, deadline: Deadline | None, **properties: Any) -> Producer:
        """Implements `Producers`."""
        shared = {
            "enable.idempotence": True,
            "message.timeout.ms": int(self._deadline_seconds * 1000),
            "retry.backoff.ms": RETRY_BACKOFF_MS,
            "linger.ms": LINGER_MS,
            "batch.size": batch_bytes,
            "message.max.bytes": MAX_REQUEST_BYTES,
            **NO_LIMIT,
            **transactions.REPORTS,
        }
        return connect(Producer, "P", self._client, {**shared, **properties}, deadline=deadline)

    def end(self, producer: Producer, *, timeout_seconds: float) -> None:  # noqa: ARG002 - it does not wait
        """Implements `Producers`."""
        # Without the records that it still holds, the client ends at once with the last reference to it.
        producer.purge()

    def send_all(self, producer: Producer, outputs: Sequence[Output], deadline: Deadline) -> None:
        """Implements `Producers`."""
        transactions.send_all(producer, outputs, deadline)

    def partitions(self, producer: Producer, topic: str) -> set[int] | None:
        """Implements `Producers`."""
        return self.partitions_now(producer, topic, within_seconds=METADATA_SECONDS)

    def partitions_now(self, producer: Producer, topic: str, *, within_seconds: float) -> set[int] | None:
        """Implements `Producers`."""
        return find_partitions(producer, topic, self._rights, within_seconds=within_seconds)

    def record_limits(self, topics: Collection[str], *, within_seconds: float) -> dict[str, int]:
        """Implements `Producers`."""
        try:
            return find_record_limits(self._client, topics, within_seconds=within_seconds)
        except KafkaException as error:
            log.warning("%s: their size limits are not known: %s", ", ".join(topics), describe(error))
            return {}

    def describe(self, error: Exception) -> str:
        """Implements `Producers`."""
        assert isinstance(error, KafkaException)
        return describe(error)

    def permanent(self, error: Exception) -> LimelightError | None:
        """Implements `Producers`."""
        assert isinstance(error, KafkaException)
        if code_of(error) in PERMANENT:
            return terms.unsupported(describe(error))
        return denial(error, self._rights)


class LibrdkafkaTransactionalProducers(LibrdkafkaProducers):
    """Implements `worker.transport.producing.TransactionalProducers`."""

    def __init__(
        self,
        client: ClientProperties,
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
        self._rest = Deadline(0)

    def build(self, *, batch_bytes: int, deadline: Deadline | None, **properties: Any) -> Producer:
        """Implements `Producers`."""
        timeout_ms = int(self._transaction_timeout_seconds * 1000)
        transactional = {
            "transactional.id": self._rights.transactional_id,
            "transaction.timeout.ms": timeout_ms,
            # The client refuses requests that may outlive the transaction.
            "socket.timeout.ms": min(REQUEST_SECONDS * 1000, timeout_ms),
        }
        producer = super().build(batch_bytes=batch_bytes, deadline=deadline, **transactional, **properties)
        transactions.initialise(producer, deadline or Deadline(self._deadline_seconds))
        return producer

    def begin(self, producer: Producer) -> None:
        """Implements `TransactionalProducers`."""
        time.sleep(self._rest.remaining_seconds())
        transactions.begin(producer)

    def send_all(self, producer: Producer, outputs: Sequence[Output], deadline: Deadline) -> None:
        """Implements `Producers`."""
        try:
            super().send_all(producer, outputs, deadline)
        except KafkaException as error:
            if code_of(error) != KafkaError._PURGE_QUEUE:
                raise
            # The library throws away what waits when it gives a transaction up. Why, it tells who wants another one.
            try:
                transactions.begin(producer)
            except KafkaException as cause:
                if code_of(cause) != KafkaError._STATE:
                    raise KafkaException(cause.args[0], *error.args[1:]) from error
            raise

    def send_offsets(
        self, producer: Producer, offsets: Mapping[Partition, Committed], group: Any, deadline: Deadline
    ) -> None:
        """Implements `TransactionalProducers`."""
        transactions.send_offsets(producer, offsets, group, deadline)

    def commit(self, producer: Producer, deadline: Deadline) -> None:
        """Implements `TransactionalProducers`."""
        transactions.commit(producer, deadline)
        self._rest = Deadline(REST_SECONDS)

    def abort(self, producer: Producer, deadline: Deadline, *, after: BaseException) -> None:
        """Implements `TransactionalProducers`."""
        if isinstance(after, KafkaException) and not after.args[0].txn_requires_abort():
            return
        transactions.abort(producer, deadline)

    def is_fenced(self, error: Exception) -> bool:
        """Implements `TransactionalProducers`."""
        return isinstance(error, KafkaException) and code_of(error) in FENCED

    def is_outdated(self, error: Exception) -> bool:
        """Implements `TransactionalProducers`."""
        return isinstance(error, KafkaException) and code_of(error) in OUTDATED

"""A plain producer through kafka-python."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from worker.errors import TransportError
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import (
    connect,
    describe,
    find_partitions,
    principal,
    raise_denial,
    transport_error,
)
from worker.transport.rights import Rights
from worker.transport.terms import END_SECONDS, LINGER_MS, MAX_REQUEST_BYTES, REQUEST_SECONDS, require_topic


class KafkaFeed:
    """A plain idempotent producer, for filling a topic and for status messages."""

    def __init__(self, client: Mapping[str, Any], *, block_seconds: float = REQUEST_SECONDS) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            block_seconds: how long `send` may wait.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._producer = connect(
            KafkaProducer,
            client,
            linger_ms=LINGER_MS,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=int(block_seconds * 1000),
            allow_auto_create_topics=False,
        )
        self._rights = Rights(partial(principal, client), "WRITE")
        self._failure: Exception | None = None

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._producer, topic, self._rights), topic)

    def send(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Queues a record; a failure is raised by the next `send` or `flush`.

        Raises:
            TransportError: an earlier record was not confirmed, or this one cannot be queued.
        """
        self._raise_failure()
        try:
            self._producer.send(topic, value, key=key).add_errback(self._failed)
        except KafkaError as error:
            raise transport_error(f"a record for {topic} cannot be sent", error, self._rights) from error

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
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if isinstance(failure, KafkaError):
            raise_denial(failure, self._rights)
        if failure is not None:
            raise TransportError(f"a record was not confirmed: {describe(failure)}")

    def close(self) -> None:
        """Ends the connection; what was not flushed may be lost."""
        transactions.end_producer(self._producer, timeout_seconds=END_SECONDS)

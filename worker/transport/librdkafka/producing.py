"""What every sink through librdkafka shares, however it delivers."""

import logging
from functools import partial
from typing import Any

from confluent_kafka import KafkaException, Producer

from worker.transport.deadline import Deadline
from worker.transport.librdkafka.client import connect, describe, find_partitions, find_record_limit, principal
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.rights import Rights
from worker.transport.terms import (
    BATCH_BYTES,
    DEFAULT_RECORD_LIMIT_BYTES,
    LINGER_MS,
    MAX_REQUEST_BYTES,
    RETRY_BACKOFF_MS,
    require_topic,
)

NO_LIMIT = {"queue.buffering.max.messages": 0, "queue.buffering.max.kbytes": 2**31 - 1}
"""What waits to be sent is one transaction, which is bounded already: a second bound could only refuse part of it."""


class ProducingSink:
    """A producer, which is made anew after a failure, and what it knows of its topics."""

    def __init__(self, client: ClientProperties, *, deadline_seconds: float, transactional_id: str = "") -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            deadline_seconds: bound on one delivery, all its steps together.
            transactional_id: that the producer will have, if it has one.

        Raises:
            AccessDeniedError: the producer may not be what it has to be.
            BrokerUnreachableError: no broker answered.
        """
        self._rights = Rights(partial(principal, client), "WRITE", transactional_id=transactional_id)
        self._client = client
        self._deadline_seconds = deadline_seconds
        self._batch_bytes = BATCH_BYTES
        self._limits: dict[str, int] = {}
        self._producer: Producer | None = None
        self._ready_producer()

    def partitions(self, topic: str) -> int:
        """Implements `worker.ports.Sink`."""
        return len(require_topic(find_partitions(self._ready_producer(), topic, self._rights), topic))

    def record_limit_bytes(self, topic: str) -> int:
        """Implements `worker.ports.Sink`. Who may not see the topic's properties goes by Kafka's default."""
        try:
            limit = find_record_limit(self._client, topic)
        except KafkaException as error:
            logging.getLogger(__name__).warning("%s: its size limit is not known: %s", topic, describe(error))
            return DEFAULT_RECORD_LIMIT_BYTES
        self._limits[topic] = limit
        # The limit holds for a batch too, and the library splits none: the broker would refuse it for ever.
        batch_bytes = min(BATCH_BYTES, *self._limits.values())
        if batch_bytes != self._batch_bytes:
            self._batch_bytes = batch_bytes
            self._end()
        return limit

    def settle(self) -> None:
        """Implements `worker.ports.Sink`. The last delivery may have had no time to build its successor's producer."""
        self._ready_producer(Deadline(self._deadline_seconds))

    def close(self) -> None:
        """Implements `worker.ports.Sink`."""
        self._end()

    def _ready_producer(self, deadline: Deadline | None = None) -> Producer:
        if self._producer is None:
            self._producer = self._build_producer({}, deadline)
        return self._producer

    def _build_producer(self, properties: dict[str, Any], deadline: Deadline | None) -> Producer:
        shared = {
            "enable.idempotence": True,
            "message.timeout.ms": int(self._deadline_seconds * 1000),
            "retry.backoff.ms": RETRY_BACKOFF_MS,
            "linger.ms": LINGER_MS,
            "batch.size": self._batch_bytes,
            "message.max.bytes": MAX_REQUEST_BYTES,
            **NO_LIMIT,
        }
        return connect(Producer, "P", self._client, {**shared, **properties}, deadline=deadline)

    def _end(self) -> None:
        if self._producer is not None:
            # Without the records that it still holds, the client ends at once with the last reference to it.
            self._producer.purge()
            self._producer = None

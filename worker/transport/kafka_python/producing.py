"""What every sink through kafka-python shares, however it delivers."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource
from kafka.errors import KafkaError

from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import connect, describe, find_partitions, principal
from worker.transport.rights import Rights
from worker.transport.terms import (
    BATCH_BYTES,
    DEFAULT_RECORD_LIMIT_BYTES,
    END_SECONDS,
    LINGER_MS,
    MAX_REQUEST_BYTES,
    RETRY_BACKOFF_MS,
    require_topic,
)


class ProducingSink:
    """An idempotent producer, which is made anew after a failure, and what it knows of its topics."""

    def __init__(self, client: Mapping[str, Any], *, deadline_seconds: float, transactional_id: str = "") -> None:
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
        self._producer: KafkaProducer | None = self._build_producer(None)

    def partitions(self, topic: str) -> int:
        """Implements `worker.ports.Sink`."""
        return len(require_topic(find_partitions(self._ready_producer(), topic, self._rights), topic))

    def record_limit_bytes(self, topic: str) -> int:
        """Implements `worker.ports.Sink`. Who may not see the topic's properties goes by Kafka's default."""
        try:
            with connect(KafkaAdminClient, self._client) as admin:
                found = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
        except KafkaError as error:
            logging.getLogger(__name__).warning("%s: its size limit is not known: %s", topic, describe(error))
            return DEFAULT_RECORD_LIMIT_BYTES
        # To who may not see them the client shows none at all.
        if (shown := found["topic"][topic].get("max.message.bytes")) is None:
            logging.getLogger(__name__).warning("%s: its size limit is not known: we may not describe it", topic)
            return DEFAULT_RECORD_LIMIT_BYTES
        limit = int(shown["value"])
        self._limits[topic] = limit
        # The limit holds for a batch too: the client would have to split each one that the broker refuses.
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

    def _ready_producer(self, deadline: Deadline | None = None) -> KafkaProducer:
        if self._producer is None:
            self._producer = self._build_producer(deadline)
        return self._producer

    def _build_producer(self, deadline: Deadline | None, **properties: Any) -> KafkaProducer:
        producer = connect(
            KafkaProducer,
            self._client,
            deadline=deadline,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            linger_ms=LINGER_MS,
            batch_size=self._batch_bytes,
            max_request_size=MAX_REQUEST_BYTES,
            max_block_ms=int(self._deadline_seconds * 1000),
            delivery_timeout_ms=int(self._deadline_seconds * 1000),
            allow_auto_create_topics=False,
            **properties,
        )
        transactions.tolerate_refused_coordinator(producer)
        return producer

    def _end(self, deadline: Deadline | None = None) -> None:
        if self._producer is not None:
            seconds = END_SECONDS if deadline is None else deadline.within(END_SECONDS)
            transactions.end_producer(self._producer, timeout_seconds=seconds)
            self._producer = None

"""Delivers slices through kafka-python: one transaction each, with the offsets that it consumed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from worker.errors import DeliveryError
from worker.ports import Claim, Offsets, Output
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import FENCED, connect, describe, find_partitions
from worker.transport.terms import (
    BATCH_BYTES,
    DEFAULT_RECORD_LIMIT_BYTES,
    END_SECONDS,
    LINGER_MS,
    MAX_REQUEST_BYTES,
    RETRY_BACKOFF_MS,
    require_topic,
)


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


def _to_kafka(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()}

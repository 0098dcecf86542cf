"""Delivers slices through kafka-python: one transaction each, with the offsets that it consumed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from worker.errors import DeliveryError, FencedError
from worker.ports import Claim, Offsets, Output
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import FENCED, describe
from worker.transport.kafka_python.producing import ProducingSink
from worker.transport.terms import END_SECONDS


class KafkaSink(ProducingSink):
    """Commits slices in transactions. Implements `worker.ports.Sink`."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        transactional_id: str,
        group: Callable[[], ConsumerGroupMetadata],
        transaction_timeout_seconds: float,
        deadline_seconds: float,
        fenced: Callable[[str, str], FencedError | DeliveryError] = terms.fenced,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            transactional_id: stable name of this producer; whoever comes later with the same name fences it.
            group: gives the consumer's current membership.
            transaction_timeout_seconds: an abandoned transaction blocks readers for this long, and then up to 10 s.
            deadline_seconds: bound on one delivery, all its steps together.
            fenced: makes the error to raise when another producer took over the transactional id.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._transactional_id = transactional_id
        self._group = group
        self._fenced = fenced
        self._transaction_timeout_seconds = transaction_timeout_seconds
        super().__init__(client, deadline_seconds=deadline_seconds)

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
            raise self._fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            self._abort(producer)
            raise DeliveryError(f"the transaction was aborted: {describe(error)}") from error
        except BaseException:
            self._abort(producer)
            raise

    def _build_producer(self, **properties: Any) -> KafkaProducer:
        producer = super()._build_producer(
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(self._transaction_timeout_seconds * 1000),
            **properties,
        )
        try:
            producer.init_transactions()
        except FENCED as error:
            transactions.end_producer(producer, timeout_seconds=END_SECONDS)
            raise self._fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            transactions.end_producer(producer, timeout_seconds=END_SECONDS)
            raise terms.uninitialised(self._transactional_id, reason=describe(error)) from error
        return producer

    def _abort(self, producer: KafkaProducer) -> None:
        try:
            transactions.abort(producer, Deadline(self._deadline_seconds))
        except FENCED as error:
            self._end()
            raise self._fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            logging.getLogger(__name__).warning("the abort failed too: %s", describe(error))
        # After a failed send its sequence numbers have a hole: the broker would refuse the next transaction as well.
        self._end()
        # Built now, because it settles what is still open: until then the committed offsets cannot be read.
        self._producer = self._build_producer()


def _to_kafka(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()}

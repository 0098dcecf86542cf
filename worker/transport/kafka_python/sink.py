"""Delivers slices through kafka-python: one transaction each, with the offsets that it consumed."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Claim, Offsets, Output
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import FENCED, describe, raise_denial
from worker.transport.kafka_python.producing import ProducingSink
from worker.transport.terms import END_SECONDS

log = logging.getLogger(__name__)


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
        super().__init__(client, deadline_seconds=deadline_seconds, transactional_id=transactional_id)

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`. One deadline bounds all of these steps.

        1. have a producer, should the last delivery have left none
        2. begin the transaction
        3. send every output, flush, and look at every confirmation
        4. under the claim on the partitions, add the offsets, with the consumer's membership
        5. commit

        If one of them fails:

        6. abort, if the client can
        7. end the producer: after a failed send its sequence numbers have a hole, and the broker would refuse the next
           transaction as well
        8. build a new one, which first settles what the old one left open

        Where time ran out, 8 is left to `settle`.
        """
        deadline = Deadline(self._deadline_seconds)
        producer = self._ready_producer(deadline)  # 1
        try:
            transactions.begin(producer)  # 2
            transactions.send_all(producer, outputs, deadline)  # 3
            group = self._group()
            with claim():
                transactions.send_offsets(producer, _to_kafka(offsets), group, deadline)  # 4
            transactions.commit(producer, deadline)  # 5
        except FENCED as error:
            self._end()
            raise self._fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            self._replace(producer, deadline)
            raise_denial(error, self._rights)
            raise DeliveryError(f"the transaction was aborted: {describe(error)}") from error
        except BaseException:
            self._replace(producer, deadline)
            raise

    def _build_producer(self, deadline: Deadline | None, **properties: Any) -> KafkaProducer:
        producer = super()._build_producer(
            deadline,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=int(self._transaction_timeout_seconds * 1000),
            **properties,
        )
        deadline = deadline or Deadline(self._deadline_seconds)
        try:
            transactions.initialise(producer, deadline)
        except KafkaError as error:
            transactions.end_producer(producer, timeout_seconds=deadline.within(END_SECONDS))
            if isinstance(error, FENCED):
                raise self._fenced("transactional id", self._transactional_id) from error
            raise_denial(error, self._rights)
            raise terms.uninitialised(self._transactional_id, reason=describe(error)) from error
        return producer

    def _replace(self, producer: KafkaProducer, deadline: Deadline) -> None:
        try:
            transactions.abort(producer, deadline)  # 6
        except FENCED as error:
            self._end()
            raise self._fenced("transactional id", self._transactional_id) from error
        except KafkaError as error:
            log.warning("the abort failed too: %s", describe(error))
        self._end(deadline)  # 7
        if not deadline.remaining_seconds():
            return
        try:
            # Built now, because it settles what is still open: until then the committed offsets cannot be read.
            self._ready_producer(deadline)  # 8
        except BrokerUnreachableError as error:
            log.warning("what is open will be settled later: %s", error)


def _to_kafka(offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*partition): OffsetAndMetadata(offset) for partition, offset in offsets.items()}

"""Outputs and offsets through librdkafka."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Claim, Offsets, Output
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.librdkafka import transactions
from worker.transport.librdkafka.client import code_of, describe, raise_denial
from worker.transport.librdkafka.producing import ProducingSink
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.terms import REQUEST_SECONDS

log = logging.getLogger(__name__)

FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


class LibrdkafkaSink(ProducingSink):
    """Commits slices in transactions. Implements `worker.ports.Sink`."""

    def __init__(
        self,
        client: ClientProperties,
        *,
        transactional_id: str,
        group: Callable[[], Any],
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
        7. end the producer: the library may refuse the transaction after an aborted one
        8. build a new one, which first settles what the old one left open

        Where time ran out, 8 is left to `settle`.
        """
        deadline = Deadline(self._deadline_seconds)
        producer = self._ready_producer(deadline)  # 1
        try:
            transactions.begin(producer)  # 2
            self._send(producer, outputs, offsets, deadline)  # 3
            group = self._group()
            with claim():
                transactions.send_offsets(producer, offsets, group, deadline)  # 4
            transactions.commit(producer, deadline)  # 5
        except KafkaException as error:
            self._check_fenced(error)
            self._replace(producer, deadline, can_abort=error.args[0].txn_requires_abort())
            raise_denial(error, self._rights)
            raise DeliveryError(f"the transaction was aborted: {describe(error)}") from error
        except BaseException:
            self._replace(producer, deadline, can_abort=True)
            raise

    def _send(self, producer: Producer, outputs: Sequence[Output], offsets: Offsets, deadline: Deadline) -> None:
        try:
            transactions.send_all(producer, outputs, deadline)
        except KafkaException as error:
            if code_of(error) != KafkaError._PURGE_QUEUE:
                raise
            # The library throws away what waits when it gives a transaction up. Why, it tells who takes the next step.
            try:
                transactions.send_offsets(producer, offsets, self._group(), deadline)
            except KafkaException as cause:
                raise KafkaException(cause.args[0], *error.args[1:]) from error
            raise

    def _build_producer(self, properties: dict[str, Any], deadline: Deadline | None) -> Producer:
        timeout_ms = int(self._transaction_timeout_seconds * 1000)
        transactional = {
            "transactional.id": self._transactional_id,
            "transaction.timeout.ms": timeout_ms,
            # The client refuses requests that may outlive the transaction.
            "socket.timeout.ms": min(REQUEST_SECONDS * 1000, timeout_ms),
        }
        producer = super()._build_producer({**transactional, **properties}, deadline)
        try:
            transactions.initialise(producer, deadline or Deadline(self._deadline_seconds))
        except KafkaException as error:
            self._check_fenced(error)
            raise_denial(error, self._rights)
            raise terms.uninitialised(self._transactional_id, reason=describe(error)) from error
        return producer

    def _replace(self, producer: Producer, deadline: Deadline, *, can_abort: bool) -> None:
        if can_abort:
            try:
                transactions.abort(producer, deadline)  # 6
            except KafkaException as error:
                self._check_fenced(error)
                log.warning("the abort failed too: %s", describe(error))
        self._end()  # 7
        if not deadline.remaining_seconds():
            return
        try:
            # Built now, because it settles what is still open: until then the committed offsets cannot be read.
            self._ready_producer(deadline)  # 8
        except BrokerUnreachableError as error:
            log.warning("what is open will be settled later: %s", error)

    def _check_fenced(self, error: KafkaException) -> None:
        """Raises `FencedError` if that is what `error` says, after the producer was ended."""
        if code_of(error) in FENCED:
            self._end()
            raise self._fenced("transactional id", self._transactional_id) from error

"""Delivers slices through kafka-python without transactions: at least once."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from kafka.errors import KafkaError

from worker.errors import DeliveryError, OutputRefusedError
from worker.ports import Claim, Offsets, Output
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import transactions
from worker.transport.kafka_python.client import describe, raise_denial
from worker.transport.kafka_python.producing import ProducingSink


class KafkaAtLeastOnceSink(ProducingSink):
    """Writes outputs first and has their offsets committed later. Implements `worker.ports.Sink`.

    A crash in between, and whatever ends a delivery half-way, gives duplicates. Without a transactional id nobody is
    fenced: a worker that was suspended still writes what it had in hand.
    """

    def __init__(
        self, client: Mapping[str, Any], *, commit_soon: Callable[[Offsets], None], deadline_seconds: float
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            commit_soon: takes offsets whose outputs are confirmed.
            deadline_seconds: bound on one delivery, all its steps together.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._commit_soon = commit_soon
        super().__init__(client, deadline_seconds=deadline_seconds)

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`, but for "all of it, or nothing of it". One deadline bounds these steps.

        1. have a producer, should the last delivery have left none
        2. send every output, flush, and look at every confirmation
        3. under the claim on the partitions, hand the offsets to the source

        If the second fails, some of the outputs may be there: they will be written again.
        """
        deadline = Deadline(self._deadline_seconds)
        producer = self._ready_producer(deadline)  # 1
        try:
            transactions.send_all(producer, outputs, deadline)  # 2
        except (KafkaError, OutputRefusedError) as error:
            # Its sequence numbers may have a hole, and what it still holds would come after its own repetition.
            self._end()
            if isinstance(error, OutputRefusedError):
                raise
            raise_denial(error, self._rights)
            raise DeliveryError(f"the outputs were not all confirmed: {describe(error)}") from error
        with claim():
            self._commit_soon(offsets)  # 3

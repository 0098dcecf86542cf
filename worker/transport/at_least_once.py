"""Delivers slices without transactions: at least once."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from worker.errors import OutputRefusedError
from worker.ports import Claim, Offsets, Output
from worker.transport.deadline import Deadline
from worker.transport.producing import P, Producers, ProducingSink


class AtLeastOnceSink(ProducingSink[P]):
    """Writes outputs first and has their offsets committed later. Implements `worker.ports.Sink`.

    A crash in between, and whatever ends a delivery half-way, gives duplicates. Without a transactional id nobody is
    fenced: a worker that was suspended still writes what it had in hand.
    """

    def __init__(
        self, producers: Producers[P], *, commit_soon: Callable[[Offsets], None], deadline_seconds: float
    ) -> None:
        """
        Args:
            producers: the client's.
            commit_soon: takes offsets whose outputs are confirmed.
            deadline_seconds: bound on one delivery, all its steps together.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._commit_soon = commit_soon
        super().__init__(producers, deadline_seconds=deadline_seconds)

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
            self._producers.send_all(producer, outputs, deadline)  # 2
        except OutputRefusedError:
            self._end()
            raise
        except self._producers.error as error:
            # Its sequence numbers may have a hole, and what it still holds would come after its own repetition.
            self._end()
            raise self._failure(error, "the outputs were not all confirmed", outputs) from error
        self._delivered()
        with claim():
            self._commit_soon(offsets)  # 3

"""Delivers slices exactly once: one transaction each, with the offsets of what was read."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError
from worker.ports import Claim, Committed, Offsets, Output, Partition
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.producing import P, ProducingSink, TransactionalProducers

log = logging.getLogger(__name__)


class GroupMetadata(Protocol):
    """Tells as whom the group knows the consumer."""

    def __call__(self, *, anew: bool) -> Any:
        """Membership, as the producers of the same client want it.

        Args:
            anew: ask now, however long that takes: what was noted before is out of date.

        Raises:
            DeliveryError: the group has given up the member that read the records.
        """
        ...


class AwaitNews(Protocol):
    """See `worker.transport.membership.Membership.await_news`."""

    def __call__(self, *, within_seconds: float) -> None:
        """Returns when a producer may be built."""
        ...


class _OutdatedError(Exception):
    """The group has moved on since our membership was noted. The transaction is aborted, and its producer is sound."""


class TransactionalSink(ProducingSink[P]):
    """Commits slices in transactions. Implements `worker.ports.Sink`."""

    def __init__(
        self,
        producers: TransactionalProducers[P],
        *,
        transactional_id: str,
        group: GroupMetadata,
        deadline_seconds: float,
        fenced: Callable[[str, str], FencedError | DeliveryError] = terms.fenced,
        await_news: AwaitNews = lambda **_: None,
    ) -> None:
        """
        Args:
            producers: the client's; whoever builds one later with the same transactional id fences ours.
            transactional_id: theirs.
            group: gives the consumer's current membership.
            deadline_seconds: bound on one delivery, all its steps together.
            fenced: makes the error to raise when another producer took over the transactional id.
            await_news: `worker.transport.membership.Membership.await_news`.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._transactions = producers
        self._transactional_id = transactional_id
        self._group = group
        self._fenced = fenced
        self._await_news = await_news
        super().__init__(producers, deadline_seconds=deadline_seconds)

    def deliver(self, outputs: Sequence[Output], offsets: Offsets, *, claim: Claim = nullcontext) -> None:
        """Implements `worker.ports.Sink`."""
        self.commit(outputs, {home: Committed(offset, "") for home, offset in offsets.items()}, claim=claim)

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, Committed], *, claim: Claim = nullcontext
    ) -> None:
        """Delivers, with notes beside the offsets. One deadline bounds all of these steps.

        1. have a producer, should the last delivery have left none
        2. begin the transaction
        3. send every output, flush, and look at every confirmation
        4. under the claim on the partitions, add the offsets, with the consumer's membership
        5. commit

        If one of them fails:

        6. abort, if the client can
        7. end the producer: after a failed send its sequence numbers have a hole, and the brokers would refuse the next
           transaction as well
        8. build a new one, which first settles what the old one left open

        Where time ran out, 8 is left to `settle`. Where the group refuses our membership, because it has moved on, all
        sends were confirmed and the abort suffices: the same is tried once more, as the member that we are now.

        Raises:
            OutputRefusedError: nothing was committed, and the same outputs would be refused again.
            DeliveryError: nothing was committed; the inputs must be read again.
            FencedError: another process owns the transactional id.
            TransportError: nothing was committed, and trying again cannot help.
        """
        deadline = Deadline(self._deadline_seconds)
        try:
            self._commit(outputs, offsets, claim, deadline, anew=False)
        except _OutdatedError:
            self._commit(outputs, offsets, claim, deadline, anew=True)

    def _commit(
        self,
        outputs: Sequence[Output],
        offsets: Mapping[Partition, Committed],
        claim: Claim,
        deadline: Deadline,
        *,
        anew: bool,
    ) -> None:
        steps = self._transactions
        producer = self._ready_producer(deadline)  # 1
        try:
            steps.begin(producer)  # 2
            steps.send_all(producer, outputs, deadline)  # 3
            group = self._group(anew=anew)
            with claim():
                steps.send_offsets(producer, offsets, group, deadline)  # 4
            steps.commit(producer, deadline)  # 5
        except steps.error as error:
            is_outdated = not anew and steps.is_outdated(error)
            if not is_outdated:
                self._require_name(error)
            if self._is_aborted(producer, error, deadline) and is_outdated:
                raise _OutdatedError from error
            self._renew_producer(deadline)
            raise self._failure(error, "the transaction was aborted", outputs) from error
        except BaseException as error:
            self._is_aborted(producer, error, deadline)
            self._renew_producer(deadline)
            raise
        self._delivered()

    def _is_aborted(self, producer: P, error: BaseException, deadline: Deadline) -> bool:
        try:
            self._transactions.abort(producer, deadline, after=error)  # 6
        except self._transactions.error as failure:
            self._require_name(failure)
            log.warning("the abort failed too: %s", self._transactions.describe(failure))
            return False
        return True

    def _renew_producer(self, deadline: Deadline) -> None:
        self._end(deadline)  # 7
        if not deadline.remaining_seconds():
            return
        try:
            # Built now, because it settles what is still open: until then the committed offsets cannot be read.
            self._ready_producer(deadline)  # 8
        except BrokerUnreachableError as failure:
            log.warning("what is open will be settled later: %s", failure)

    def _ready_producer(self, deadline: Deadline | None = None) -> P:
        # But for the first: who has not joined yet is not known.
        if self._producer is None and deadline is not None:
            self._await_news(within_seconds=deadline.remaining_seconds())
        try:
            return super()._ready_producer(deadline)
        except self._transactions.error as error:
            self._require_name(error)
            reason = self._transactions.describe(error)
            permanent = self._transactions.permanent(error)
            raise permanent or terms.uninitialised(self._transactional_id, reason=reason) from error

    def _require_name(self, error: Exception) -> None:
        """Raises the error to raise if another has our name, after the producer was ended."""
        if self._transactions.is_fenced(error):
            self._end()
            raise self._fenced("transactional id", self._transactional_id) from error

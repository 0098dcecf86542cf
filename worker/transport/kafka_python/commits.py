"""Commits outside any transaction that may still arrive.

A commit whose connection broke, or whose answer did not come in time, may be on its way all the same: in a socket's
buffer, or at a broker that stands still. If it arrives after the group has moved on, it sets the group back, and what
was answered since is answered again. Neither a later commit nor a reconnection keeps it from that; only who it is from
does: a member that joins anew under its lasting name is another one to the group, which refuses the former.
"""

from collections import Counter
from typing import Any

from kafka.errors import KafkaError, NodeNotReadyError, ThrottlingQuotaExceededError, TooManyInFlightRequests

NEVER_SENT = (NodeNotReadyError, ThrottlingQuotaExceededError, TooManyInFlightRequests)


class CommitWatch:
    """Follows every attempt of a consumer to commit; the client repeats one that fails, and tells of the last only."""

    def __init__(self, coordinator: Any) -> None:
        """
        Args:
            coordinator: the consumer's.
        """
        self._coordinator = coordinator
        self._send = coordinator._send_offset_commit_request
        self._unanswered: Counter[tuple[int, str]] = Counter()
        """Generation and member id -> their attempts to which no answer came."""
        coordinator._send_offset_commit_request = self._watch

    def may_come_late(self) -> bool:
        """True if a commit may still arrive that the group would take from us, as who we are now."""
        return self._unanswered[self._identity] > 0

    @property
    def _identity(self) -> tuple[int, str]:
        generation = self._coordinator._generation
        return generation.generation_id, generation.member_id

    async def _watch(self, offsets: Any) -> None:
        if self._coordinator.coordinator() is None or self._coordinator.generation_if_stable() is None:
            await self._send(offsets)  # in vain: nothing goes out
            return
        identity = self._identity
        # Who we were before is refused by the group in any case.
        self._unanswered = Counter({identity: self._unanswered[identity] + 1})
        try:
            await self._send(offsets)
        except Exception as error:
            if isinstance(error, NEVER_SENT) or (isinstance(error, KafkaError) and not error.retriable):
                self._unanswered[identity] -= 1
            raise
        self._unanswered[identity] -= 1

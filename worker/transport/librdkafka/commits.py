"""Commits of a group member outside any transaction, bounded in time."""

import threading
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed, Partition
from worker.transport import terms
from worker.transport.librdkafka.client import code_of, describe
from worker.transport.terms import COMMIT_SECONDS


class GroupCommits:
    """Commits offsets one time after the other.

    The library's call has no bound of its own and repeats itself while a coordinator is looked for. So it gets a
    thread, and when it takes too long, nothing else is read or committed before it has ended: late, it could set the
    group back.
    """

    def __init__(self, consumer: Consumer, *, instance: str) -> None:
        """
        Args:
            consumer: the member that commits.
            instance: its static member id.
        """
        self._consumer = consumer
        self._instance = instance
        self._unanswered: threading.Thread | None = None

    def commit(self, offsets: Mapping[Partition, Committed]) -> None:
        """
        Raises:
            BrokerUnreachableError: an earlier call has not ended.
            DeliveryError: the group refused, or did not answer in time.
            FencedError: another process took over this member.
        """
        self.require_end()
        positions = [
            TopicPartition(*partition, each.offset, metadata=each.metadata) for partition, each in offsets.items()
        ]
        refusals: list[KafkaException] = []

        def call() -> None:
            try:
                answers = self._consumer.commit(offsets=positions, asynchronous=False) or []
                refusals.extend(KafkaException(answer.error) for answer in answers if answer.error is not None)
            except KafkaException as error:
                refusals.append(error)

        self._unanswered = threading.Thread(target=call, name="commit", daemon=True)
        self._unanswered.start()
        self._unanswered.join(COMMIT_SECONDS)
        if self._unanswered.is_alive():
            raise DeliveryError(f"the group did not answer a commit within {COMMIT_SECONDS} s")
        for refusal in refusals:
            if code_of(refusal) in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL):
                raise terms.fenced("group instance", self._instance) from refusal
            raise DeliveryError(f"the group refused a commit: {describe(refusal)}") from refusal

    def require_end(self) -> None:
        """Raises `BrokerUnreachableError` while an earlier call may still have an effect."""
        if self._unanswered is not None and self._unanswered.is_alive():
            raise BrokerUnreachableError("an earlier commit of offsets is still unanswered")

"""The progress of a replay in Kafka: a consumer group that nobody joins, committed by a transactional producer."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from kafka.structs import ConsumerGroupMetadata

from worker.dead_letters.progress import Checkpoint
from worker.errors import DeliveryError, FencedError
from worker.ports import Committed, Output
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.producers import KafkaTransactionalProducers
from worker.transport.transactional import TransactionalSink


class ReplayOnlooker:
    """Implements `worker.dead_letters.progress.ProgressStore` for a dry run: what it is told to write, it forgets."""

    def __init__(self, client: Mapping[str, Any], *, group_id: str, topic: str) -> None:
        """
        Args:
            client: connection properties, from `worker.transport.kafka_python.properties.client_properties`.
            group_id: group whose offsets hold the progress.
            topic: the dead-letter topic.
        """
        self._client = client
        self._group_id = group_id
        self._topic = topic

    def load(self) -> dict[int, Checkpoint]:
        """Implements `ProgressStore`."""
        return load_checkpoints(self._client, self._group_id, self._topic)

    def commit(self, outputs: Sequence[Output], checkpoints: Mapping[int, Checkpoint]) -> None:
        """Implements `ProgressStore`."""


class ReplaySink:
    """Implements `worker.dead_letters.progress.ProgressStore`. Whoever comes later with the same group fences it."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        group_id: str,
        topic: str,
        transaction_timeout_seconds: float,
        deadline_seconds: float,
    ) -> None:
        """
        Args:
            client: connection properties, from `worker.transport.kafka_python.properties.client_properties`.
            group_id: group whose offsets hold the progress; also the transactional id.
            topic: the dead-letter topic.
            transaction_timeout_seconds: an abandoned transaction blocks readers for this long, and then up to 10 s.
            deadline_seconds: bound on one commit, all its steps together.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        self._client = client
        self._group_id = group_id
        self._topic = topic
        membership = ConsumerGroupMetadata(group_id)
        producers = KafkaTransactionalProducers(
            client,
            transactional_id=group_id,
            group_id=group_id,
            transaction_timeout_seconds=transaction_timeout_seconds,
            deadline_seconds=deadline_seconds,
        )
        self._sink = TransactionalSink(
            producers,
            transactional_id=group_id,
            group=lambda *, anew: membership,  # noqa: ARG005 - nobody joins it
            deadline_seconds=deadline_seconds,
            fenced=_fenced,
        )

    def load(self) -> dict[int, Checkpoint]:
        """Implements `ProgressStore`. No transaction is open: the predecessor's ended when this producer began."""
        return load_checkpoints(self._client, self._group_id, self._topic)

    def commit(self, outputs: Sequence[Output], checkpoints: Mapping[int, Checkpoint]) -> None:
        """Implements `ProgressStore`."""
        progress = {(self._topic, number): Committed(each.offset, each.note) for number, each in checkpoints.items()}
        try:
            self._sink.commit(outputs, progress)
        except DeliveryError as error:
            raise DeliveryError(
                f"a part of the letters was not written: {error}. Nothing is lost or doubled: run the same command "
                "again, it goes on where this one stopped."
            ) from error

    def close(self) -> None:
        """Ends the connection."""
        self._sink.close()


def _fenced(*_: str) -> FencedError:
    return FencedError("another process began to replay under this --id: it goes on, this one stops.")


def load_checkpoints(client: Mapping[str, Any], group_id: str, topic: str) -> dict[int, Checkpoint]:
    """What `group_id` has committed for `topic`.

    Raises:
        TransportError: the broker did not tell.
    """
    with closing(KafkaAdmin(client)) as admin:
        committed = admin.committed(group_id)
    return {number: Checkpoint(*found) for (name, number), found in committed.items() if name == topic}

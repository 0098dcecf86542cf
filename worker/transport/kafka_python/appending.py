"""Queues what Kafka allows and `KafkaProducer.send` refuses: neither key nor value, and headers without a value.

Producers in other languages send such records, and a dead letter has to carry them on as they are.
"""

from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.producer.future import FutureRecordMetadata

from worker.ports import Output


class _Headers(list[tuple[str, bytes | None]]):
    """Headers whose total size is not computed: the client fails on a null value there, and nowhere else."""

    def __bool__(self) -> bool:
        return False


def append_all(producer: KafkaProducer, outputs: Sequence[Output]) -> list[FutureRecordMetadata]:
    """Queues records, as a part of the open transaction if the producer is transactional.

    Returns:
        What becomes of each.
    """
    transaction = producer._transaction_manager
    if transaction is not None and transaction.is_transactional():
        # Once for each partition: for each record, as the client does it, it would be a fifth of the work.
        for partition in {TopicPartition(output.topic, output.partition) for output in outputs}:
            transaction.maybe_add_partition_to_transaction(partition)
    return [append(producer, output) for output in outputs]


def append(producer: KafkaProducer, output: Output) -> FutureRecordMetadata:
    """Queues a record.

    The producer must have heard of the topic (`KafkaProducer.partitions_for`): otherwise the record waits until it
    expires. A transactional producer must have heard that the partition belongs to its transaction.

    Returns:
        What becomes of it. A failure is raised nowhere else.
    """
    queued: tuple[Any, ...] = producer._accumulator.append(
        TopicPartition(output.topic, output.partition),
        output.timestamp_ms,
        output.key,
        output.value,
        _Headers(output.headers),
    )
    future, batch_is_full, is_new_batch, _ = queued
    if batch_is_full or is_new_batch:
        producer._sender.wakeup()
    return future

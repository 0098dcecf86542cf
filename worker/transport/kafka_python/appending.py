"""Queues what Kafka allows and `KafkaProducer.send` refuses: neither key nor value, and headers without a value.

Producers in other languages send such records, and a dead letter has to carry them on as they are.
"""

from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.producer.future import FutureRecordMetadata

from worker.ports import Output


class _Headers(list[tuple[str, bytes | None]]):
    """Headers whose total size is not computed: the client fails on a null value there, and nowhere else."""

    def __bool__(self) -> bool:
        return False


def append(producer: KafkaProducer, output: Output) -> FutureRecordMetadata:
    """Queues a record, as a part of the open transaction if the producer is transactional.

    The producer must have heard of the topic (`KafkaProducer.partitions_for`): otherwise the record waits until it
    expires.

    Returns:
        What becomes of it. A failure is raised nowhere else.
    """
    partition = TopicPartition(output.topic, output.partition)
    transaction = producer._transaction_manager
    if transaction is not None and transaction.is_transactional():
        transaction.maybe_add_partition_to_transaction(partition)
    queued: tuple[Any, ...] = producer._accumulator.append(
        partition, output.timestamp_ms, output.key, output.value, _Headers(output.headers)
    )
    future, batch_is_full, is_new_batch, _ = queued
    if batch_is_full or is_new_batch:
        producer._sender.wakeup()
    return future

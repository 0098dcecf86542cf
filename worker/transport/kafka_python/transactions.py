"""What kafka-python 3 needs so that a transaction commits all of a slice or nothing, and always returns.

Three precautions, each measured with three brokers of which one is killed every ten seconds:

1. *Refused coordinator* (`tolerate_refused_coordinator`). When connecting to the transaction coordinator raises, the
   client's sender thread drops the request that it was about to send, and whoever waits for it waits for ever.
2. *Unseen failures* (`send_all`). A failed send does not fail the commit: offsets were committed whose outputs never
   arrived. Every send's future is looked at before the offsets are added.
3. *Deadline* (`worker.transport.deadline`). The client's own transaction calls wait without limit. Here every wait is
   bounded, and who runs out of time must end the producer: its state is not known.

These reach below the client's public surface, which has no other way; the locked version is the one that was tested.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from worker.ports import Output
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.appending import append_all
from worker.transport.kafka_python.refusals import find_refusal


def tolerate_refused_coordinator(producer: KafkaProducer) -> None:
    """Makes a refused connection look like "not ready", after which the sender keeps the request and asks again."""
    client = producer._sender._client
    await_ready = client.await_ready

    def await_ready_or_false(node_id: int, timeout_ms: float) -> bool:
        try:
            # A sender that was ended while it waited here would still send: an old initialisation fences its successor.
            return bool(await_ready(node_id, timeout_ms=timeout_ms)) and not producer._sender._force_close
        except (KafkaError, OSError):
            return False

    client.await_ready = await_ready_or_false


def send_all(producer: KafkaProducer, outputs: Sequence[Output], deadline: Deadline) -> None:
    """Sends `outputs`, in the open transaction if there is to be one, and waits until every one is confirmed.

    Raises:
        OutputRefusedError: the brokers refuse at least one for what it is. A transaction must be aborted.
        KafkaError: at least one was not confirmed. A transaction must be aborted.
    """
    for topic in {output.topic for output in outputs}:
        # A topic that the producer has not heard of would wait in the accumulator until it expires.
        producer._wait_on_metadata(topic, 1000 * deadline.remaining_seconds())
    futures = append_all(producer, outputs)
    # Not `KafkaProducer.flush`: it gives up on a batch that the client has to split for a topic of small records, and
    # waits the whole timeout for each batch.
    producer._accumulator.begin_flush()
    producer._sender.wakeup()
    try:
        for future in futures:
            future.get(timeout=deadline.remaining_seconds())
    except KafkaError as error:
        raise find_refusal(outputs, futures) or error from error
    finally:
        producer._accumulator._flushes_in_progress.decrement()


def send_offsets(
    producer: KafkaProducer,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    group: ConsumerGroupMetadata,
    deadline: Deadline,
) -> None:
    """`KafkaProducer.send_offsets_to_transaction` with an end."""
    _wait(producer, producer._transaction_manager.send_offsets_to_transaction(offsets, group), deadline)


def begin(producer: KafkaProducer) -> None:
    """`KafkaProducer.begin_transaction`, which waits for nobody."""
    producer.begin_transaction()


def initialise(producer: KafkaProducer, deadline: Deadline) -> None:
    """`KafkaProducer.init_transactions` with an end of our own."""
    _wait(producer, producer._transaction_manager.initialize_transactions(), deadline)


def commit(producer: KafkaProducer, deadline: Deadline) -> None:
    """`KafkaProducer.commit_transaction` with an end."""
    _wait(producer, producer._transaction_manager.begin_commit(), deadline)


def abort(producer: KafkaProducer, deadline: Deadline) -> None:
    """`KafkaProducer.abort_transaction` with an end."""
    _wait(producer, producer._transaction_manager.begin_abort(), deadline)


def end_producer(producer: KafkaProducer, *, timeout_seconds: float) -> None:
    """Ends a producer whose state is not known: nothing that it still holds is sent.

    `KafkaProducer.close` would first wait for its records to be delivered.
    """
    producer._sender.force_close()
    producer._sender.join(timeout_seconds)
    producer._closed = True
    producer._unregister_cleanup()


def _wait(producer: KafkaProducer, result: Any, deadline: Deadline) -> None:
    producer._sender.wakeup()
    if not result.wait(timeout_ms=1000 * deadline.remaining_seconds()):
        raise KafkaTimeoutError("the transaction coordinator did not answer in time")

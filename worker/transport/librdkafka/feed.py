"""A plain producer through librdkafka."""

from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.errors import TransportError
from worker.transport.deadline import Deadline
from worker.transport.librdkafka.client import (
    connect,
    describe,
    find_partitions,
    principal,
    raise_denial,
    transport_error,
)
from worker.transport.librdkafka.properties import ClientProperties
from worker.transport.rights import Rights
from worker.transport.terms import LINGER_MS, MAX_REQUEST_BYTES, REQUEST_SECONDS, require_topic

ROOM_SECONDS = 0.1
"""How long to wait for confirmations before the queue is tried again."""


class LibrdkafkaFeed:
    """A plain idempotent producer, for filling a topic and for status messages."""

    def __init__(self, client: ClientProperties, *, block_seconds: float = REQUEST_SECONDS) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            block_seconds: how long `send` may wait.

        Raises:
            BrokerUnreachableError: no broker answered.
        """
        properties = {
            "enable.idempotence": True,
            "linger.ms": LINGER_MS,
            "message.max.bytes": MAX_REQUEST_BYTES,
            # As kafka-python and Java do it: a key stays in its partition whichever client sends it.
            "partitioner": "murmur2_random",
        }
        self._block_seconds = block_seconds
        self._producer = connect(Producer, "P", client, properties)
        self._rights = Rights(partial(principal, client), "WRITE")
        self._failure: KafkaError | None = None
        """The first since it was told."""

    def require(self, topic: str) -> None:
        """Raises `TopicMissingError` unless the topic exists."""
        require_topic(find_partitions(self._producer, topic, self._rights), topic)

    def send(self, topic: str, value: bytes, *, key: bytes | None = None) -> None:
        """Queues a record; a failure is raised by the next `send` or `flush`.

        Raises:
            TransportError: an earlier record was not confirmed, this one is larger than the client takes, or the queue
                is full and nothing leaves it.
        """
        self._raise_failure()
        deadline = Deadline(self._block_seconds)
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._report)
                break
            except BufferError:
                if self._producer.poll(ROOM_SECONDS) == 0 and not deadline.remaining_seconds():
                    raise TransportError(
                        "the broker takes no records: the queue is full. Look at the broker."
                    ) from None
            except KafkaException as error:
                raise transport_error(f"a record for {topic} cannot be sent", error) from error
        self._producer.poll(0)

    def flush(self, *, timeout_seconds: float) -> None:
        """Waits until everything that was sent is confirmed.

        Raises:
            TransportError: a record was not confirmed.
        """
        left = self._producer.flush(timeout_seconds)
        self._raise_failure()
        if left:
            raise TransportError(f"a record was not confirmed within {timeout_seconds} s, {left} in all")

    def close(self) -> None:
        """Ends the connection; what was not flushed may be lost."""
        self._producer.purge()
        del self._producer  # the last reference: the client ends with it

    def _report(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise_denial(KafkaException(failure), self._rights)
            raise TransportError(f"a record was not confirmed: {describe(failure)}")

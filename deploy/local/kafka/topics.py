"""Creates topics."""

from collections.abc import Mapping

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError

from worker.errors import BrokerUnreachableError, TransportError

BOOTSTRAP_TIMEOUT_MS = 5_000


def create_topics(
    bootstrap_servers: str, partitions: Mapping[str, int], *, configs: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Creates topics and returns when every partition has a leader. A topic that exists stays as it is.

    Args:
        bootstrap_servers: addresses of brokers, with commas between.
        partitions: topic -> number of partitions. The brokers' default decides the replication factor.
        configs: topic -> topic properties.

    Raises:
        BrokerUnreachableError: nobody answered.
        TransportError: the brokers refused.
    """
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS)
    except KafkaError as error:
        raise BrokerUnreachableError(
            f"no Kafka broker answers at {bootstrap_servers}: {error}. Check the address and that the broker runs."
        ) from error
    with admin:
        for topic, count in partitions.items():
            request = {topic: {"num_partitions": count, "configs": dict((configs or {}).get(topic, {}))}}
            try:
                admin.create_topics(request, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                admin.wait_for_topics([topic])
            except KafkaError as error:
                raise TransportError(f"topic {topic!r} cannot be created at {bootstrap_servers}: {error}") from error

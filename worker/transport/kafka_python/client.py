"""Building kafka-python's clients, and reading its errors."""

from collections.abc import Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import (
    ClusterAuthorizationFailedError,
    FencedInstanceIdError,
    GroupAuthorizationFailedError,
    InvalidProducerEpochError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)
from kafka.net.compat import KafkaNetClient

from worker.errors import AccessDeniedError, BrokerUnreachableError, SettingsError, TransportError
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.diagnosis import Access, find_refusal
from worker.transport.kafka_python.bootstrap import fall_back_on_bootstrap_servers
from worker.transport.kafka_python.header_names import accept_any_name
from worker.transport.rights import Kind, Rights
from worker.transport.terms import BOOTSTRAP_SECONDS, METADATA_SECONDS, RECONNECT_MAX_MS, REQUEST_SECONDS

REFUSALS: dict[type[KafkaError], Kind] = {
    ClusterAuthorizationFailedError: "cluster",
    GroupAuthorizationFailedError: "group",
    TopicAuthorizationFailedError: "topic",
    TransactionalIdAuthorizationFailedError: "transactional id",
}
FENCED = (ProducerFencedError, InvalidProducerEpochError, FencedInstanceIdError)


CONNECTING = {
    "socket_connection_setup_timeout_ms": REQUEST_SECONDS * 1000,
    "socket_connection_setup_timeout_max_ms": REQUEST_SECONDS * 1000,
}
"""By default 10 s, and longer with every failure: so long a broker that accepts and says nothing, as one does that is
starting, could keep a client waiting."""


def connect(kind: type[Any], client: Mapping[str, Any], *, deadline: Deadline | None = None, **properties: Any) -> Any:
    """Builds a Kafka client.

    Args:
        kind: the client's class.
        client: connection properties, from `client_properties`.
        deadline: bounds the attempt, in the middle of something else; then nobody looks into why it failed.
        properties: what this use of the client needs.

    Raises:
        AccessDeniedError: a broker answers, but does not let us in.
        BrokerUnreachableError: no broker answered in time.
        SettingsError: the client does not take a value of its properties.
    """
    access = _access(client)
    access.require_credentials()
    accept_any_name()
    opened: list[KafkaNetClient] = []

    def open_network(**configuration: Any) -> KafkaNetClient:
        network = KafkaNetClient(**CONNECTING, **configuration)
        fall_back_on_bootstrap_servers(network)
        opened.append(network)
        return network

    within_seconds = BOOTSTRAP_SECONDS if deadline is None else deadline.remaining_seconds()
    shared = {
        "bootstrap_timeout_ms": int(within_seconds * 1000),
        "reconnect_backoff_max_ms": RECONNECT_MAX_MS,
        "request_timeout_ms": REQUEST_SECONDS * 1000,
    }
    # The user's own properties win, where this kind of client has them.
    own = {name: value for name, value in client.items() if name in kind.DEFAULT_CONFIG}
    try:
        return kind(**{**shared, **properties, **own, "kafka_client": open_network})
    except (ValueError, AssertionError, KafkaConfigurationError) as error:
        raise SettingsError(f"kafka-python refuses its properties: {describe(error)}.") from error
    except KafkaError as error:
        # A client that could not be built leaves its sockets and its thread behind: an outage would collect them.
        for network in opened:
            network.close()
        raise (find_refusal(access) if deadline is None else None) or terms.unreachable(
            access.servers, within_seconds=within_seconds, reason=describe(error)
        ) from error


def _access(client: Mapping[str, Any]) -> Access:
    return Access(
        servers=",".join(client["bootstrap_servers"]),
        protocol=client.get("security_protocol", "PLAINTEXT"),
        ca_file=client.get("ssl_cafile"),
        certificate_file=client.get("ssl_certfile"),
        key_file=client.get("ssl_keyfile"),
        key_password=client.get("ssl_password"),
        mechanism=client.get("sasl_mechanism", ""),
        username=client.get("sasl_plain_username", ""),
        password=client.get("sasl_plain_password", ""),
        tokens=provider.source if (provider := client.get("sasl_oauth_token_provider")) else None,
        checks_name=client.get("ssl_check_hostname", True),
    )


def principal(client: Mapping[str, Any]) -> str:
    """How the brokers call who connects with the properties `client`."""
    return _access(client).principal


def denial(error: KafkaError, rights: Rights) -> AccessDeniedError | None:
    """What to raise if `error` says that something is not allowed, None if it says something else."""
    for refusal, kind in REFUSALS.items():
        if isinstance(error, refusal):
            named = error.args[0] if error.args else ()
            return rights.denial(kind, topics=[named] if isinstance(named, str) else named)
    return None


def raise_denial(error: KafkaError, rights: Rights) -> None:
    """Raises `AccessDeniedError` if that is what `error` says."""
    if (found := denial(error, rights)) is not None:
        raise found from error


def require_partitions(consumer: KafkaConsumer, client: Mapping[str, Any], topic: str, rights: Rights) -> set[int]:
    """Partitions of `topic`.

    Raises:
        AccessDeniedError: we may not see it.
        TopicMissingError: it does not exist.
    """
    partitions: set[int] = consumer.partitions_for_topic(topic)
    if not partitions:
        # To the consumer, what is hidden looks like what is missing.
        with connect(KafkaAdminClient, client) as admin:
            [described] = admin.describe_topics([topic])
        if described["error_code"] == TopicAuthorizationFailedError.errno:
            raise rights.denial("topic", topics=[topic])
    return terms.require_topic(partitions, topic)


def find_partitions(producer: KafkaProducer, topic: str, rights: Rights) -> set[int] | None:
    """Partitions of `topic`, None if it does not exist.

    `KafkaProducer.partitions_for` would keep asking for a topic that is missing until ``max_block_ms``.
    """
    try:
        partitions: set[int] = producer._wait_on_metadata(topic, METADATA_SECONDS * 1000)
    except KafkaTimeoutError:
        return None
    except KafkaError as error:
        raise transport_error(f"topic {topic!r} cannot be looked up", error, rights) from error
    return partitions


def transport_error(what: str, error: KafkaError, rights: Rights | None = None) -> TransportError:
    """The error to raise for one of the client's: retriable if the client says so.

    Args:
        what: failed.
        error: the client's.
        rights: what the client has to be allowed; says what a refusal means.
    """
    if rights is not None and (refused := denial(error, rights)) is not None:
        return refused
    kind = BrokerUnreachableError if error.retriable else TransportError
    return kind(f"{what}: {describe(error)}")


def describe(error: Exception) -> str:
    """The error on one line; kafka-python's own begin with the name of their class."""
    text = str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split()).removesuffix(".")

"""Building librdkafka's clients, and reading its errors."""

import logging
import threading
from collections.abc import Collection
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from worker.errors import AccessDeniedError, BrokerUnreachableError, SettingsError, TransportError
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.diagnosis import Access, find_refusal
from worker.transport.librdkafka.properties import ClientProperties, Role
from worker.transport.rights import Kind, Rights
from worker.transport.terms import BOOTSTRAP_SECONDS, END_SECONDS, METADATA_SECONDS, RECONNECT_MAX_MS, REQUEST_SECONDS

EXISTING_TOPIC = "__consumer_offsets"
"""Asked for to see whether a broker answers; whether it shows us this topic does not matter."""
REFUSALS: dict[int, Kind] = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
}
PERMANENT = frozenset(
    {
        *REFUSALS,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._FATAL,
    }
)
"""Codes of errors that stay until somebody acts."""

UNCHECKED = frozenset({"false", "f", "0"})
"""The library's words for no."""

log = logging.getLogger("librdkafka")

Client = TypeVar("Client", Consumer, Producer, AdminClient)


def connect(
    kind: type[Client],
    role: Role,
    client: ClientProperties,
    properties: dict[str, Any],
    *,
    deadline: Deadline | None = None,
) -> Client:
    """Builds a client and waits for a broker.

    Args:
        kind: the client's class.
        role: the same, in librdkafka's letters.
        client: connection and user's properties, from `client_properties`.
        properties: what this use of the client needs.
        deadline: bounds the attempt, in the middle of something else; then nobody looks into why it failed.

    Raises:
        AccessDeniedError: a broker answers, but does not let us in.
        BrokerUnreachableError: no broker answered in time.
        SettingsError: the client does not take a value of its properties.
    """
    access = _access(client, role)
    access.require_credentials()
    shared = {
        "allow.auto.create.topics": False,
        "socket.timeout.ms": REQUEST_SECONDS * 1000,
        "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
    }
    reasons = ["no answer"]

    def note(error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            reasons[0] = describe(error)

    callbacks: dict[str, Any] = {"error_cb": note}
    if (tokens := client.tokens) is not None:
        callbacks["oauth_cb"] = lambda _: tokens.token()
    try:
        built = kind({**client.for_role(role, {**shared, **properties}), **callbacks}, logger=log)
    except KafkaException as error:
        raise SettingsError(f"librdkafka refuses its properties: {describe(error)}.") from error
    within_seconds = BOOTSTRAP_SECONDS if deadline is None else deadline.remaining_seconds()
    try:
        built.list_topics(EXISTING_TOPIC, timeout=within_seconds)
    except KafkaException as error:
        built.poll(0)  # tells `note` what went wrong
        if isinstance(built, Consumer):
            built.close()
        # A producer ends with the last reference to it, and the traceback would keep this one.
        del built
        raise (find_refusal(access) if deadline is None else None) or terms.unreachable(
            access.servers, within_seconds=within_seconds, reason=reasons[0]
        ) from error
    return built


def _access(client: ClientProperties, role: Role = "P") -> Access:
    connection = client.for_role(role, {})
    return Access(
        servers=connection["bootstrap.servers"],
        protocol=connection["security.protocol"],
        ca_file=connection.get("ssl.ca.location"),
        certificate_file=connection.get("ssl.certificate.location"),
        key_file=connection.get("ssl.key.location"),
        key_password=connection.get("ssl.key.password"),
        mechanism=connection.get("sasl.mechanism", ""),
        username=connection.get("sasl.username", ""),
        password=connection.get("sasl.password", ""),
        tokens=client.tokens,
        ca_text=connection.get("ssl.ca.pem"),
        checks_name=connection.get("ssl.endpoint.identification.algorithm") != "none",
        checks_certificate=connection.get("enable.ssl.certificate.verification") not in UNCHECKED,
    )


def find_record_limits(client: ClientProperties, topics: Collection[str], *, within_seconds: float) -> dict[str, int]:
    """Topic -> ``max.message.bytes``.

    Raises:
        KafkaException: it cannot be seen.
    """
    admin = AdminClient(client.for_role("P", {}))
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    answers = admin.describe_configs(resources, request_timeout=within_seconds)
    return {
        resource.name: int(configs.result(within_seconds)["max.message.bytes"].value)
        for resource, configs in answers.items()
    }


def principal(client: ClientProperties) -> str:
    """How the brokers call who connects with the properties `client`."""
    return _access(client).principal


def denial(error: KafkaException, rights: Rights) -> AccessDeniedError | None:
    """What to raise if `error` says that something is not allowed; behind its cause it may name topics."""
    kind = REFUSALS.get(code_of(error))
    return None if kind is None else rights.denial(kind, topics=error.args[1:])


def raise_denial(error: KafkaException, rights: Rights) -> None:
    """Raises `AccessDeniedError` if that is what `error` says."""
    if (found := denial(error, rights)) is not None:
        raise found from error


def find_partitions(
    client: Producer | Consumer, topic: str, rights: Rights, *, within_seconds: float = METADATA_SECONDS
) -> set[int] | None:
    """Partitions of `topic`, None if it does not exist.

    Raises:
        AccessDeniedError: we may not see it.
        TransportError: the brokers did not tell.
    """
    try:
        found = client.list_topics(topic, timeout=within_seconds).topics[topic]
    except KafkaException as error:
        raise transport_error(f"topic {topic!r} cannot be looked up", error) from error
    if found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise_denial(KafkaException(found.error, topic), rights)
        raise transport_error(f"topic {topic!r} cannot be looked up", found.error)
    return set(found.partitions)


def code_of(error: KafkaException) -> int:
    """The error's code, one of `KafkaError`'s constants."""
    return error.args[0].code()  # type: ignore[no-any-return]


def transport_error(what: str, error: KafkaException | KafkaError) -> TransportError:
    """The error to raise for one of the client's: retriable unless it is known to stay."""
    code = error.code() if isinstance(error, KafkaError) else code_of(error)
    kind = TransportError if code in PERMANENT else BrokerUnreachableError
    return kind(f"{what}: {describe(error)}")


def describe(error: KafkaException | KafkaError) -> str:
    """The error on one line."""
    cause = error if isinstance(error, KafkaError) else error.args[0]
    return " ".join(cause.str().split()).removesuffix(".")


def close(consumer: Consumer, *, within_seconds: float = END_SECONDS) -> None:
    """Closes `consumer`, and waits for that no longer: the library's call has no limit, and no signal ends it.

    It waits for answers of a coordinator that is away.
    """
    _take_what_waits(consumer)
    closing = threading.Thread(target=consumer.close, name="close", daemon=True)
    closing.start()
    closing.join(within_seconds)
    if closing.is_alive():
        log.warning("a consumer did not close within %g s, and is left behind", within_seconds)


def _take_what_waits(consumer: Consumer) -> None:
    """Runs the callbacks that wait in `consumer`, and drops its records.

    A rebalance that waits would be told by the close, and then a second one, that all is taken away. With the answer to
    the first the library ends its group; what the binding asks about the second is never answered, and it waits with
    the interpreter's lock held (librdkafka's issues 4041 and 4884).
    """
    try:
        consumer.pause(consumer.assignment())
        while consumer.consume(1, 0):
            pass
    except KafkaException as error:
        log.warning("the group's last decision was not noted: %s", describe(error))

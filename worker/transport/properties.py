"""Client properties that a user sets by their Kafka names: which are allowed, and what to say about the others.

Every client takes the same `LIMELIGHT_PROPERTIES`; what it knows, it says itself: see
`worker.transport.kafka_python.properties` and `worker.transport.librdkafka.properties`. Two kinds are refused whatever
the client: those that another setting governs already, and those that exactly once rests on.
"""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from worker.errors import SettingsError
from worker.settings import Settings, variable

GOVERNED = {
    "bootstrap.servers": "bootstrap_servers",
    "metadata.broker.list": "bootstrap_servers",
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_username",
    "sasl.plain.username": "sasl_username",
    "sasl.password": "sasl_password",
    "sasl.plain.password": "sasl_password",
    "ssl.ca.location": "ssl_ca_file",
    "ssl.cafile": "ssl_ca_file",
    "ssl.certificate.location": "ssl_certificate_file",
    "ssl.certfile": "ssl_certificate_file",
    "ssl.key.location": "ssl_key_file",
    "ssl.keyfile": "ssl_key_file",
    "ssl.key.password": "ssl_key_password",
    "ssl.password": "ssl_key_password",
    "sasl.oauthbearer.token.endpoint.url": "sasl_token_url",
    "sasl.oauthbearer.client.id": "sasl_username",
    "sasl.oauthbearer.client.secret": "sasl_password",
    "sasl.oauthbearer.scope": "sasl_token_scope",
    "group.id": "group_id",
    "group.instance.id": "instance_id",
    "session.timeout.ms": "session_timeout_seconds",
    "auto.offset.reset": "start",
    "transaction.timeout.ms": "transaction_timeout_seconds",
    "delivery.timeout.ms": "delivery_deadline_seconds",
    "message.timeout.ms": "delivery_deadline_seconds",
    "max.block.ms": "delivery_deadline_seconds",
}
"""Property -> the setting to use in its place."""

FIXED = frozenset(
    {
        "acks",
        "allow.auto.create.topics",
        "auto.commit.enable",
        "delivery.report.only.error",
        "enable.auto.commit",
        "enable.idempotence",
        "enable.partition.eof",
        "group.protocol",
        "isolation.level",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "partition.assignment.strategy",
        "request.required.acks",
        "transactional.id",
    }
)
"""Another value of these would lose or double records, or hide that it did."""


def allowed_properties(settings: Settings, known: Iterable[str], *, client: str) -> dict[str, str]:
    """Returns the properties of `settings`, by their Kafka names.

    Args:
        settings: effective settings.
        known: Kafka names that the client understands.
        client: its name, for the message.

    Raises:
        SettingsError: one of them may not be set, or the client does not know it.
    """
    values = settings.property_values()
    names = set(known)
    for name in values:
        if name in GOVERNED:
            raise SettingsError(f"{name} cannot be set in {variable('properties')}: set {variable(GOVERNED[name])}.")
        if name in FIXED:
            raise SettingsError(
                f"{name} cannot be set in {variable('properties')}: exactly once rests on the value that it has. "
                "Leave it out."
            )
        if name not in names:
            closest = difflib.get_close_matches(name, names - FIXED - GOVERNED.keys(), n=1, cutoff=0)[0]
            raise SettingsError(
                f"{variable('properties')} names {name}, which {client} does not know. Did you mean {closest}?"
            )
    return values


class EncryptionNames(NamedTuple):
    """What a client calls the settings of the SSL protocols."""

    authority: str
    certificate: str
    key: str
    key_password: str


def encryption_properties(settings: Settings, names: EncryptionNames) -> dict[str, str]:
    """The settings of the SSL protocols, as far as they are set."""
    secret = settings.ssl_key_password
    values = EncryptionNames(
        authority=str(settings.ssl_ca_file or ""),
        certificate=str(settings.ssl_certificate_file or ""),
        key=str(settings.ssl_key_file or ""),
        key_password="" if secret is None else secret.get_secret_value(),
    )
    return {name: value for name, value in zip(names, values, strict=True) if value}

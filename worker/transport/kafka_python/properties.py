"""kafka-python's properties: those of the connection, and the user's own by their Kafka names.

The client knows ``linger_ms``, Kafka knows ``linger.ms``: dots become underscores. It takes numbers and booleans where
the environment has text: the type of its own default says which.
"""

from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from worker.errors import SettingsError
from worker.settings import Settings, variable
from worker.transport.kafka_python.tokens import TokenProvider
from worker.transport.properties import EncryptionNames, allowed_properties, encryption_properties
from worker.transport.terms import client_id
from worker.transport.tokens import token_source

DEFAULTS: dict[str, Any] = {**KafkaConsumer.DEFAULT_CONFIG, **KafkaProducer.DEFAULT_CONFIG}
ENCRYPTION = EncryptionNames("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password")
OBJECTS = ("_deserializer", "_serializer", "_context", "_provider", "api_version")
"""Ends of the names whose default is None but whose value cannot be given as text."""


def client_properties(settings: Settings) -> dict[str, Any]:
    """kafka-python's connection properties for the settings, and what the user set besides.

    Raises:
        SettingsError: the user set what the client does not know, or what may not be set.
    """
    properties: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "client_id": client_id(),
    }
    if (tokens := token_source(settings)) is not None:
        properties |= {"sasl_mechanism": settings.sasl_mechanism, "sasl_oauth_token_provider": TokenProvider(tokens)}
    elif settings.sasl_password is not None:
        properties |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    properties |= encryption_properties(settings, ENCRYPTION)
    # Where another client was chosen, the user's properties are meant for that one.
    return properties | (_own_properties(settings) if settings.transport == "kafka-python" else {})


def _own_properties(settings: Settings) -> dict[str, Any]:
    """The user's properties as the client wants them.

    Raises:
        SettingsError: one is refused, unknown, or not of the type that the client wants.
    """
    known = {name.replace("_", "."): name for name, default in DEFAULTS.items() if _can_be_text(name, default)}
    given = allowed_properties(settings, known, client="kafka-python")
    return {known[name]: _convert(name, text, DEFAULTS[known[name]]) for name, text in given.items()}


def _can_be_text(name: str, default: Any) -> bool:
    return isinstance(default, str | int | float) or (default is None and not name.endswith(OBJECTS))


def _convert(name: str, text: str, default: Any) -> Any:
    """`text` in the type of `default`; where there is none, sizes are numbers and everything else is text."""
    booleans = {"true": True, "false": False}
    try:
        match default:
            case bool():
                return booleans[text.lower()]
            case int():
                return int(text)
            case float():
                return float(text)
            case None if name.endswith(".bytes"):
                return int(text)
            case _:
                return text
    except (ValueError, KeyError):
        wanted = "true or false" if isinstance(default, bool) else "a number"
        raise SettingsError(f"{variable('properties')} gives {name} another value than {wanted}.") from None

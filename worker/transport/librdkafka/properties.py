"""librdkafka's properties: those of the connection, and the user's own.

The library can print a table of everything it knows, a row per property: name, who it is for (``P`` producer, ``C``
consumer, ``*`` both), range, default, importance, description. The Python binding has no call for it, so the C function
is called: a list of our own would be out of date with the next version.
"""

import ctypes
import functools
from typing import Any, Literal, NamedTuple

from confluent_kafka import cimpl

from worker.settings import Settings
from worker.transport.properties import EncryptionNames, allowed_properties, encryption_properties
from worker.transport.terms import client_id
from worker.transport.tokens import TokenSource, token_source

ENCRYPTION = EncryptionNames("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password")

Role = Literal["C", "P"]
"""As in the table: consumer or producer."""


class ClientProperties(NamedTuple):
    """What connects a client and what the user set besides, by role, because a client warns about the other's."""

    connection: dict[str, Any]
    own: dict[str, str]
    tokens: TokenSource | None = None
    """For OAUTHBEARER."""

    def for_role(self, role: Role, properties: dict[str, Any]) -> dict[str, Any]:
        """The configuration of a client: the user's own properties win over `properties`."""
        roles = known_properties()
        return {**self.connection, **properties, **{n: v for n, v in self.own.items() if roles[n] in ("*", role)}}


def client_properties(settings: Settings) -> ClientProperties:
    """What connects to the brokers of the settings, and what the user set besides.

    Raises:
        SettingsError: the user set what the client does not know, or what may not be set.
    """
    connection: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "client.id": client_id(),
    }
    tokens = token_source(settings)
    if tokens is not None:
        connection["sasl.mechanism"] = settings.sasl_mechanism
    elif settings.sasl_password is not None:
        connection |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.sasl_username,
            "sasl.password": settings.sasl_password.get_secret_value(),
        }
    connection |= encryption_properties(settings, ENCRYPTION)
    own = allowed_properties(settings, known_properties(), client="librdkafka")
    return ClientProperties(connection, own, tokens)


@functools.cache
def known_properties() -> dict[str, str]:
    """Name -> ``C``, ``P`` or ``*``, of every property that can be given as text."""
    known = {}
    for line in _print_table().splitlines():
        name, role, *_, description = [cell.strip() for cell in line.split("|")] if line.count("|") >= 5 else [""] * 3
        if role in ("C", "P", "*") and "see dedicated API" not in description:
            known[name] = role
    return known


def _print_table() -> str:
    library, libc = ctypes.CDLL(cimpl.__file__), ctypes.CDLL(None)
    libc.open_memstream.restype = ctypes.c_void_p
    libc.fclose.argtypes = libc.free.argtypes = library.rd_kafka_conf_properties_show.argtypes = [ctypes.c_void_p]
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(size))
    library.rd_kafka_conf_properties_show(stream)
    libc.fclose(stream)
    try:
        return ctypes.string_at(text.value or 0, size.value).decode()
    finally:
        libc.free(text)

"""Logging in at a broker with SASL, by hand, to learn why it fails.

The requests are those of https://kafka.apache.org/protocol; SCRAM is RFC 5802.
"""

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from typing import NamedTuple

from worker.settings import variable

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
HANDSHAKE_VERSION, AUTHENTICATE_VERSION = 1, 0
UNSUPPORTED_MECHANISM, ILLEGAL_STATE = 33, 34
CLIENT_ID = b"limelight"
CORRELATION_BYTES = 4


class LoginError(Exception):
    """The broker does not let us in; says what it does, and the remedy."""


class Login(NamedTuple):
    """How to log in, and as whom."""

    mechanism: str
    username: str
    password: str
    token: str = ""
    """For OAUTHBEARER."""


def log_in(connection: socket.socket, login: Login) -> None:
    """
    Raises:
        LoginError: the broker refused.
        ConnectionError: it ended the connection.
    """
    mechanism = login.mechanism
    answer = request(connection, SASL_HANDSHAKE, HANDSHAKE_VERSION, _short_bytes(mechanism.encode()))
    [code], offered = struct.unpack_from(">h", answer), _strings(answer[2:])
    if code == ILLEGAL_STATE:
        raise LoginError(f"asks for no login. Set {variable('security_protocol')} to PLAINTEXT or SSL")
    if code == UNSUPPORTED_MECHANISM:
        raise LoginError(f"offers {', '.join(offered)}, not {mechanism}. Set {variable('sasl_mechanism')}")
    match mechanism:
        case "PLAIN":
            _authenticate(connection, f"\0{login.username}\0{login.password}".encode(), login)
        case "OAUTHBEARER":
            _oauth(connection, login)
        case _:
            _scram(connection, mechanism.removeprefix("SCRAM-").replace("-", ""), login)


def request(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Sends a request and returns the body of the answer.

    Raises:
        ConnectionError: the broker ended the connection.
    """
    message = struct.pack(">hhi", key, version, 0) + _short_bytes(CLIENT_ID) + body
    connection.sendall(struct.pack(">i", len(message)) + message)
    [size] = struct.unpack(">i", _receive(connection, 4))
    return _receive(connection, size)[CORRELATION_BYTES:]


def _oauth(connection: socket.socket, login: Login) -> None:
    """RFC 7628: a refusal is an answer, which has to be answered before the login fails."""
    refusal = _authenticate(connection, f"n,,\1auth=Bearer {login.token}\1\1".encode(), login)
    if refusal:
        _authenticate(connection, b"\1", login)


def _scram(connection: socket.socket, digest: str, login: Login) -> None:
    name = login.username.replace("=", "=3D").replace(",", "=2C")
    first = f"n={name},r={secrets.token_hex(16)}"
    challenge = _authenticate(connection, f"n,,{first}".encode(), login).decode()
    nonce, salt, iterations = (part[2:] for part in challenge.split(","))
    final = f"c=biws,r={nonce}"
    key = hashlib.pbkdf2_hmac(digest, login.password.encode(), base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(key, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), f"{first},{challenge},{final}".encode(), digest)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    _authenticate(connection, f"{final},p={base64.b64encode(proof).decode()}".encode(), login)


def _authenticate(connection: socket.socket, token: bytes, login: Login) -> bytes:
    answer = request(connection, SASL_AUTHENTICATE, AUTHENTICATE_VERSION, struct.pack(">i", len(token)) + token)
    code, length = struct.unpack_from(">hh", answer)
    if code:
        reason = answer[4 : 4 + length].decode() if length > 0 else "no reason given"
        if login.token:
            raise LoginError(
                f"refuses the login: {reason}. Check where the token comes from, and that it is meant for it"
            )
        user, password = variable("sasl_username"), variable("sasl_password")
        raise LoginError(f"refuses the login of User:{login.username}: {reason}. Check {user} and {password}")
    return answer[4 + max(0, length) + 4 :]


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionResetError("the broker ended the connection")
        received += part
    return received


def _short_bytes(data: bytes) -> bytes:
    return struct.pack(">h", len(data)) + data


def _strings(data: bytes) -> list[str]:
    [count], place, found = struct.unpack_from(">i", data), 4, []
    for _ in range(count):
        [length] = struct.unpack_from(">h", data, place)
        found.append(data[place + 2 : place + 2 + length].decode())
        place += 2 + length
    return found

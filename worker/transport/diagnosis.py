"""Why a broker that can be reached does not let us in.

For a wrong password, a certificate that is not trusted or a listener of another kind, the clients report after a while
that nobody answered, each in words of its own. So when a client could not connect, its first steps are made once more
here, on a plain socket: TCP, TLS, login, and a request that needs one. The step that fails names the setting.
"""

import socket
import ssl
import struct
from typing import NamedTuple

from worker.errors import AccessDeniedError
from worker.settings import variable
from worker.transport.login import LoginError, log_in, request

STEP_SECONDS = 3.0
"""For each step. A broker answers a wrong password late on purpose."""
API_VERSIONS, API_VERSIONS_VERSION = 18, 0
"""Answered before the login."""
METADATA, METADATA_VERSION = 3, 1
"""Answered after it."""
NO_TOPICS = struct.pack(">i", 0)


class Access(NamedTuple):
    """How the settings, and the user's own properties of the client, want to get at the brokers."""

    servers: str
    """host:port, several separated by commas."""
    protocol: str = "PLAINTEXT"
    ca_file: str | None = None
    mechanism: str = ""
    username: str = ""
    password: str = ""
    ca_text: str | None = None
    """The same as in `ca_file`, itself."""
    certificate_file: str | None = None
    """What we show the broker."""
    key_file: str | None = None
    key_password: str | None = None
    checks_name: bool = True
    """Whether the broker must have the name that stands in its certificate."""
    checks_certificate: bool = True

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """True if somebody logs in."""
        return self.protocol.startswith("SASL")


def find_refusal(access: Access) -> AccessDeniedError | None:
    """What is wrong with `access` at the first broker that can be reached; None if none can, or nothing is.

    Nothing is concluded from silence, nor from one look: a broker that is overloaded, starting or dying ends
    connections too, in the middle of any step.
    """
    for server in access.servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            problem = _find_problem(access, host.strip("[]"), int(port))
            if problem is not None and problem != _find_problem(access, host.strip("[]"), int(port)):
                continue
        except (OSError, ValueError, struct.error):
            continue
        return AccessDeniedError(f"the broker at {server} {problem}.") if problem else None
    return None


def _find_problem(access: Access, host: str, port: int) -> str | None:
    """
    Raises:
        OSError: the broker cannot be reached, or ended the connection.
        ValueError: it answered something else.
    """
    protocol = f"{variable('security_protocol')}={access.protocol}"
    if access.tls and _answers_in_the_clear(host, port):
        return f"does not speak TLS, but {protocol}. Set PLAINTEXT or SASL_PLAINTEXT, or name a port with TLS"
    if not access.tls and _speaks_tls(host, port):
        return f"speaks TLS, but {protocol}. Set SSL or SASL_SSL, or name a port without TLS"
    try:
        with _open(access, host, port) as connection:
            request(connection, API_VERSIONS, API_VERSIONS_VERSION, b"")
            if access.sasl:
                log_in(connection, access.mechanism, access.username, access.password)
            elif _ends_at_a_question(connection):
                return f"wants a login, but {protocol}. Set SASL_{access.protocol}, and mechanism, user and password"
    except ssl.SSLCertVerificationError as error:
        return (
            f"has a certificate that cannot be verified: {error.verify_message}. Set {variable('ssl_ca_file')} to the "
            "certificate of the authority that signed it, and call the broker by a name that stands in it"
        )
    except LoginError as error:
        return str(error)
    return None


def _open(access: Access, host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), STEP_SECONDS)
    if not access.tls:
        return connection
    with connection:  # the wrapped socket takes its place
        return _build_context(access).wrap_socket(connection, server_hostname=host)


def _build_context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=access.ca_file, cadata=access.ca_text)
    context.check_hostname = access.checks_name and access.checks_certificate
    if not access.checks_certificate:
        context.verify_mode = ssl.CERT_NONE
    if access.certificate_file is not None:
        context.load_cert_chain(access.certificate_file, access.key_file, access.key_password)
    return context


def _ends_at_a_question(connection: socket.socket) -> bool:
    """True if a broker that has just answered does not answer what only those may ask who are logged in."""
    try:
        request(connection, METADATA, METADATA_VERSION, NO_TOPICS)
    except ConnectionError:
        return True
    return False


def _answers_in_the_clear(host: str, port: int) -> bool:
    with socket.create_connection((host, port), STEP_SECONDS) as connection:
        try:
            request(connection, API_VERSIONS, API_VERSIONS_VERSION, b"")
        except OSError:
            return False
    return True


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is told here; who answers is verified when the connection is opened in earnest.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), STEP_SECONDS) as connection:
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLError as error:
            # Who complains in TLS speaks it: that we show no certificate, for instance.
            return "ALERT" in (error.reason or "")
        except OSError:
            return False
    return True

"""Why a broker that can be reached does not let us in.

For a wrong password, a certificate that is not trusted or a listener of another kind, the clients report after a while
that nobody answered, each in words of its own. So when a client could not connect, its first steps are made once more
here, on a plain socket: TCP, TLS, login, and a request that needs one. The step that fails names the setting.
"""

import socket
import ssl
import struct
from contextlib import suppress
from typing import NamedTuple

from worker.errors import AccessDeniedError
from worker.settings import variable
from worker.transport.certificate import find_flaw, read_certificate
from worker.transport.login import Login, LoginError, log_in, request
from worker.transport.tokens import TokenSource

STEP_SECONDS = 3.0
"""For each step. A broker answers a wrong password late on purpose."""
OBJECTION_SECONDS = 0.3
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
    certificate_file: str | None = None
    """What we show the broker."""
    key_file: str | None = None
    key_password: str | None = None
    mechanism: str = ""
    username: str = ""
    password: str = ""
    ca_text: str | None = None
    """The same as in `ca_file`, itself."""
    checks_name: bool = True
    """Whether the broker must have the name that stands in its certificate."""
    checks_certificate: bool = True
    tokens: TokenSource | None = None
    """For OAUTHBEARER."""

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.protocol.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """True if somebody logs in."""
        return self.protocol.startswith("SASL")

    @property
    def principal(self) -> str:
        """How the brokers call us, unless they map names in a way of their own.

        Raises:
            AccessDeniedError: there is no token.
        """
        if self.tokens is not None:
            return f"User:{self.tokens.token().principal or '(the subject of the token)'}"
        if self.sasl:
            return f"User:{self.username}"
        if self.certificate_file is None:
            return "User:ANONYMOUS"
        return read_certificate(self.certificate_file).principal

    def context(self) -> ssl.SSLContext:
        """For TLS as the settings want it."""
        context = ssl.create_default_context(cafile=self.ca_file, cadata=self.ca_text)
        context.check_hostname = self.checks_name and self.checks_certificate
        if not self.checks_certificate:
            context.verify_mode = ssl.CERT_NONE
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file, self.key_password or "")
        return context

    def require_credentials(self) -> None:
        """Checks what can be checked without a broker.

        Raises:
            AccessDeniedError: certificate and key cannot be used, or there is no token.
        """
        if self.certificate_file is not None:
            flaw = find_flaw(self.certificate_file, self.key_file, self.key_password)
            if flaw is not None:
                raise AccessDeniedError(f"{flaw}.")
        if self.tokens is not None:
            self.tokens.token()


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
    if problem := _find_wrong_protocol(access, host, port):
        return problem
    try:
        with _open(access, host, port) as connection:
            if access.tls:
                _await_objection(connection)
            request(connection, API_VERSIONS, API_VERSIONS_VERSION, b"")
            if access.sasl:
                log_in(connection, _login(access))
            elif _ends_at_a_question(connection):
                return (
                    f"wants a login, but {_protocol(access)}. Set SASL_{access.protocol}, mechanism, user and password"
                )
    except ssl.SSLCertVerificationError as error:
        return (
            f"has a certificate that cannot be verified: {error.verify_message}. Set {variable('ssl_ca_file')} to the "
            "certificate of the authority that signed it, and call the broker by a name that stands in it"
        )
    except LoginError as error:
        return str(error)
    except ssl.SSLError as error:
        if "ALERT" not in (error.reason or ""):
            raise
        return _judge_alert(access, error.reason)
    return None


def _find_wrong_protocol(access: Access, host: str, port: int) -> str | None:
    if access.tls and _answers_in_the_clear(host, port):
        return f"does not speak TLS, but {_protocol(access)}. Set PLAINTEXT or SASL_PLAINTEXT, or name a port with TLS"
    if not access.tls and _speaks_tls(host, port):
        return f"speaks TLS, but {_protocol(access)}. Set SSL or SASL_SSL, or name a port without TLS"
    return None


def _protocol(access: Access) -> str:
    return f"{variable('security_protocol')}={access.protocol}"


def _judge_alert(access: Access, reason: str) -> str:
    """What a broker's complaint about our side of TLS means."""
    told = reason.lower().replace("_", " ").partition("alert ")[2]
    if access.certificate_file is None:
        return f"wants a certificate ({told}). Set {variable('ssl_certificate_file')} and {variable('ssl_key_file')}"
    ours = read_certificate(access.certificate_file).describe()
    return (
        f"does not take our certificate ({told}). It is that of {ours}. Set {variable('ssl_certificate_file')} to one "
        "that is valid and signed by an authority that the broker trusts"
    )


def _login(access: Access) -> Login:
    token = "" if access.tokens is None else access.tokens.token().text
    return Login(access.mechanism, access.username, access.password, token)


def _open(access: Access, host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), STEP_SECONDS)
    if not access.tls:
        return connection
    with connection:  # the wrapped socket takes its place
        return access.context().wrap_socket(connection, server_hostname=host)


def _await_objection(connection: socket.socket) -> None:
    """Lets the broker object to our certificate: its reset, after we have sent something, would overtake its reason."""
    connection.settimeout(OBJECTION_SECONDS)
    with suppress(TimeoutError):
        connection.recv(1)
    connection.settimeout(STEP_SECONDS)


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

"""Wrong passwords, certificates and protocols are named, at a real broker that has a listener of every kind."""

import contextlib
import gc
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.ports import LOOPBACK, choose_ports
from worker.errors import AccessDeniedError, BrokerUnreachableError
from worker.settings import Settings
from worker.transport.connections import Connections
from worker.transport.diagnosis import Access, find_refusal
from worker.transport.kafka_python import client as kafka_python
from worker.transport.librdkafka import client as librdkafka

pytestmark = pytest.mark.kafka

LISTENERS = ["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"]
JAAS = """org.apache.kafka.common.security.%s required user_alice="secret";"""
SCRAM = {"mechanism": "SCRAM-SHA-256", "username": "o=b,b", "password": "crème"}
PLAIN = {"mechanism": "PLAIN", "username": "alice", "password": "secret"}
PROTOCOL = "LIMELIGHT_SECURITY_PROTOCOL"


def certify(path: Path) -> Path:
    """Writes a key and a certificate that vouches for itself, good for the loopback address only."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


class Secured:
    """Addresses of the listeners, and certificates."""

    def __init__(self, directory: Path) -> None:
        self.certificate = certify(directory / "server.pem")
        self.stranger = certify(directory / "stranger.pem")
        self._controller, *ports = choose_ports(1 + len(LISTENERS))
        self.first_port = ports[0]
        self.address = {name: f"{LOOPBACK}:{port}" for name, port in zip(LISTENERS, ports, strict=True)}

    def properties(self) -> dict[str, str]:
        listeners = ",".join(f"{name}://{address}" for name, address in self.address.items())
        controller = f"{LOOPBACK}:{self._controller}"
        logins = {}
        for listener in ("sasl_plaintext", "sasl_ssl"):
            prefix = f"listener.name.{listener}"
            logins[f"{prefix}.plain.sasl.jaas.config"] = JAAS % "plain.PlainLoginModule"
            logins[f"{prefix}.scram-sha-256.sasl.jaas.config"] = JAAS % "scram.ScramLoginModule"
        return {
            "listeners": f"{listeners},CONTROLLER://{controller}",
            "advertised.listeners": listeners,
            "controller.quorum.voters": f"1@{controller}",
            "listener.security.protocol.map": ",".join(f"{n}:{n}" for n in LISTENERS) + ",CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.certificate),
            **logins,
        }

    def access(self, listener: str, protocol: str, **changes: Any) -> Access:
        ca_file = str(self.certificate) if protocol.endswith("SSL") else None
        login = PLAIN if protocol.startswith("SASL") else {}
        return Access(self.address[listener], protocol, **{"ca_file": ca_file, **login, **changes})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    place = Secured(tmp_path_factory.mktemp("secured"))
    with Cluster.start(port=place.first_port, properties=place.properties()):
        with KafkaAdminClient(bootstrap_servers=place.address["PLAINTEXT"]) as admin:
            user = UserScramCredentialUpsertion(SCRAM["username"], ScramMechanism.SCRAM_SHA_256, SCRAM["password"])
            assert admin.alter_user_scram_credentials([user]) == {SCRAM["username"]: None}
        yield place


@pytest.mark.parametrize("listener", LISTENERS)
def test_nothing_is_found_where_nothing_is_wrong(secured: Secured, listener: str) -> None:
    assert find_refusal(secured.access(listener, listener)) is None
    if listener.startswith("SASL"):
        assert find_refusal(secured.access(listener, listener, **SCRAM)) is None


@pytest.mark.parametrize(
    ("listener", "protocol", "changes", "named"),
    [
        ("PLAINTEXT", "SSL", {}, ["does not speak TLS", f"{PROTOCOL}=SSL"]),
        ("SASL_PLAINTEXT", "SASL_SSL", {}, ["does not speak TLS", f"{PROTOCOL}=SASL_SSL"]),
        ("SSL", "PLAINTEXT", {}, ["speaks TLS", f"{PROTOCOL}=PLAINTEXT"]),
        ("SASL_SSL", "SASL_PLAINTEXT", {}, ["speaks TLS", f"{PROTOCOL}=SASL_PLAINTEXT"]),
        ("PLAINTEXT", "SASL_PLAINTEXT", {}, ["asks for no login", PROTOCOL]),
        ("SSL", "SASL_SSL", SCRAM, ["asks for no login", PROTOCOL]),
        ("SASL_PLAINTEXT", "PLAINTEXT", {}, ["wants a login", "Set SASL_PLAINTEXT"]),
        ("SASL_SSL", "SSL", {}, ["wants a login", "Set SASL_SSL"]),
        ("SASL_PLAINTEXT", "SASL_PLAINTEXT", {"mechanism": "SCRAM-SHA-512"}, ["PLAIN, SCRAM-SHA-256, not SCRAM-SHA-5"]),
        (
            "SASL_PLAINTEXT",
            "SASL_PLAINTEXT",
            {"password": "guess"},
            ["refuses the login of", "LIMELIGHT_SASL_PASSWORD"],
        ),
        ("SASL_SSL", "SASL_SSL", {**SCRAM, "password": "guess"}, ["refuses the login of", "LIMELIGHT_SASL_USERNAME"]),
        ("SASL_SSL", "SASL_SSL", {**SCRAM, "username": "nobody"}, ["refuses the login of", "LIMELIGHT_SASL_USERNAME"]),
        ("SSL", "SSL", {"ca_file": None}, ["cannot be verified", "LIMELIGHT_SSL_CA_FILE"]),
    ],
)
def test_what_is_wrong_is_named(
    secured: Secured, listener: str, protocol: str, changes: dict[str, Any], named: list[str]
) -> None:
    refusal = str(find_refusal(secured.access(listener, protocol, **changes)))

    assert all(text in refusal for text in [*named, secured.address[listener]]), refusal
    assert "guess" not in refusal


def test_a_certificate_of_somebody_else_is_named(secured: Secured) -> None:
    refusal = find_refusal(secured.access("SSL", "SSL", ca_file=str(secured.stranger)))
    assert "cannot be verified" in str(refusal)


# kafka-python leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize(
    ("transport", "own"),
    [
        ("kafka-python", "ssl.check.hostname=false"),
        ("librdkafka", "ssl.endpoint.identification.algorithm=none"),
        ("librdkafka", "enable.ssl.certificate.verification=false"),
    ],
)
def test_what_the_user_switched_off_is_not_what_is_wrong(
    secured: Secured, short_wait: None, transport: str, own: str
) -> None:
    """The broker calls itself by its address; the name of this machine does not stand in its certificate."""
    options: dict[str, Any] = {
        "bootstrap_servers": secured.address["SASL_SSL"].replace(LOOPBACK, "localhost"),
        "security_protocol": "SASL_SSL",
        "ssl_ca_file": secured.certificate,
        "transport": transport,
        **{f"sasl_{name}": value for name, value in PLAIN.items()},
        "sasl_password": "guess",
    }

    with pytest.raises(AccessDeniedError, match="cannot be verified"):
        Connections(Settings(**options)).open_feed()
    with pytest.raises(AccessDeniedError, match="refuses the login"):
        Connections(Settings(**options, properties=own)).open_feed()


def test_an_authority_may_be_given_as_text(secured: Secured) -> None:
    access = secured.access("SSL", "SSL", ca_file=None, ca_text=secured.certificate.read_text())
    assert find_refusal(access) is None


def test_a_certificate_of_our_own_is_shown(secured: Secured) -> None:
    """Without it this server says that it wants one; with it we learn what it wants besides."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=secured.stranger)
    context.load_cert_chain(secured.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    access = Access("", "SSL", ca_file=str(secured.certificate))
    with strict_broker(context) as server:
        assert "wants a certificate" in str(find_refusal(access._replace(servers=server)))
        own = access._replace(servers=server, certificate_file=str(secured.stranger))
        assert "wants a login" in str(find_refusal(own))


@contextlib.contextmanager
def strict_broker(context: ssl.SSLContext) -> Iterator[str]:
    """Answers one request on each connection of somebody with the right certificate, and ends it."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # closed
                    return
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    [size] = struct.unpack(">i", secure.recv(4))
                    secure.sendall(struct.pack(">i", 4) + secure.recv(size)[4:8])
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{LOOPBACK}:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_first_broker_that_can_be_reached_tells(secured: Secured) -> None:
    [port] = choose_ports(1)
    access = secured.access("SSL", "PLAINTEXT")
    assert find_refusal(access._replace(servers=f"{LOOPBACK}:{port}")) is None
    assert "speaks TLS" in str(find_refusal(access._replace(servers=f"{LOOPBACK}:{port}, {access.servers}")))


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (kafka_python, librdkafka):
        monkeypatch.setattr(module, "BOOTSTRAP_SECONDS", 1)
    yield
    gc.collect()


# kafka-python leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize("transport", ["kafka-python", "librdkafka"])
@pytest.mark.parametrize(
    "wrong",
    [
        ("PLAINTEXT", {"security_protocol": "SSL"}, "does not speak TLS"),
        ("SASL_PLAINTEXT", {"sasl_password": "guess"}, "refuses the login"),
        ("SASL_SSL", {"ssl_ca_file": None}, "cannot be verified"),
    ],
)
def test_every_client_says_so(
    secured: Secured, short_wait: None, transport: str, wrong: tuple[str, dict[str, Any], str]
) -> None:
    listener, changes, named = wrong
    options: dict[str, Any] = {"security_protocol": listener}
    if listener.startswith("SASL"):
        options |= {f"sasl_{name}": value for name, value in PLAIN.items()}
    if listener.endswith("SSL"):
        options["ssl_ca_file"] = secured.certificate
    options |= {"bootstrap_servers": secured.address[listener], "transport": transport}
    Connections(Settings(**options)).open_feed().close()

    with pytest.raises(AccessDeniedError, match=named) as refusal:
        Connections(Settings(**{**options, **changes})).open_feed()
    assert not isinstance(refusal.value, BrokerUnreachableError)
    assert not refusal.value.retriable

"""A certificate authority of one cluster, and the certificates that it signs. Everything is PEM."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from worker.files import write_file

VALID_DAYS = 365
BACKDATED_MINUTES = 5
"""Clocks differ, between containers too: a certificate of this moment would not be valid yet for some."""
PRIVATE = 0o600


class Issued(NamedTuple):
    """A certificate and its key."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """See `load_or_create`, which is what callers use."""
        self._certificate = certificate
        self._key = key

    @classmethod
    def load_or_create(cls, certificate: Path, key: Path) -> "Authority":
        """The authority that is kept in the two files, or a new one."""
        if key.exists():
            private = load_pem_private_key(key.read_bytes(), password=None)
            assert isinstance(private, ec.EllipticCurvePrivateKey), "the key is written below, and nowhere else"
            return cls(x509.load_pem_x509_certificate(certificate.read_bytes()), private)
        private = ec.generate_private_key(ec.SECP256R1())
        subject = _name("Limelight's local authority")
        signed = (
            _begin(subject, subject, private)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, SHA256())
        )
        write_file(certificate, signed.public_bytes(Encoding.PEM))
        write_file(key, _encode(private), mode=PRIVATE)
        return cls(signed, private)

    def issue(self, name: str, *, address: str | None = None, valid: timedelta = timedelta(days=VALID_DAYS)) -> Issued:
        """Signs a certificate for a new key.

        Args:
            name: its common name, by which the brokers know the holder: ``User:CN=<name>``.
            address: IP address at which the holder may answer as a server; None for a client.
            valid: how long from now. A negative time gives one that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _begin(_name(name), self._certificate.subject, key, valid=valid)
        if address is not None:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return Issued(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM), _encode(key))


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, valid: timedelta | None = None
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    until = now + (timedelta(days=VALID_DAYS) if valid is None else valid)
    since = min(now, until) - timedelta(minutes=BACKDATED_MINUTES)
    return x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), since, until)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _encode(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

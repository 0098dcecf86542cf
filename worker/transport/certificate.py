"""Our own certificate, as far as it can be judged before a broker does."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from worker.settings import variable


class Certificate(NamedTuple):
    """Whom a certificate stands for, and until when."""

    principal: str
    """How brokers call its holder, unless they map names in a way of their own."""
    issuer: str
    expires: datetime

    def describe(self) -> str:
        """Says whose it is and, if it has expired, that."""
        is_over = self.expires < datetime.now(UTC)
        state = f"it {'expired' if is_over else 'expires'} at {self.expires:%Y-%m-%dT%H:%M:%SZ}"
        return f"{self.principal}, signed by {self.issuer}; {state}"


def read_certificate(path: Path | str) -> Certificate:
    """Reads the first certificate of a PEM file.

    Raises:
        OSError: it cannot be read.
        ValueError: there is none.
    """
    from cryptography import x509  # noqa: PLC0415 - 9 MB, and few workers show a certificate

    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    names = certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string()
    return Certificate(f"User:{names[0]}", names[1], certificate.not_valid_after_utc)


def find_flaw(certificate_file: str, key_file: str | None, key_password: str | None) -> str | None:
    """Why the files cannot be used as they are, None if they can."""
    names = f"{variable('ssl_certificate_file')}={certificate_file}", f"{variable('ssl_key_file')}={key_file}"
    try:
        read_certificate(certificate_file)
    except OSError as error:
        return f"{names[0]} cannot be read: {error.strerror}"
    except ValueError:
        return f"{names[0]} holds no certificate in PEM"
    try:
        # An empty password in place of none: OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate_file, key_file, key_password or "")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            return f"{names[1]} is not the key of {names[0]}"
        return f"{names[1]} holds no key in PEM, or {variable('ssl_key_password')} does not open it"
    except OSError as error:
        return f"{names[1]} cannot be read: {error.strerror}"
    return None

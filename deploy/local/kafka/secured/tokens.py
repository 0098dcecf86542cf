"""Tokens that an identity provider would give out: JSON Web Tokens (RFC 7519) signed with RS256.

The brokers get the public key as a JSON Web Key Set (RFC 7517) in a file, and so can verify a token without asking.
"""

import base64
import time
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.kafka.secured.authority import PRIVATE
from worker.files import write_file

AUDIENCE = "kafka"
ISSUER = "limelight-local"
VALID_SECONDS = 24 * 60 * 60
KEY_BITS = 2048
KEY_ID = "local"


class TokenIssuer:
    """Signs tokens."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        """See `load_or_create`, which is what callers use."""
        self._key = key

    @classmethod
    def load_or_create(cls, path: Path) -> "TokenIssuer":
        """The issuer whose key is kept in the file, or a new one."""
        if path.exists():
            key = load_pem_private_key(path.read_bytes(), password=None)
            assert isinstance(key, rsa.RSAPrivateKey), "the key is written below, and nowhere else"
            return cls(key)
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_file(path, pem, mode=PRIVATE)
        return cls(key)

    def key_set(self) -> bytes:
        """The public key, as the brokers read it."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "kid": KEY_ID,
            "use": "sig",
            "alg": "RS256",
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return msgspec.json.encode({"keys": [key]})

    def issue(self, subject: str, *, valid_seconds: float = VALID_SECONDS) -> str:
        """Signs a token for `subject`. A negative time gives one that has expired."""
        now = int(time.time())
        issued = min(now, now + int(valid_seconds)) - 60
        header = {"alg": "RS256", "kid": KEY_ID}
        claims = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "iat": issued, "exp": now + int(valid_seconds)}
        signed = f"{_base64(msgspec.json.encode(header))}.{_base64(msgspec.json.encode(claims))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
        return f"{signed}.{_base64(signature)}"


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

"""Who vouches for a bundle: Ed25519 signatures over its manifest, and the keys that a worker trusts.

``signature.json`` lies beside the manifest and is no part of the bundle: signing changes neither files nor version.
What is signed are the manifest's canonical bytes; since the digests of all files stand in the manifest, a signature
covers every byte. A bundle may carry signatures of several keys; one that is trusted is enough.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from worker.errors import BundleSignatureError
from worker.files import read_file, write_file

SIGNATURE = "signature.json"
CONTEXT = b"limelight bundle manifest v1\n"
"""Stands before what is signed, so that no signature for another purpose can be taken for one of ours."""
KEY_ID_CHARACTERS = 16
MAX_BYTES = 1 << 20
"""Of a file of signatures: thousands of them."""


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key's signature."""

    key: str
    """Id of the public key."""
    signature: str
    """In base64."""


class Signatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``signature.json``."""

    algorithm: Literal["Ed25519"]
    signatures: list[Signature]


class TrustedKeys:
    """Public keys of those whose bundles are used."""

    def __init__(self, files: Sequence[Path]) -> None:
        """
        Args:
            files: one public key in PEM each.

        Raises:
            BundleSignatureError: a file cannot be read, or holds no Ed25519 public key.
        """
        self._keys = {key_id(key): key for key in map(_read_public_key, files)}

    def require_signature(self, bundle: Path, manifest: bytes) -> None:
        """Returns if a trusted key has signed.

        Args:
            bundle: its directory.
            manifest: its canonical bytes.

        Raises:
            BundleSignatureError: none has.
        """
        failure: BundleSignatureError | None = None
        for each in read_signatures(bundle).signatures:
            key = self._keys.get(each.key)
            if key is None:
                continue
            try:
                key.verify(base64.b64decode(each.signature, validate=True), CONTEXT + manifest)
            except (InvalidSignature, ValueError) as error:  # the second: it is not base64
                # Another trusted key may have signed, too: keys are rotated.
                failure = BundleSignatureError(
                    f"{bundle / SIGNATURE}: the signature of key {each.key} is not one of this manifest. Do not "
                    "use this bundle, or have it signed again: python -m export sign"
                )
                failure.__cause__ = error
            else:
                return
        if failure is not None:
            raise failure
        raise BundleSignatureError(
            f"{bundle} is signed by none of the trusted keys ({', '.join(self._keys)}). Do not use it, or have it "
            "signed by one of them (python -m export sign), or trust its signer's key with LIMELIGHT_TRUSTED_KEYS."
        )


def key_id(key: Ed25519PublicKey) -> str:
    """How messages and signatures call a key: the beginning of the sha256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:KEY_ID_CHARACTERS]


def read_signatures(bundle: Path) -> Signatures:
    """The signatures beside a bundle; none if there is no file.

    Raises:
        BundleSignatureError: the file cannot be read.
    """
    path = bundle / SIGNATURE
    try:
        return msgspec.json.decode(read_file(path, most_bytes=MAX_BYTES), type=Signatures)
    except FileNotFoundError:
        return Signatures("Ed25519", [])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleSignatureError(f"{path} cannot be read: {error}. Have the bundle signed again.") from error


def add_signature(bundle: Path, manifest: bytes, key: Ed25519PrivateKey) -> str:
    """Signs, beside the signatures of other keys.

    Args:
        bundle: its directory.
        manifest: its canonical bytes.
        key: whose signature is added, or replaced.

    Returns:
        The id of the key.

    Raises:
        BundleSignatureError: the signatures that are there cannot be read.
        OSError: they cannot be written.
    """
    name = key_id(key.public_key())
    others = [each for each in read_signatures(bundle).signatures if each.key != name]
    own = Signature(name, base64.b64encode(key.sign(CONTEXT + manifest)).decode())
    signatures = Signatures("Ed25519", [*others, own])
    write_file(bundle / SIGNATURE, msgspec.json.format(msgspec.json.encode(signatures), indent=2) + b"\n")
    return name


def _read_public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise BundleSignatureError(f"the trusted key {path} cannot be read: {error.strerror}.") from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise BundleSignatureError(
            f"{path} holds no Ed25519 public key in PEM. Name the .pub file that `python -m export keygen` wrote."
        )
    return key

"""``python -m export keygen`` and ``python -m export sign``: keys, and signatures over bundles."""

import argparse
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from export.errors import SigningError
from worker.bundle import canonical_manifest, load_bundle
from worker.files import sync_directory
from worker.signature import add_signature, key_id

PRIVATE, PUBLIC = ".key", ".pub"
MODES = {PRIVATE: 0o600, PUBLIC: 0o644}


def add_keygen_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `keygen`."""
    parser.add_argument("--out", type=Path, required=True, metavar="NAME", help="writes NAME.key and NAME.pub")


def keygen(options: argparse.Namespace) -> None:
    """Makes a pair of keys; the last line of stdout is the public one's file."""
    name = make_keys(options.out)
    print(f"key        {name}")
    print(options.out.with_name(options.out.name + PUBLIC))


def add_sign_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `sign`."""
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="a bundle, which is verified first")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="private key that keygen wrote")


def sign(options: argparse.Namespace) -> None:
    """Signs a bundle; the last line of stdout is its directory."""
    name = sign_bundle(options.bundle, options.key)
    print(f"signed     by key {name}")
    print(options.bundle)


def make_keys(out: Path) -> str:
    """Writes ``<out>.key``, readable by its owner only, and ``<out>.pub``. Files that are there stay.

    Returns:
        The id of the key.

    Raises:
        SigningError: a file is there already, or cannot be written; then neither is written.
    """
    if not out.name:
        raise SigningError(f"--out {out} names no file. Give one without its ending, such as keys/release.")
    private = Ed25519PrivateKey.generate()
    contents = {
        PRIVATE: private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        PUBLIC: private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    written: list[Path] = []
    try:
        for suffix, content in contents.items():
            path = out.with_name(out.name + suffix)
            # Exclusive and private from the first moment: never over another key, never open to others in between.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODES[suffix])
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                # What is signed with a key that a power cut has taken can never be signed so again.
                file.flush()
                os.fsync(file.fileno())
        sync_directory(out.parent)
    except BaseException as error:
        for each in written:
            each.unlink()
        if not isinstance(error, OSError):
            raise
        advice = "Give another --out; keys are never overwritten." if isinstance(error, FileExistsError) else ""
        raise SigningError(f"{path} cannot be written: {error.strerror}. {advice}".rstrip()) from error
    return key_id(private.public_key())


def sign_bundle(bundle: Path, key: Path) -> str:
    """Adds a signature to a bundle.

    Returns:
        The id of the key.

    Raises:
        BundleError: there is no sound bundle.
        SigningError: the key cannot be read, or the signature cannot be written.
    """
    private = _read_private_key(key)
    manifest = load_bundle(bundle).manifest
    try:
        return add_signature(bundle, canonical_manifest(manifest), private)
    except OSError as error:
        raise SigningError(f"no signature can be written in {bundle}: {error.strerror}.") from error


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SigningError(f"the key {path} cannot be read: {error.strerror}.") from error
    except (TypeError, ValueError, UnsupportedAlgorithm):  # the first: it is encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        # Not chained, and nothing of it shown: it may be some other secret.
        raise SigningError(f"{path} holds no Ed25519 private key in PEM. Make one: python -m export keygen") from None
    return key

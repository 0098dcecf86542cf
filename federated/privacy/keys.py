"""The secret key, from which all noise and all private choices of a run are drawn.

A run has two keys. The *seed* is public: initial weights, the order of a client's examples. The *noise key* is secret:
who knows it can subtract the noise, or tell whether a client was in a cohort, and nothing is private any more. It is
random unless it is given, lives in a file that only its owner can read, is shown nowhere, and is removed when the run
is finished. Who passes on the directory of a run that is not finished should leave the file out.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

import numpy as np

from federated.errors import PrivacyError
from worker.files import sync_directory

KEY = "noise.key"
"""Name of its file."""
KEY_BYTES = 32
_PHILOX_KEY_BYTES = 16


class NoiseKey:
    """32 secret bytes; neither `repr` nor a pickle gives them away."""

    def __init__(self, secret: bytes, *, given: bool) -> None:
        """
        Args:
            secret: `KEY_BYTES` bytes.
            given: a person chose the key. Whoever can repeat the noise can remove it, so such a run is a simulation.

        Raises:
            PrivacyError: `secret` has another length.
        """
        if len(secret) != KEY_BYTES:
            raise PrivacyError(f"a noise key has {KEY_BYTES} bytes, this one {len(secret)}.")
        self._secret = secret
        self.given = given

    def __repr__(self) -> str:
        return f"NoiseKey(given={self.given})"

    def __reduce__(self) -> str:
        raise TypeError("a noise key stays in its process")

    def stream(self, purpose: str, *numbers: int) -> np.random.Generator:
        """Random numbers for one use only: Philox, keyed by (this key, `purpose`, `numbers`).

        Streams with different arguments are independent; the same arguments give the same stream again, in any process.

        Args:
            purpose: at most 16 ASCII letters, e.g. ``noise``.
            numbers: e.g. round and leaf.
        """
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._derive(purpose, *numbers), "little")))

    def fingerprint(self) -> str:
        """Tells keys apart and says nothing about them: what is derived for a use cannot be traced back."""
        return self._derive("fingerprint").hex()

    def save(self, path: Path) -> None:
        """Writes the key to a new file that only its owner can read.

        Raises:
            FileExistsError: there is a file already; overwriting a key would lose the right to resume.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(descriptor, "wb") as file:
            # The process's umask can only take rights away, but an inherited one may take the owner's.
            os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
            file.write(f"{'given' if self.given else 'random'} {self._secret.hex()}\n".encode())
            file.flush()
            os.fsync(descriptor)
        sync_directory(path.parent)

    def _derive(self, purpose: str, *numbers: int) -> bytes:
        message = b"".join(number.to_bytes(8, "little") for number in numbers)
        person = purpose.encode("ascii")
        return hashlib.blake2b(message, digest_size=_PHILOX_KEY_BYTES, key=self._secret, person=person).digest()


def draw_key() -> NoiseKey:
    """A fresh key from the system's source of randomness."""
    return NoiseKey(secrets.token_bytes(KEY_BYTES), given=False)


def load_key(path: Path) -> NoiseKey:
    """Reads what `NoiseKey.save` wrote.

    Raises:
        PrivacyError: there is no key, it is damaged, or others can read it.
    """
    content = _read_secret(path)
    origin, _, digits = content.strip().partition(" ")
    if origin not in ("given", "random"):
        raise PrivacyError(f"{path} is not a noise key. Without it the run cannot be resumed.")
    return NoiseKey(_decode(path, digits), given=origin == "given")


def read_given_key(path: Path) -> NoiseKey:
    """Reads a key that a person chose: a file with 64 hexadecimal digits.

    A file, because the arguments of a command can be seen by everybody on the machine.

    Raises:
        PrivacyError: there is no key, it is malformed, or others can read it.
    """
    return NoiseKey(_decode(path, _read_secret(path).strip()), given=True)


def _read_secret(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise PrivacyError(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}")
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise PrivacyError(f"cannot read the noise key {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PrivacyError(f"{path} is not a noise key: write {2 * KEY_BYTES} hexadecimal digits.") from error


def _decode(path: Path, digits: str) -> bytes:
    try:
        secret = bytes.fromhex(digits)
    except ValueError as error:
        # The error would quote the key.
        raise PrivacyError(f"{path} is not a noise key: write {2 * KEY_BYTES} hexadecimal digits.") from error.__cause__
    if len(secret) != KEY_BYTES:
        raise PrivacyError(f"{path} is not a noise key: write {2 * KEY_BYTES} hexadecimal digits.")
    return secret

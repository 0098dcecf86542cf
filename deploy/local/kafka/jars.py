r"""The jars of Kafka: which ones, and the verified copy of them in the user's cache.

``jars.sha256`` names every jar by its path in a Maven repository, with its digest, in the format of ``sha256sum``. It
is the whole closure of ``kafka_2.13`` plus the log4j binding, which Kafka's own release adds too: without it the
broker would log nothing. So no dependency has to be resolved at run time, and the jars can be fetched in parallel.

For another version of Kafka, let Maven or jgo resolve these two into an empty repository, and there run
``find . -name '*.jar' -printf '%P\n' | sort | xargs sha256sum``.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deploy.local.kafka.errors import CacheError, JarChecksumError
from worker.files import write_directory

KAFKA_VERSION = "4.3.0"
LOCK_FILE = Path(__file__).with_name("jars.sha256")
REMEDY = "Set LIMELIGHT_CACHE_DIR to a directory that you may write."


class Jar(NamedTuple):
    """A locked jar."""

    path: PurePosixPath
    """``group/parts/artifact/version/artifact-version.jar``"""
    sha256: str

    @property
    def group(self) -> str:
        """Maven's groupId."""
        return ".".join(self.path.parts[:-3])

    @property
    def artifact(self) -> str:
        """Maven's artifactId."""
        return self.path.parts[-3]

    @property
    def version(self) -> str:
        """Maven's version."""
        return self.path.parts[-2]


Download = Callable[[Sequence[Jar], Path], None]
"""Puts every jar under its file name into a directory; raises `SourceError` if it cannot."""


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """The jars of the lock file, in its order."""
    rows = (line.split("  ") for line in path.read_text(encoding="utf-8").splitlines())
    return [Jar(PurePosixPath(name), digest) for digest, name in rows]


def verify(jars: Sequence[Jar], directory: Path) -> None:
    """Compares every jar in `directory` with its digest.

    Raises:
        JarChecksumError: a jar is missing or differs.
    """
    for jar in jars:
        path = directory / jar.path.name
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            found = "nothing"
        if found != jar.sha256:
            raise JarChecksumError(
                f"{path} is not the jar that was locked: sha256 should be {jar.sha256}, found {found}. "
                f"It will not be run. Remove {directory} and try again; if that does not help, whoever serves the jar "
                "changed it."
            )


def cache_directory() -> Path:
    """Where jars are kept: ``LIMELIGHT_CACHE_DIR``, else ``limelight`` in the user's cache.

    Raises:
        CacheError: the user has no home directory, as in a container that runs under a bare user id.
    """
    if chosen := os.environ.get("LIMELIGHT_CACHE_DIR"):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "limelight")
    except RuntimeError as error:
        raise CacheError(f"there is no home directory to keep a downloaded Kafka in. {REMEDY}") from error


def cached_jars(download: Download, jars: Sequence[Jar]) -> list[Path]:
    """The verified jars, downloaded first if they are not in the cache.

    Raises:
        JarChecksumError: a jar, cached or new, is not the locked one.
        SourceError: `download` failed.
        CacheError: the cache cannot be written.
    """
    directory = cache_directory() / f"kafka-{KAFKA_VERSION}"
    try:
        # It appears whole. Without the lock, so that a cache which is only readable will do.
        if not directory.exists():
            _fill(directory, download, jars)
        verify(jars, directory)
    except OSError as error:
        raise CacheError(f"{directory} cannot be used: {error.strerror}. {REMEDY}") from error
    return [directory / jar.path.name for jar in jars]


def _fill(directory: Path, download: Download, jars: Sequence[Jar]) -> None:

    def fill(temporary: Path) -> None:
        download(jars, temporary)
        verify(jars, temporary)

    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.parent / ".lock"):
        if directory.exists():
            return  # another first run was faster
        # What a killed download left behind; nobody else can be at work while we hold the lock.
        for leftover in directory.parent.glob(f".{directory.name}.*"):
            shutil.rmtree(leftover)
        write_directory(directory, fill)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for other first runs; the kernel lets go of the lock when its holder dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

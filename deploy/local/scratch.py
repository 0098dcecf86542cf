"""Temporary directories that do not pile up, even when their owners are killed."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER = "owner.lock"
"""File in the directory; its owner holds the lock, and the kernel lets go of it however the owner ends."""


@contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """Makes a temporary directory and removes it at the end; first removes those whose owner was killed.

    Args:
        prefix: start of the name. It marks the directories that belong to this use, so it must be peculiar to it.
    """
    for candidate in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        _remove_if_abandoned(candidate)
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        with (directory / f".{OWNER}").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only now: a lock file that another process finds unlocked means that its owner is gone.
            Path(lock.name).rename(directory / OWNER)
            yield directory
    finally:
        shutil.rmtree(directory)


def _remove_if_abandoned(directory: Path) -> None:
    try:
        with (directory / OWNER).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError:
        return  # in use, being made, or another user's

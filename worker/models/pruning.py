"""Removes downloads that nobody needs any more from a cache that several workers, and several models, share.

Who uses a bundle says so by its time of modification: when it is fetched, and again and again while it is in use. What
has not been used for long goes; so does what a download left behind that was interrupted. Nothing else is touched.
"""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

UNUSED_SECONDS = 30 * 86_400.0
"""A worker that was away for as long as this, and starts while its registry is down, finds nothing."""
PARTIAL_SECONDS = 86_400.0
"""No download takes a day."""
VERSION = re.compile(r"[0-9a-f]{64}")
PARTIAL = re.compile(r"\.([0-9a-f]{64})\..+")
"""See `worker.files.write_directory`."""

log = structlog.get_logger("worker")


def mark_used(path: Path) -> None:
    """Keeps the bundle for another `UNUSED_SECONDS`."""
    # It may be gone, or belong to another user: then it is that user's worker that prunes.
    with contextlib.suppress(OSError):
        os.utime(path)


def prune(root: Path) -> None:
    """Removes what is old. What cannot be removed is told, and stays.

    Args:
        root: directory with ``<name>/<version>/``.
    """
    for path, version in _find_old(root):
        try:
            _remove(path, version)
        except OSError as error:
            log.warning("a download that nobody uses cannot be removed", path=str(path), reason=str(error))
        else:
            log.info("a download that nobody uses was removed", path=str(path))


def _find_old(root: Path) -> Iterator[tuple[Path, str]]:
    """Directories that are old, and the version that they hold, or would have held."""
    now_seconds = time.time()
    for path in root.glob("*/*"):
        if VERSION.fullmatch(path.name):
            limit_seconds, version = UNUSED_SECONDS, path.name
        elif partial := PARTIAL.fullmatch(path.name):
            limit_seconds, version = PARTIAL_SECONDS, partial[1]
        else:
            continue
        with contextlib.suppress(FileNotFoundError):  # another worker prunes, too
            if now_seconds - path.stat().st_mtime > limit_seconds:
                yield path, version


def _remove(path: Path, version: str) -> None:
    """In one step for whoever looks: all of the bundle is there, or nothing. What a crash leaves is a partial again."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{version}.") as grave:
        path.rename(Path(grave) / version)

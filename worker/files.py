"""Files and directories that are either whole or absent: temporary name, fsync, rename."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_whole(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Opens a file that takes its name `path` only when the block ends without an exception.

    A device or a pipe at `path` is written to as it is: a rename would replace it by a file. At no moment may more
    people read the file than its `mode` and the umask say.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    temporary = _name_beside(path)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes `data` to `path` so that a reader, or a crash, sees the old content or the new, never a part."""
    with open_whole(path, mode=mode) as file:
        file.write(data)


def read_file(path: Path, *, most_bytes: int) -> bytes:
    """The content of a file that somebody else may have made.

    Raises:
        OSError: it cannot be read, is larger, or is no file: to read a pipe would be to wait for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {most_bytes:,} bytes", str(path))
        return file.read()


def write_directory(path: Path, fill: Callable[[Path], None]) -> None:
    """Calls `fill` on an empty temporary directory, syncs everything in it and renames it to `path`.

    Raises:
        FileExistsError: `path` exists already. Nothing was written.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _name_beside(path)
    temporary.mkdir()
    try:
        fill(temporary)
        for directory, _, names in os.walk(temporary):
            for name in names:
                descriptor = os.open(Path(directory) / name, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            sync_directory(Path(directory))
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(path.parent)


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Writes every ``name -> content`` below `directory`. Meant for `write_directory`, which makes them durable."""
    for name, data in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def sync_directory(path: Path) -> None:
    """Makes the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _name_beside(path: Path) -> Path:
    """A hidden name on the same file system. Not `tempfile`'s: what that makes is its owner's alone, whatever umask."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")

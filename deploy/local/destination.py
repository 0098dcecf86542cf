"""Files that the command line names, to be written at the end: what cannot be written is refused at the start."""

import argparse
import tempfile
from pathlib import Path


def writable_file(text: str) -> Path:
    """The path of a file that can be written, for argparse. A device or a pipe will do.

    Raises:
        argparse.ArgumentTypeError: it is a directory, or its directory is missing or not writable.
    """
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a directory; give a file in it")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    if path.exists() and not path.is_file():
        return path
    try:
        # A file is replaced by a rename, so its directory decides; and only trying tells of a read-only file system.
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path.parent} cannot be written: {error.strerror}") from error

"""A file that says "the brokers serve now, at these addresses"; it is there only while that is true."""

from pathlib import Path

from deploy.local.kafka.errors import BrokerError
from worker.files import write_file


class ReadyFile:
    """The file of one command. A device or a pipe is written to, and never removed."""

    def __init__(self, path: Path) -> None:
        """Removes what an earlier command left: its brokers are gone.

        Raises:
            BrokerError: it cannot be removed.
        """
        self._path = path
        self._content: bytes | None = None
        try:
            if path.is_file():
                path.unlink()
        except OSError as error:
            raise BrokerError(f"{path} of an earlier run cannot be removed: {error.strerror}. Remove it") from error

    def write(self, bootstrap_servers: str) -> None:
        """
        Raises:
            BrokerError: it cannot be written.
        """
        content = f"{bootstrap_servers}\n".encode()
        try:
            write_file(self._path, content)
        except OSError as error:
            raise BrokerError(f"{self._path} cannot be written: {error.strerror}. Choose another file") from error
        self._content = content

    def remove(self) -> None:
        """Removes what `write` wrote. What another command has written since stays: no two have the same addresses."""
        if self._content is not None and self._path.is_file() and self._path.read_bytes() == self._content:
            self._path.unlink()

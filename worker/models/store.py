"""Where a registry lies: what it needs of a place that keeps files."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Tagged(NamedTuple):
    """A file's content, and a mark that changes with it."""

    data: bytes
    tag: str


class Listing(NamedTuple):
    """Names in a directory, sorted."""

    directories: list[str]
    files: list[str]


class Store(Protocol):
    """Files under slash-separated paths.

    Whatever the place does not answer is raised as `worker.errors.RegistryUnreachableError`.
    """

    def place(self, path: str) -> str:
        """Where `path` is, for people."""
        ...

    def read(self, path: str) -> bytes | None:
        """Content of a file as it is now, whatever was read before; None if there is none."""
        ...

    def read_tagged(self, path: str) -> Tagged | None:
        """The same with its tag: the one that it had, at the latest, when the content was read."""
        ...

    def replace(self, path: str, data: bytes, *, tag: str | None) -> None:
        """Writes a whole file, if it still has this tag; None: if there still is none.

        Raises:
            DeploymentConflictError: it has another by now.
            RegistryError: this kind of store cannot write on a condition.
        """
        ...

    def listing(self, path: str) -> Listing:
        """What is in a directory as it is now; nothing if there is no such directory."""
        ...

    def put_directory(self, path: str, files: Mapping[str, bytes]) -> None:
        """Writes files into a directory in their order; what is in it under other names stays."""
        ...

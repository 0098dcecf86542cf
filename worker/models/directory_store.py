"""A registry in a directory of this machine, or of one that is mounted.

The content's digest is its tag. A writer holds a lock from the comparison to the rename; readers need none.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from worker import files
from worker.bundle import sha256
from worker.errors import DeploymentConflictError, RegistryUnreachableError
from worker.models.store import Listing, Tagged


class DirectoryStore:
    """Implements `worker.models.store.Store`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def place(self, path: str) -> str:
        """Implements `worker.models.store.Store`."""
        return str(self._root / path)

    def read(self, path: str) -> bytes | None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            try:
                return (self._root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                # A directory that is not mounted is another matter than a model that is not there.
                self._root.stat()
                return None

    def read_tagged(self, path: str) -> Tagged | None:
        """Implements `worker.models.store.Store`."""
        data = self.read(path)
        return None if data is None else Tagged(data, sha256(data))

    def replace(self, path: str, data: bytes, *, tag: str | None) -> None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            target = self._root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with (target.parent / f".{target.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                found = self.read_tagged(path)
                if (found.tag if found else None) != tag:
                    raise DeploymentConflictError(f"{target} has changed since it was read.")
                files.write_file(target, data)

    def listing(self, path: str) -> Listing:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            try:
                # A name with a dot is something that is being written.
                found = sorted(each for each in (self._root / path).iterdir() if not each.name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                self._root.stat()
                found = []
            return Listing([e.name for e in found if e.is_dir()], [e.name for e in found if e.is_file()])

    def put_directory(self, path: str, files_in_order: Mapping[str, bytes]) -> None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            target = self._root / path
            if not target.exists():
                files.write_directory(target, lambda directory: files.write_files(directory, files_in_order))
                return
            for name, data in files_in_order.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                files.write_file(target / name, data)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RegistryUnreachableError(
                f"the registry {self._root} cannot be used: {error.strerror} ({error.filename}). "
                "Check LIMELIGHT_REGISTRY, and whether the directory is mounted."
            ) from error

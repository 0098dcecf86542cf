"""States that stay with clients between rounds (SCAFFOLD's controls, personal models), beyond what memory holds.

::

    DIR/<client>.<version>      one checkpoint file for each client that was ever chosen

The version is the round that wrote it. `flush` writes the states of the rounds since the last one aside, under new
names; the run's checkpoint then names the version of each client, so that *its* rename switches the server's state and
all clients' states in one step. `discard` removes what the checkpoint no longer names. A crash in between leaves files
that nobody names, which the next `discard` removes.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from federated.checkpoint import load_checkpoint, save_checkpoint
from federated.errors import CheckpointError, OutputError

Leaves = list[NDArray[Any]]

MAX_DISK_SHARE = 0.9
"""Of the free disk: a run that would fill it would fail in some later round, after hours."""


class ClientStates:
    """State by client. Reads like a dictionary; what changed since the last `flush` is in memory."""

    def __init__(self, directory: Path, *, config_digest: str, versions: Mapping[int, int] | None = None) -> None:
        """
        Args:
            directory: made when something is written.
            config_digest: of the run, see `federated.checkpoint`.
            versions: of each client, from the run's checkpoint.
        """
        self._directory = directory
        self._digest = config_digest
        self.versions = dict(versions or {})
        """Client -> version, for the run's checkpoint; complete after `flush`."""
        self._pending: dict[int, Leaves] = {}

    def get(self, client: int, default: Leaves) -> Leaves:
        """State of `client`, or `default` if it was never chosen.

        Raises:
            CheckpointError: its file is missing or damaged.
        """
        if client in self._pending:
            return self._pending[client]
        if client in self.versions:
            return list(load_checkpoint(self._path(client, self.versions[client]), config_digest=self._digest))
        return default

    def update(self, states: Iterable[tuple[int, Leaves]]) -> None:
        """Takes the new states of a round's clients."""
        self._pending.update(states)

    def flush(self, number: int) -> None:
        """Writes what changed, as version `number`, beside what is there.

        Raises:
            CheckpointError: there is no room; the states of before are intact.
        """
        if not self._pending:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot write {self._directory}: {error.strerror}.") from error
        for client, state in self._pending.items():
            save_checkpoint(self._path(client, number), state, config_digest=self._digest)
        self.versions.update(dict.fromkeys(self._pending, number))
        self._pending.clear()

    def discard(self) -> None:
        """Removes the files that no client needs any more; call it when the checkpoint names the present versions."""
        needed = {self._path(client, version).name for client, version in self.versions.items()}
        for path in self._directory.glob("*") if self._directory.is_dir() else ():
            if path.name not in needed:
                path.unlink(missing_ok=True)

    def _path(self, client: int, version: int) -> Path:
        return self._directory / f"{client}.{version}"


def load_states(directory: Path, *, config_digest: str) -> Iterator[tuple[int, Leaves]]:
    """Reads the states that a finished run has kept: client and leaves, by client.

    Raises:
        CheckpointError: a file is damaged, or of another run.
    """
    for path in sorted(directory.glob("[0-9]*.*"), key=lambda path: int(path.stem)):
        yield int(path.stem), list(load_checkpoint(path, config_digest=config_digest))


def require_room(directory: Path, untouched: Leaves, *, clients: int) -> None:
    """Refuses a run whose clients' states would not fit on the disk, before its first round.

    Args:
        directory: where the states would go; it, or one of the directories it is in, exists.
        untouched: state of a client that was never chosen.
        clients: how many there are; in the end each of them was chosen.

    Raises:
        OutputError: they would take more than `MAX_DISK_SHARE` of what is free.
    """
    size_bytes = sum(leaf.nbytes for leaf in untouched) * clients
    place = next(path for path in (directory, *directory.absolute().parents) if path.is_dir())
    free_bytes = shutil.disk_usage(place).free
    if size_bytes > MAX_DISK_SHARE * free_bytes:
        raise OutputError(
            f"the states of {clients:,} clients would take {size_bytes / 1e9:,.1f} GB, and {place} has "
            f"{free_bytes / 1e9:,.1f} GB free. Choose an algorithm without client states, or a smaller model."
        )

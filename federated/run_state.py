"""How far a run is: what the rounds to come need to know of those that were."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from federated.algorithms.definition import Leaves
from federated.checkpoint import load_checkpoint, save_checkpoint
from federated.client_states import ClientStates
from federated.config import TrainingConfig
from federated.early_stop import EarlyStop
from federated.run_directory import CHECKPOINT, CLIENTS
from federated.server import Server

CHECKPOINT_SECONDS = 10.0
"""A crash costs at most so much work, and a run of short rounds does not spend its time on waiting for the disk. The
rounds since the last checkpoint are run again, and draw the same."""


class RunState:
    """What is kept beside the server."""

    def __init__(self, training: TrainingConfig) -> None:
        """
        Args:
            training: of the run.
        """
        self.number = 0
        """Of the last round that is over."""
        self.latest: deque[Leaves] = deque(maxlen=training.averaged_rounds)
        """The server's models after the latest rounds."""
        self.heldout: dict[str, float] = {}
        """Of the last evaluation."""
        self.skipped = 0
        """Rounds in which too few clients answered."""
        self.stop = EarlyStop(patience=training.patience) if training.patience else None

    @property
    def stopped(self) -> bool:
        """Whether training ends before its last round."""
        return self.stop is not None and self.stop.exhausted

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "number": self.number,
            "latest": list(self.latest),
            "heldout": self.heldout,
            "skipped": self.skipped,
            "stop": self.stop.state() if self.stop else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was read."""
        self.number, self.heldout, self.skipped = state["number"], state["heldout"], state["skipped"]
        self.latest.extend(state["latest"])
        if self.stop:
            self.stop.restore(state["stop"])


class Keeper:
    """Saves a run now and then, and brings it back."""

    def __init__(
        self,
        directory: Path,
        server: Server,
        run: RunState,
        *,
        config_digest: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            directory: of the run; gets the checkpoint and the clients' states.
            server: holds the model; from now on its clients' states are on disk.
            run: the rest.
            config_digest: see `federated.checkpoint`.
            clock: seconds.
        """
        self._path = directory / CHECKPOINT
        self._server, self._run, self._digest, self._clock = server, run, config_digest, clock
        self._clients = server.client_states = ClientStates(directory / CLIENTS, config_digest=config_digest)
        self._saved_at = float("-inf")

    def restore(self) -> None:
        """Brings back what was saved; a run that was killed before its first checkpoint begins at its beginning.

        Raises:
            CheckpointError: the checkpoint cannot be used.
        """
        if not self._path.exists():
            return
        tree = load_checkpoint(self._path, config_digest=self._digest)
        self._run.restore(tree["run"])
        self._server.restore(tree["server"])
        self._clients.versions = {int(client): version for client, version in tree["clients"].items()}
        self._clients.discard()

    def save(self, *, last: bool = False) -> None:
        """Saves, if it is time, or if the `last` round is over.

        Raises:
            CheckpointError: there is no room; what was saved before is intact.
        """
        if not last and self._clock() - self._saved_at < CHECKPOINT_SECONDS:
            return
        self._clients.flush(self._run.number)
        state = {
            "run": self._run.state(),
            "server": self._server.snapshot(),
            "clients": {str(client): version for client, version in self._clients.versions.items()},
        }
        save_checkpoint(self._path, state, config_digest=self._digest)
        self._clients.discard()
        self._saved_at = self._clock()

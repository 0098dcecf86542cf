"""The directory of a run: what it was asked, what it has read, and how far it is.

::

    LOGS/
    ├── run.json             `RunFile`: what was asked for, and on which machine
    ├── store/               the client store that it trains on, for its owner's eyes only
    ├── checkpoint           its state after the last round that was saved, see `federated.checkpoint`
    ├── clients/             states that stay with clients, see `federated.client_states`
    ├── privacy/             ledger and noise key of a private run, see `federated.privacy.opening`; the ledger stays
    ├── rounds.jsonl, tensorboard/
    ├── test_opened.jsonl    each time that the test set was opened
    └── personal.json        what clients gain from models of their own, see `federated.comparison`

When the model is written, the checkpoint is removed, for there is nothing left to resume, and with it the clients'
states, but for those that are a result themselves: Ditto's personal models. The noise key goes too: logs are passed on.
"""

import os
import platform
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec
from msgspec import Struct

from federated.checkpoint import digest_config
from federated.config import Config
from federated.data.store import ClientStore
from federated.errors import CheckpointError, OutputError
from federated.privacy.keys import KEY
from worker.files import write_file

FORMAT = 1
CHECKPOINT, CLIENTS = "checkpoint", "clients"
_LIBRARIES = ("limelight", "tensorflow", "tensorflow-federated", "numpy")


class RunFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run was asked for."""

    format: int = FORMAT
    run: str
    """Name of the run in its records."""
    config: Config
    out: str
    """Where the SavedModel goes; absolute."""
    figures: str | None = None
    """Where the figures go, if anywhere; absolute."""
    environment: dict[str, str]
    """What decides the last bit of a result: the processor and the versions of the libraries."""
    finished: bool = False


class RunDirectory:
    """The places in a run's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "run.json"
        self.store = path / "store"
        self.checkpoint = path / CHECKPOINT
        self.clients = path / CLIENTS
        self.privacy = path / "privacy"
        self.test_openings = path / "test_opened.jsonl"
        self.personal = path / "personal.json"

    def require_free(self) -> None:
        """Looks whether a new run may begin here, before anything is prepared for it.

        Raises:
            OutputError: there is a run that can be resumed.
        """
        if self.checkpoint.exists() and not self.load().finished:
            raise OutputError(
                f"{self.path} holds a run that is not finished. Go on with it: python -m federated resume {self.path}; "
                f"or remove {self.checkpoint}."
            )

    def begin(self, file: RunFile, store: ClientStore) -> None:
        """Makes the directory that of a new run, and moves `store` into it. Records of earlier runs stay.

        Raises:
            OutputError: the directory cannot be written.
        """
        try:
            self._remove([self.file, self.checkpoint, self.clients, self.store, self.test_openings, self.personal])
            self.path.mkdir(parents=True, exist_ok=True)
            store.move(self.store)
            # It holds what clients wrote, beside logs that people pass around.
            self.store.chmod(0o700)
            self._write(file)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}. Change --log-dir.") from error

    def load(self) -> RunFile:
        """What the run was asked for.

        Raises:
            CheckpointError: there is no run, or its file is damaged or of another version.
        """
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=RunFile)
        except OSError as error:
            raise CheckpointError(f"{self.path} holds no run: run.json: {error.strerror}.") from error
        except msgspec.DecodeError as error:
            raise CheckpointError(f"{self.file} is damaged or of another version: {error}.") from error

    def finish(self, *, keep_clients: bool = False) -> None:
        """Says that the model is written, and removes what only a resumed run needs.

        Args:
            keep_clients: the clients' states are a result too.

        Raises:
            OutputError: that cannot be written.
        """
        try:
            # First: on a full disk it fails, and a run that is not finished needs its key to go on.
            self._write(msgspec.structs.replace(self.load(), finished=True))
            self.forget_key()
            self._remove([self.checkpoint, *([] if keep_clients else [self.clients])])
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}. The model is complete.") from error

    def forget_key(self) -> None:
        """Removes the noise key of a finished run, also one that was killed before it came to that.

        Raises:
            OutputError: it cannot be removed.
        """
        key = self.privacy / KEY
        try:
            self._remove([key])
        except OSError as error:
            raise OutputError(f"cannot remove the noise key {key}: {error.strerror}. Remove it by hand.") from error

    def _write(self, file: RunFile) -> None:
        write_file(self.file, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")

    def _remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def digest_run(file: RunFile) -> str:
    """Tells runs apart whose states must not be mixed up."""
    return digest_config((file.run, file.config))


def describe_environment() -> dict[str, str]:
    """Processor and libraries."""
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    return {"machine": platform.machine(), "processor": _processor(), "cpus": str(os.cpu_count()), **versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())

"""A client store: examples on disk as arrays that are mapped into memory, each client's together.

::

    DIR/
    ├── store.json            `StoreInfo`
    ├── tokens.txt            token of each id, one a line
    ├── tokens.npy            int32, ids of all examples end to end
    ├── token_offsets.npy     int64 `[N + 1]`, where each example's ids start
    ├── label.npy             int32 `[N]`, index into the labels
    ├── client.npy            int32 `[N]`, index into the clients, -1 where the source names none
    ├── group.npy             int32 `[N]`, equal where rows are parts of one thing, -1 where the source does not say
    ├── row.npy               int64 `[N]`, place in the source, from 0
    ├── texts.bin             UTF-8 of all texts end to end, in the order of the source
    └── text_offsets.npy      int64 `[N + 1]`, by place in the source

A *position* is an index into the store's order, a *row* one into the source's. Choices (what is held out, who owns
what) are made in rows, so that they do not depend on how the store is laid out. The token ids are the store's own:
which of them a model knows is decided afterwards, from its training clients alone (`federated.data.encoding`).
"""

import hashlib
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from federated.errors import DataError

FORMAT = 2
INFO = "store.json"


class StoreInfo(Struct, frozen=True, kw_only=True):
    """What the numbers of a store stand for."""

    format: int = FORMAT
    labels: list[str]
    """Sorted as text."""
    clients: list[str]
    """In the order of first appearance; none where the source names none."""


class ClientStore:
    """An open store. Its arrays are read from disk as they are used."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DataError: there is no store at `path`, or it is damaged or of another version.
        """
        self.path = path
        try:
            info = msgspec.json.decode((path / INFO).read_bytes(), type=StoreInfo)
        except OSError as error:
            raise DataError(
                f"{path} is no client store: {INFO}: {error.strerror}. Restore it, or begin a new run with train."
            ) from error
        except msgspec.DecodeError as error:
            raise DataError(f"{path} is damaged: {INFO}: {error}. Make it again.") from error
        if info.format != FORMAT:
            raise DataError(f"{path} has format {info.format}, this program reads {FORMAT}. Make it again.")
        self.labels, self.client_names = info.labels, info.clients
        self.tokens, self.token_offsets = self._map("tokens"), self._map("token_offsets")
        self.label, self.client, self.row = self._map("label"), self._map("client"), self._map("row")
        self.group, self._text_offsets = self._map("group"), self._map("text_offsets")
        sizes = len(self.label), len(self.client), len(self.group), len(self.row), len(self._text_offsets) - 1
        if {len(self.token_offsets) - 1} != set(sizes) or self.token_offsets[-1] != len(self.tokens):
            raise DataError(f"{path} is damaged: its arrays do not fit each other. Make it again.")

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.label)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Position of each row, `[N]`."""
        positions = np.empty(len(self), np.int64)
        positions[self.row] = np.arange(len(self))
        return positions

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token of each of the store's own ids."""
        content = (self.path / "tokens.txt").read_bytes().decode("utf-8", "surrogatepass")
        return content.split("\n")

    def text(self, row: int) -> str:
        """Text of one row, as it was written."""
        start, end = self._text_offsets[row : row + 2].tolist()
        with (self.path / "texts.bin").open("rb") as file:
            file.seek(start)
            return file.read(end - start).decode("utf-8", "surrogatepass")

    def digest(self) -> str:
        """Tells stores apart: SHA-256 over the names and the contents of all files.

        Raises:
            DataError: one of them cannot be read.
        """
        digest = hashlib.sha256()
        try:
            for path in sorted(self.path.iterdir()):
                with path.open("rb") as file:
                    digest.update(path.name.encode() + b"\n" + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"cannot read the store {self.path}: {error.strerror}. Make it again.") from error
        return digest.hexdigest()

    def move(self, path: Path) -> None:
        """Takes the store to `path`, where nothing is yet; what is mapped stays so.

        Raises:
            OSError: it cannot go there.
        """
        shutil.move(self.path, path)
        self.path = path

    def _map(self, name: str) -> NDArray[Any]:
        try:
            return np.load(self.path / f"{name}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path} is damaged: {name}.npy: {error}. Make it again.") from error


def write_info(directory: Path, info: StoreInfo) -> None:
    """Writes ``store.json``."""
    (directory / INFO).write_bytes(msgspec.json.encode(info))

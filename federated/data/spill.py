"""One pass over examples of any number, in any order, into a client store.

Rows arrive mixed; a store keeps each client's rows together. So rows are first appended to one of `BUCKETS` files by
their client's number, and then each file, small enough for memory, is sorted and appended to the store. Only the names
of the clients and the distinct tokens stay in memory in between.

Representation: a bucket is two files of int32: ``meta`` `[n, 4]` with client, label, length and group of each row, and
``tokens`` with the rows' token ids end to end; a third, of int64, holds the rows' places in the source. A client or a
group that is not known is -1.
"""

from array import array
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from msgspec import UNSET
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from federated.data.examples import Example
from federated.data.ragged import flat_positions
from federated.data.store import StoreInfo, write_info
from federated.errors import DataError, OutputError
from worker.features import cut, normalize
from worker.files import write_directory

BUCKETS = 64
BUFFERED_TOKENS = 2**16
"""In each bucket before they are written: 64 buckets hold 16 MiB."""
MAX_TEXT_TOKENS = 10_000
"""Longer texts are cut, as `federated.config.MAX_TOKENS` would cut them anyway."""
MAX_DISTINCT_TOKENS = 4_000_000
"""Beyond, the table of tokens alone would take a gigabyte, and the ids of a text that is not language have no use."""
NOBODY = -1
"""Owner of a row that names no client, and group of one that names none."""


def write_store(path: Path, examples: Iterable[Example]) -> None:
    """Writes a client store, whole or not at all.

    Args:
        path: a directory that does not exist yet.
        examples: in any order; read once.

    Raises:
        DataError: there are no examples, or more distinct tokens than `MAX_DISTINCT_TOKENS`.
        OutputError: `path` exists already, or cannot be written.
    """
    try:
        write_directory(path, lambda directory: _fill(directory, examples))
    except FileExistsError as error:
        raise OutputError(f"{path} exists already. Remove it, or name another directory.") from error
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Name a directory with room.") from error


def _fill(directory: Path, examples: Iterable[Example]) -> None:
    with TemporaryDirectory(dir=directory, prefix="spill-") as scratch:
        buckets = [_Bucket(Path(scratch) / str(number)) for number in range(BUCKETS)]
        with (directory / "texts.bin").open("wb") as texts:
            names = _spill(examples, buckets, texts)
        np.save(directory / "text_offsets.npy", names.text_offsets)
        used = [bucket for bucket in buckets if bucket.size or bucket.rows]
        for bucket in used:
            bucket.flush()
        _sort(directory, used, names)
    tokens = "\n".join(names.tokens)
    (directory / "tokens.txt").write_bytes(tokens.encode("utf-8", "surrogatepass"))
    write_info(directory, StoreInfo(labels=sorted(names.labels), clients=list(names.clients)))


class _Names(NamedTuple):
    """What the ids of the buckets stand for, in the order of first appearance."""

    tokens: dict[str, int]
    labels: dict[str, int]
    clients: dict[str, int]
    text_offsets: NDArray[np.int64]
    """`[N + 1]`, in the order of arrival."""


class _Bucket:
    """Rows of the clients whose numbers have one remainder; see the module for its three arrays."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: where its files go, without their endings; there are none until something is written.
        """
        self._files = [path.with_suffix(f".{kind}") for kind in ("meta", "tokens", "rows")]
        self.meta, self.tokens, self.rows = array("i"), array("i"), array("q")
        self.size = 0
        """Token ids in the files."""

    def flush(self) -> None:
        """Appends what is buffered to the files."""
        self.size += len(self.tokens)
        for path, buffer in zip(self._files, (self.meta, self.tokens, self.rows), strict=True):
            with path.open("ab") as file:
                buffer.tofile(file)
            del buffer[:]

    def load(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Meta `[n, 4]`, token ids and places in the source `[n]` of all that was flushed."""
        meta, tokens, rows = self._files
        return np.fromfile(meta, np.int32).reshape(-1, 4), np.fromfile(tokens, np.int32), np.fromfile(rows, np.int64)


def _spill(examples: Iterable[Example], buckets: list[_Bucket], texts: BinaryIO) -> _Names:
    """Appends each example to its bucket, and its text to `texts`."""
    ids: dict[str, int] = {}
    tokens: dict[str, int] = {}
    labels: dict[str, int] = {}
    clients: dict[str, int] = {}
    groups: dict[str, int] = {}
    offsets, end = array("q", [0]), 0
    for row, example in enumerate(examples):
        words = cut(example.text)[:MAX_TEXT_TOKENS]
        # Most tokens have been seen as they are written: then one look suffices, without normalising.
        try:
            encoded = [ids[word] for word in words]
        except KeyError:
            encoded = [_number(word, ids, tokens) for word in words]
        name = example.client
        client = NOBODY if name is None else clients.setdefault(name, len(clients))
        bucket = buckets[(row if client == NOBODY else client) % BUCKETS]
        group = NOBODY if example.group is UNSET else groups.setdefault(example.group, len(groups))
        bucket.meta.extend((client, labels.setdefault(example.label, len(labels)), len(encoded), group))
        bucket.tokens.extend(encoded)
        bucket.rows.append(row)
        if len(bucket.tokens) > BUFFERED_TOKENS:
            bucket.flush()
        end += texts.write(example.text.encode("utf-8", "surrogatepass"))
        offsets.append(end)
    if not labels:
        raise DataError("there are no examples. Give some.")
    return _Names(tokens, labels, clients, np.frombuffer(offsets, np.int64))


def _number(word: str, ids: dict[str, int], tokens: dict[str, int]) -> int:
    token = normalize(word)
    number = ids[word] = tokens.setdefault(token, len(tokens))
    if len(ids) > MAX_DISTINCT_TOKENS:
        raise DataError(f"the texts have more than {MAX_DISTINCT_TOKENS:,} different tokens. Is this the right column?")
    return number


def _sort(directory: Path, buckets: list[_Bucket], names: _Names) -> None:
    """Appends bucket after bucket to the store's arrays, each client's rows together and in the order of arrival."""
    examples = len(names.text_offsets) - 1
    size = sum(bucket.size for bucket in buckets)

    def create(name: str, kind: Any, length: int) -> NDArray[Any]:
        return open_memmap(directory / f"{name}.npy", "w+", kind, (length,))

    tokens, label = create("tokens", np.int32, size), create("label", np.int32, examples)
    row, owner = create("row", np.int64, examples), create("client", np.int32, examples)
    group = create("group", np.int32, examples)
    offsets = create("token_offsets", np.int64, examples + 1)
    ranks = {name: rank for rank, name in enumerate(sorted(names.labels))}
    codes = np.array([ranks[name] for name in names.labels], np.int32)
    done = filled = 0
    for bucket in buckets:
        meta, flat, rows = bucket.load()
        order = np.argsort(meta[:, 0], kind="stable")
        lengths = meta[:, 2].astype(np.int64)
        starts = np.cumsum(lengths) - lengths
        part = slice(done, done + len(order))
        tokens[filled : filled + len(flat)] = flat[flat_positions(starts[order], lengths[order])]
        label[part], row[part], owner[part] = codes[meta[order, 1]], rows[order], meta[order, 0]
        group[part] = meta[order, 3]
        offsets[part] = filled + np.cumsum(lengths[order]) - lengths[order]
        done, filled = part.stop, filled + len(flat)
    offsets[done] = filled
    for made in tokens, label, row, owner, group, offsets:
        made.flush()

"""Everything that a run needs to go on, in one file that is either the last good state or the one before.

A state is a tree: dictionaries with text keys, lists, NumPy arrays and what JSON holds. On disk it is::

    limelight-checkpoint 2
    {"config": digest, "tree": the tree with arrays by number, "arrays": [[dtype, shape], ...]}
    the arrays' bytes, one after the other
    SHA-256 of all that stands before

The file is written under another name, synced, and renamed: a crash or a full disk leaves the last one as it was. It is
readable by its owner alone, because what a server knows of its clients is in it.
"""

import hashlib
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from federated.errors import CheckpointError
from worker.files import sync_directory

MAGIC = b"limelight-checkpoint 2\n"
_ARRAY = "$array"
"""Stands for an array in the tree; no dictionary may have it as a key."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_KINDS = "biuf"
"""Kinds of numbers; an array of Python objects would have to be pickled, and running what a file says is no reading."""

Tree = Any
"""``dict[str, Tree] | list[Tree] | NDArray | str | int | float | bool | None``"""


class _Header(Struct, frozen=True):
    config: str
    tree: Any
    arrays: list[tuple[str, list[int]]]


def digest_config(config: object) -> str:
    """Tells configurations apart: SHA-256 of the canonical JSON of anything that msgspec encodes."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()


def save_checkpoint(path: Path, state: Tree, *, config_digest: str) -> None:
    """Replaces the checkpoint at `path`, in one step.

    Raises:
        CheckpointError: it cannot be written; the last one is intact.
        TypeError: `state` holds something else than a tree may.
    """
    arrays: list[NDArray[Any]] = []
    tree = _strip(state, arrays)
    header = _Header(config_digest, tree, [(array.dtype.str, list(array.shape)) for array in arrays])
    try:
        _write(path, [MAGIC, msgspec.json.encode(header), b"\n", *(array.tobytes() for array in arrays)])
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path}: {error.strerror}. The last one is intact: make room, and resume."
        ) from error


def load_checkpoint(path: Path, *, config_digest: str) -> Tree:
    """Reads what `save_checkpoint` wrote.

    Raises:
        CheckpointError: there is none, it is truncated or damaged, of another version, or of another configuration.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}. Is this a run?") from error
    if not content.startswith(MAGIC):
        raise CheckpointError(f"{path} is no checkpoint, or one of another version. Resume with the version that ran.")
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"the checkpoint {path} is truncated or damaged. Start the run again.")
    line, _, data = body[len(MAGIC) :].partition(b"\n")
    header = msgspec.json.decode(line, type=_Header)
    if header.config != config_digest:
        raise CheckpointError(
            f"the checkpoint {path} was written with another configuration. Resume with the one of the run."
        )
    arrays, start = [], 0
    for kind, shape in header.arrays:
        array = np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape).copy()
        arrays.append(array)
        start += array.nbytes
    return _restore(header.tree, arrays)


def _strip(tree: Tree, arrays: list[NDArray[Any]]) -> Any:
    """Moves the arrays of `tree` to `arrays`, and leaves numbers in their places."""
    match tree:
        case np.ndarray() if tree.dtype.kind in _KINDS:
            arrays.append(np.ascontiguousarray(tree).reshape(tree.shape))
            return {_ARRAY: len(arrays) - 1}
        case Mapping():
            if _ARRAY in tree or not all(isinstance(key, str) for key in tree):
                raise TypeError(f"the keys of a state are text other than {_ARRAY!r}: {list(tree)}")
            return {key: _strip(value, arrays) for key, value in tree.items()}
        case list() | tuple():
            return [_strip(value, arrays) for value in tree]
        # JSON has no word for NaN and the infinities, and msgspec would write null.
        case float() if not math.isfinite(tree):
            raise TypeError(f"a state cannot hold {tree}: put it into an array")
        case None | bool() | int() | float() | str():
            return tree
        case _:
            raise TypeError(f"a state cannot hold {type(tree).__name__}")


def _restore(tree: Any, arrays: list[NDArray[Any]]) -> Tree:
    if isinstance(tree, dict):
        if _ARRAY in tree:
            return arrays[tree[_ARRAY]]
        return {key: _restore(value, arrays) for key, value in tree.items()}
    return [_restore(value, arrays) for value in tree] if isinstance(tree, list) else tree


def _write(path: Path, parts: list[bytes]) -> None:
    # A temporary file of `mkstemp` is the owner's alone, and keeps that when it takes its name.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write_with_digest(file, parts)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _write_with_digest(file: BinaryIO, parts: list[bytes]) -> None:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
        file.write(part)
    file.write(digest.digest())

"""Chooses the kind of store by the address of a registry."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.models.directory_store import DirectoryStore
from worker.models.store import Store


def open_store(address: str) -> Store:
    """
    Args:
        address: a directory, or a URL that fsspec understands, such as ``s3://bucket/models``.

    Raises:
        RegistryError: no package for such URLs is installed.
    """
    parts = urlsplit(address)
    if "://" not in address:
        return DirectoryStore(Path(address))
    if parts.scheme == "file":
        return DirectoryStore(Path(unquote(parts.path)))
    from worker.models.object_store import ObjectStore  # noqa: PLC0415 - takes a fifth of a second

    return ObjectStore(address)

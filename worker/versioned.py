"""JSON files that say which version of their schema they follow.

The version is read first, by itself: a file of another version is called that, not malformed.
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)


class MalformedError(Exception):
    """It is half-written, no JSON, or does not follow its schema."""


class OtherVersionError(Exception):
    """It follows another version of the schema, `found`."""

    def __init__(self, found: int) -> None:
        super().__init__(f"schema version {found}")
        self.found = found


class _Any(Struct):
    """What a file of every version has."""

    schema_version: int


def decode_versioned(data: bytes, kind: type[T], *, version: int) -> T:
    """Reads a file.

    Args:
        data: its content.
        kind: what it holds.
        version: of its schema.

    Raises:
        OtherVersionError: it follows another version.
        MalformedError: it cannot be read.
    """
    try:
        found = msgspec.json.decode(data, type=_Any).schema_version
        if found != version:
            raise OtherVersionError(found)
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(str(error)) from error

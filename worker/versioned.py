"""JSON files that say which version of their schema they follow.

The version is read first, by itself: a file of another version is called that, not malformed.
"""

from typing import Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)


class _Any(Struct):
    """What a file of every version has."""

    schema_version: int


class VersionedFile(NamedTuple, Generic[T]):
    """A kind of file: what it holds, and what is said of one that cannot be read."""

    holds: type[T]
    version: int
    """Of its schema."""
    called: str
    """With its article: ``a manifest``."""
    read_by: str
    """Who reads only this version: ``this worker``."""
    refusal: type[Exception]
    if_other_version: str
    """What to do about a file of another version."""
    if_malformed: str
    """What to do about a file that is half-written, no JSON, or does not follow its schema."""

    def decode(self, data: bytes, *, place: str) -> T:
        """Reads a file.

        Args:
            data: its content.
            place: where it came from, for errors.

        Raises:
            Exception: `refusal`: it follows another version, or is malformed.
        """
        try:
            found = msgspec.json.decode(data, type=_Any).schema_version
            if found == self.version:
                return msgspec.json.decode(data, type=self.holds)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.refusal(f"{place} is not {self.called}: {error}. {self.if_malformed}") from error
        raise self.refusal(
            f"{place} has schema version {found}; {self.read_by} reads version {self.version}. {self.if_other_version}"
        )

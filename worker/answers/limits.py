"""How large a record may be to be looked at. What is larger becomes a dead letter before it costs anything.

The topics' own limits come first, and are usually smaller; these here hold whatever a topic allows, so that one record
can neither fill the memory nor hold up its neighbours.
"""

import re
from typing import NamedTuple

from worker.errors import DecodeError
from worker.ports import Record

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings, so that the brackets in them do not count, and what opens and closes.

A string that does not end takes all of the rest, and nothing is looked at twice: looking for its end from each of its
escaped quotes anew would take hours for one record of a megabyte.
"""


class Limits(NamedTuple):
    """The most that a record may have."""

    record_bytes: int = 16 << 20
    """Key, value and headers together."""
    headers: int = 1_000
    nesting: int = 100
    """Objects and lists inside one another."""
    tokens: int = 1_000_000
    """Of a text, whatever part of it the model reads."""

    def check(self, record: Record) -> None:
        """
        Raises:
            DecodeError: the record has more.
        """
        if len(record.headers) > self.headers:
            raise DecodeError(
                f"the record has {len(record.headers)} headers, more than LIMELIGHT_MAX_RECORD_HEADERS={self.headers}."
            )
        value = record.value or b""
        size = len(value) + len(record.key or b"")
        if record.headers:
            size += sum(len(name.encode(errors="surrogateescape")) + len(data or b"") for name, data in record.headers)
        if size > self.record_bytes:
            raise DecodeError(f"the record has {size} bytes, more than LIMELIGHT_MAX_RECORD_BYTES={self.record_bytes}.")
        # Counting is a hundred times as fast as looking; only who could nest so deep is looked at.
        if value.count(b"{") + value.count(b"[") > self.nesting and _depth(value) > self.nesting:
            raise DecodeError(f"the value nests deeper than LIMELIGHT_MAX_NESTING={self.nesting}.")


def _depth(value: bytes) -> int:
    """How many objects and lists stand inside one another, at most."""
    depth = deepest = 0
    for match in _STRUCTURE.finditer(value):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest

"""A dead letter: the record as it was refused, and why.

Its key and value are the original's. Its headers are the original's, then those of `worker.messages.DeadLetter`; a
record that was replayed before also carries how often.

A letter that would not have held its record is a pointer to it instead: it has neither key nor value, and its headers
are those of `DeadLetter`, then those of `Pointer`. The record is where it was, as long as its topic keeps it.
"""

import hashlib
import re
from typing import NamedTuple

from worker.messages import ERROR_HEADER_PREFIX, DeadLetter, Headers
from worker.ports import Record

REPLAYS_HEADER = "limelight.replays"
"""How often a record was sent again. The worker passes it on like any header that it does not know."""
MAX_DIGITS = 9
"""A longer count is none of ours."""
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""What Kafka takes for the name of a topic."""
POINTER_HEADERS = ("limelight.value.bytes", "limelight.value.sha256")
"""The last two of a pointer, see `worker.stream.outputs.point_to`."""


class Pointer(NamedTuple):
    """What a letter says of the value that it does not hold."""

    value_bytes: int
    value_sha256: str

    def fits(self, value: bytes | None) -> bool:
        """True if this is the value. None counts as empty."""
        return hashlib.sha256(value or b"").hexdigest() == self.value_sha256


class Letter(NamedTuple):
    """What a record of the dead-letter topic says."""

    record: Record
    refusal: DeadLetter | None
    """None if no worker wrote it."""
    pointer: Pointer | None
    """None if the record is the original itself, but for the headers."""
    replays: int

    def original_headers(self) -> Headers:
        """The headers that the record had before it was refused, or replayed, for the first time."""
        return [
            (name, value)
            for name, value in self.record.headers
            if name != REPLAYS_HEADER and not name.startswith(ERROR_HEADER_PREFIX)
        ]

    def size_bytes(self) -> int:
        """Bytes of key, value and headers."""
        record = self.record
        headers = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
        return len(record.key or b"") + len(record.value or b"") + headers


class Selection(NamedTuple):
    """Which letters are meant; None is any."""

    stage: str | None = None
    error: str | None = None

    def takes(self, letter: Letter) -> bool:
        """True if the letter is meant. One that no worker wrote has neither stage nor error."""
        refusal = letter.refusal
        if refusal is None:
            return self == Selection()
        return self.stage in (None, refusal.stage) and self.error in (None, refusal.error)


def read_letter(record: Record) -> Letter:
    """Reads the headers of a record of the dead-letter topic."""
    refusal = _read_refusal(record.headers)
    pointer = None if refusal is None else _read_pointer(record)
    return Letter(record, refusal, pointer, count_replays(record.headers))


def count_replays(headers: Headers) -> int:
    """How often a record with these headers was sent again."""
    counts = [value for name, value in headers if name == REPLAYS_HEADER and value is not None]
    return max((int(value) for value in counts if value.isdigit() and len(value) <= MAX_DIGITS), default=0)


def _read_refusal(headers: Headers) -> DeadLetter | None:
    try:
        refusal = DeadLetter.from_headers(headers)
    except (KeyError, ValueError):
        # Another program's letter, or one that only looks like ours.
        return None
    source = refusal.source
    # Nor does a worker name a place that no Kafka has: to look for a record there would end every replay.
    is_place = _TOPIC.fullmatch(source.topic) and 0 <= source.partition < 1 << 31 and 0 <= source.offset < 1 << 63
    return refusal if is_place else None


def _read_pointer(record: Record) -> Pointer | None:
    (size_name, size), (digest_name, digest) = record.headers[-2:]
    # Behind the reason: a record may have headers of these names itself, and keeps them in front of it.
    if record.key is not None or record.value is not None or (size_name, digest_name) != POINTER_HEADERS:
        return None
    if size is None or digest is None or not size.isdigit() or len(size) > MAX_DIGITS:
        return None
    return Pointer(int(size), digest.decode(errors="replace"))

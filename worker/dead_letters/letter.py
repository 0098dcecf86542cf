"""A dead letter: the record as it was refused, and why.

Its key and value are the original's. Its headers are the original's, then those of `worker.messages.DeadLetter`; a
record that was replayed before also carries how often.
"""

from typing import NamedTuple

from worker.messages import ERROR_HEADER_PREFIX, DeadLetter, Headers
from worker.ports import Record

REPLAYS_HEADER = "limelight.replays"
"""How often a record was sent again. The worker passes it on like any header that it does not know."""
MAX_DIGITS = 9
"""A longer count is none of ours."""


class Letter(NamedTuple):
    """What a record of the dead-letter topic says."""

    record: Record
    refusal: DeadLetter | None
    """None if no worker wrote it."""
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
    try:
        refusal = DeadLetter.from_headers(record.headers)
    except (KeyError, ValueError):
        # Another program's letter, or one that only looks like ours.
        refusal = None
    counts = [value for name, value in record.headers if name == REPLAYS_HEADER and value is not None]
    replays = max((int(value) for value in counts if value.isdigit() and len(value) <= MAX_DIGITS), default=0)
    return Letter(record, refusal, replays)

"""How the records of a stream look: what the feeder writes, and how an answer names the record that it answers.

A worker command under test need not speak Limelight's JSON. A `Shape` says, in three strings that can come from the
environment, what an event is and where an answer stands:

*event*
    JSON in which ``"$text"`` stands for the text to score and ``"$id"`` for an id that only this record has.
*answer*
    ``source:PATH``, an object with ``partition`` and ``offset`` at that dotted path of the answer's JSON, or
    ``id:PATH``, the record's id.
*dead_letter*
    ``headers:PREFIX``, the headers PREFIX + ``partition`` and PREFIX + ``offset`` in decimal digits.
"""

import json
from collections.abc import Hashable
from typing import NamedTuple

import msgspec
from harness.ledger import Headers, Source


class Shape(NamedTuple):
    """Limelight's own by default."""

    event: str = '{"id": "$id", "text": "$text"}'
    answer: str = "source:source"
    dead_letter: str = "headers:__connect.errors."

    def encode_event(self, *, text: str, identity: str) -> bytes:
        """The value of a record."""
        filled = self.event.replace('"$text"', json.dumps(text)).replace('"$id"', json.dumps(identity))
        return filled.encode()

    def find_answered(self, value: bytes | None) -> Hashable | None:
        """What a record of the output topic answers: a source or an id; None if that cannot be told."""
        how, _, path = self.answer.partition(":")
        try:
            found = msgspec.json.decode(value or b"")
            for name in path.split("."):
                found = found[name]
            return Source(int(found["partition"]), int(found["offset"])) if how == "source" else str(found)
        except (msgspec.DecodeError, KeyError, TypeError, ValueError):
            return None

    def find_refused(self, headers: Headers) -> Hashable | None:
        """What a record of the dead-letter topic stands for: a source; None if that cannot be told."""
        prefix = self.dead_letter.partition(":")[2]
        latest = {name: value for name, value in headers if value is not None}
        try:
            return Source(int(latest[prefix + "partition"]), int(latest[prefix + "offset"]))
        except (KeyError, ValueError):
            return None

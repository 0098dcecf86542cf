"""Reads the event out of a record, or says why it cannot be."""

from typing import NamedTuple

import msgspec

from worker.answers.limits import Limits
from worker.errors import DecodeError, ValidationError
from worker.messages import event_type
from worker.ports import Record


class Event(NamedTuple):
    """What a record says, and where it stands in its slice."""

    place: int
    record: Record
    text: str
    id: str | int | None
    passthrough: msgspec.Raw | msgspec.UnsetType


class EventReader:
    """Decodes and validates records, one by one: each is somebody else's work."""

    def __init__(self, *, field: str, record_field: str, id_field: str, limits: Limits) -> None:
        """
        Args:
            field: text field of the model.
            record_field: field of the record that holds it.
            id_field: field of the record that holds its id.
            limits: records beyond them are refused.
        """
        self._field = field
        self._record_field = record_field
        self._limits = limits
        self._decode = msgspec.json.Decoder(event_type({field: record_field}, id_field)).decode

    def read(self, place: int, record: Record) -> Event:
        """
        Raises:
            DecodeError: the value is no JSON, or too large to be looked at.
            ValidationError: it lacks what the model needs.
        """
        if record.fault is not None:
            raise record.fault
        self._limits.check(record)
        if record.value is None:
            raise DecodeError(
                "the record has no value (a tombstone). Send a JSON object, or set LIMELIGHT_TOMBSTONES=skip."
            )
        try:
            # msgspec skips unknown fields without looking at their bytes; a passthrough would carry bad ones on.
            record.value.decode()
            event = self._decode(record.value)
            text: str = getattr(event, self._field)
            passthrough = event.passthrough  # type: ignore[attr-defined]
            # It would stand in the answer as it is: numbers that no reader can hold, surrogates, any depth.
            _require_readable(passthrough)
        except UnicodeDecodeError as error:
            raise DecodeError(f"the value is not UTF-8: {error.reason} at byte {error.start}.") from error
        except msgspec.ValidationError as error:
            raise ValidationError(f"{error}. The model reads the text field `{self._record_field}`.") from error
        except msgspec.DecodeError as error:
            raise DecodeError(f"the value is not JSON: {error}.") from error
        except RecursionError as error:
            raise DecodeError("the value nests deeper than the decoder can follow.") from error
        if not text:
            raise ValidationError(f"`{self._record_field}` is empty. The model needs at least one token.")
        return Event(place, record, text, event.id, passthrough)  # type: ignore[attr-defined]


def _require_readable(passthrough: msgspec.Raw | msgspec.UnsetType) -> None:
    if isinstance(passthrough, msgspec.Raw):
        try:
            msgspec.json.decode(passthrough)
        except msgspec.ValidationError as error:
            raise ValidationError(f"passthrough cannot be read back: {error}.") from error

"""What librdkafka's messages hold."""

from operator import methodcaller
from typing import Any

from worker.errors import DecodeError, RecordError
from worker.messages import Headers
from worker.ports import Record

_read_headers = methodcaller("headers")
"""For a name that it cannot decode the binding returns a broken list *and* sets an exception. CPython 3.11 looks for
that after a call from C, such as this; where a call from Python has become a fast one it does not, and the list crashes
who uses it."""


def to_record(message: Any) -> Record:  # by its stubs, everything in a message may be missing
    """The record in a message that is not an error."""
    headers, fault = _headers(message)
    timestamp_ms = message.timestamp()[1]
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        timestamp_ms,
        message.key(),
        message.value(),
        headers,
        fault,
    )


def _headers(message: Any) -> tuple[Headers, RecordError | None]:
    """The message's headers, or why there are none: the binding has no way to a name that is no text."""
    try:
        return _read_headers(message) or [], None
    except SystemError:  # the binding's way to say that it could not decode
        return [], DecodeError(
            "a header has a name that is not UTF-8, which librdkafka's binding cannot read. Send names that are text; "
            "LIMELIGHT_TRANSPORT=kafka-python reads them all."
        )

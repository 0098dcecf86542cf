"""Structured logs on stderr: one event name and key/value pairs a line, as JSON or for people.

Log a record by its topic, partition and offset, never by what is in it: keys and texts may be personal. As a second
line of defence, values under the names of a record's content, all bytes and all messages are withheld here.
"""

import logging
import sys
import time
from collections import OrderedDict
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.messages import ModelRef, Position

WITHHELD = "<withheld>"
REPEAT_SECONDS = 5.0
"""A client that loses its coordinator says so fifty times in a fraction of a second; once is enough."""
REMEMBERED = 100
"""Messages that are compared; more would be a leak."""
_CONTENT = frozenset({"key", "value", "text", "headers", "record"})


def configure(log_format: str, level: str, *, process: int | None = None) -> None:
    """Sets the process's logging up; called once, before the first line.

    Args:
        log_format: ``json``, ``console``, or ``auto``: console when stderr is a terminal.
        level: least severe level that is written: debug, info, warning or error.
        process: number of this process among several that write to the same place; told on each line.
    """
    for_people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            _withhold_content,
            *(() if process is None else (_number_process(process),)),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
            *(_console() if for_people else _json()),
        ],
        # Below the level the methods are empty: nothing is formatted (about 2 us a call, 0.1 us on a bound logger).
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    _adopt_libraries(level)


def _json() -> list[Processor]:
    encoder = msgspec.json.Encoder(enc_hook=str)

    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        # What a reader looks for first comes first.
        first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
        return encoder.encode(first | dict(event)).decode()

    return [structlog.processors.format_exc_info, render]


def _console() -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _number_process(number: int) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = number
        return event

    return add


def _withhold_content(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return _screen(event)  # type: ignore[no-any-return]


def _screen(value: Any) -> Any:
    """`value` without anything that can hold a record's content, at any depth."""
    match value:
        case bytes():
            return WITHHELD
        case Struct() if not isinstance(value, Position | ModelRef):
            return WITHHELD
        case dict():
            return {name: WITHHELD if name in _CONTENT else _screen(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():  # a `worker.ports.Record` is a tuple
            return [_screen(item) for item in value]
        case _:
            return value


class _Forward(logging.Handler):
    """Gives what libraries log through the standard library the same form."""

    def __init__(self) -> None:
        super().__init__()
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._was_said(record.name, record.getMessage()):
                return
            # structlog knows the five standard levels only; a library may have invented others.
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
            structlog.get_logger().log(
                level, "library_message", library=record.name, message=record.getMessage(), exc_info=record.exc_info
            )
        except Exception:  # noqa: BLE001 - a library's malformed message must not stop the stream; it is reported
            self.handleError(record)

    def _was_said(self, library: str, message: str) -> bool:
        """True if the same was passed on less than `REPEAT_SECONDS` ago."""
        now = time.monotonic()
        if now - self._said.get((library, message), -REPEAT_SECONDS) < REPEAT_SECONDS:
            return True
        self._said[library, message] = now
        self._said.move_to_end((library, message))
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        return False


def _adopt_libraries(level: str) -> None:
    """The Kafka client tells every connection at level info, and parts of requests at debug: neither is asked for."""
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))

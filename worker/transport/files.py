"""Files in place of topics: one line is one record, and the answers stand in the order of the lines.

The line's number, counted from 0, is its offset; the file's name is its topic. Output files appear whole, when the end
of the input was reached, or not at all.
"""

import base64
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from worker.errors import RecordError, TransportError
from worker.files import open_whole
from worker.messages import DeadLetter
from worker.ports import Clock, Record

STANDARD_STREAM = "-"
READ_BYTES = 1 << 20


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Opens a file of events, or standard input for ``-``.

    Raises:
        TransportError: the file cannot be read.
    """
    if path == STANDARD_STREAM:
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; an error while reading is not one of opening
    except OSError as error:
        raise TransportError(f"{path} cannot be read: {error.strerror}. Give a file with one event a line.") from error
    with file:
        yield file


@contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears whole at the end of the block, or standard output for ``-``.

    Raises:
        TransportError: the directory cannot be written.
    """
    if path == STANDARD_STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if Path(path).is_dir() or not Path(path).parent.is_dir():
        raise TransportError(f"{path} cannot be written. Name a file in a directory that exists.")
    try:
        with open_whole(Path(path)) as file:
            yield file
    except OSError as error:
        raise TransportError(f"{path} cannot be written: {error.strerror}. Name another file.") from error


def read_slices(file: BinaryIO, *, topic: str, slice_records: int, clock: Clock) -> Iterator[list[Record]]:
    """Reads records, a slice at a time, and does not wait for a full slice when a pipe holds less.

    Blank lines are records too: they are refused, not lost.

    Args:
        file: a buffered binary file.
        topic: named in the records' positions.
        slice_records: most records in a slice.
        clock: gives the records' timestamp.
    """
    number = 0
    for lines in _read_lines(file):
        for start in range(0, len(lines), slice_records):
            part = lines[start : start + slice_records]
            now_ms = clock.now_ms()
            yield [Record(topic, 0, number + n, now_ms, None, line.rstrip(b"\r"), []) for n, line in enumerate(part)]
            number += len(part)


def _read_lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """The lines of one read at a time, without their ends: whatever a pipe holds, at once."""
    rest = b""
    while chunk := file.read1(READ_BYTES):  # type: ignore[attr-defined]
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
    if rest:
        yield [rest]


def encode_refusal(record: Record, error: RecordError, *, group_id: str) -> bytes:
    """A refused line with its reason as one JSON line; bytes that are no UTF-8 travel as base64."""
    letter = msgspec.to_builtins(DeadLetter.of(record.position, error, group_id))
    value = record.value or b""
    try:
        letter["value"] = value.decode()
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(value).decode()
    return msgspec.json.encode(letter)

"""Files in place of topics: one line is one record, and the answers stand in the order of the lines.

The line's number, counted from 0, is its offset; the file's name is its topic. Output files appear whole, when the end
of the input was reached, or not at all.
"""

import base64
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec

from worker.errors import RecordError, TransportError
from worker.files import open_whole
from worker.messages import DeadLetter
from worker.ports import Clock, Record

STANDARD_STREAM = "-"


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
    if not Path(path).parent.is_dir():
        raise TransportError(f"{path} cannot be written: its directory does not exist. Create it first.")
    with open_whole(Path(path)) as file:
        yield file


def read_slices(file: Iterable[bytes], *, topic: str, slice_records: int, clock: Clock) -> Iterator[list[Record]]:
    """Reads records, a slice at a time. Blank lines are records too: they are refused, not lost.

    Args:
        file: lines.
        topic: named in the records' positions.
        slice_records: most records in a slice.
        clock: gives the records' timestamp.
    """
    lines = enumerate(file)
    while part := list(islice(lines, slice_records)):
        now_ms = clock.now_ms()
        yield [Record(topic, 0, number, now_ms, None, line.rstrip(b"\r\n"), []) for number, line in part]


def encode_refusal(record: Record, error: RecordError, *, group_id: str) -> bytes:
    """A refused line with its reason as one JSON line; bytes that are no UTF-8 travel as base64."""
    letter = msgspec.to_builtins(DeadLetter.of(record.position, error, group_id))
    value = record.value or b""
    try:
        letter["value"] = value.decode()
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(value).decode()
    return msgspec.json.encode(letter)

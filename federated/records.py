"""Where the rounds are written down: JSON Lines and TensorBoard."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import tensorflow as tf
from msgspec import UNSET

from federated.errors import OutputError
from federated.outputs import ROUNDS, TENSORBOARD
from worker.messages import RoundRecord


@contextlib.contextmanager
def open_records(directory: Path) -> Iterator[Callable[[RoundRecord], None]]:
    """Appends each record to ``rounds.jsonl`` and to TensorBoard's files, flushed, so that a reader can follow.

    Args:
        directory: made if it is missing. The records of an earlier run stay; `RoundRecord.run` tells them apart.

    Yields:
        Takes the record of each round as soon as it is over.

    Raises:
        OutputError: the directory cannot be made, or a record not be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lines = _open_lines(directory / ROUNDS)
    except OSError as error:
        raise _unwritable(directory, str(error.strerror)) from error
    events = None

    def report(record: RoundRecord) -> None:
        nonlocal events
        try:
            _write_line(lines, msgspec.json.encode(record))
            events = events or files.enter_context(_begin_events(directory / TENSORBOARD, first=record.round))
            _write_event(events, _summarize(record))
        except OSError as error:
            raise _unwritable(directory, str(error.strerror)) from error
        except tf.errors.OpError as error:
            raise _unwritable(directory, error.message.partition("\n")[0]) from error

    with lines, contextlib.ExitStack() as files:
        yield report


def _open_lines(path: Path) -> io.FileIO:
    """Opens for appending, behind the last line that is complete: a disk that was full may have cut one short.

    Records would otherwise be appended to half a line, and no reader could tell them apart again.
    """
    if path.is_file():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return io.FileIO(path, "ab")


def _write_line(lines: io.FileIO, line: bytes) -> None:
    """Writes all of it: a disk that is almost full takes a part without an error, and refuses the rest with one."""
    rest = line + b"\n"
    while rest:
        rest = rest[lines.write(rest) :]


def _begin_events(directory: Path, *, first: int) -> tf.io.TFRecordWriter:
    """A file for TensorBoard, which begins by making it forget what it has read of rounds from `first` on.

    A run that was killed has written rounds that are not in its checkpoint, and runs again; a directory may also hold
    an earlier run. Without that mark, which `tf.summary` cannot write, both would be drawn over each other.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # Files are read in the order of their names.
    events = tf.io.TFRecordWriter(str(directory / f"events.out.tfevents.{time.time():.6f}"))
    _write_event(events, tf.compat.v1.Event(file_version="brain.Event:2"))
    _write_event(events, tf.compat.v1.Event(step=first, session_log=tf.compat.v1.SessionLog(status="START")))
    return events


def _write_event(events: tf.io.TFRecordWriter, event: tf.compat.v1.Event) -> None:
    event.wall_time = time.time()
    events.write(event.SerializeToString())
    events.flush()


def _summarize(record: RoundRecord) -> tf.compat.v1.Event:
    heldout = {} if record.heldout is UNSET else record.heldout
    figures = {
        "seconds": record.seconds,
        **{f"train/{name}": value for name, value in record.train.items()},
        **{f"heldout/{name}": value for name, value in heldout.items()},
    }
    values = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
    return tf.compat.v1.Event(step=record.round, summary=tf.compat.v1.Summary(value=values))


def _unwritable(directory: Path, reason: str) -> OutputError:
    return OutputError(f"cannot write the records below {directory}: {reason}. Name another directory with --log-dir.")

"""Where the rounds are written down: JSON Lines and TensorBoard."""

import contextlib
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
        lines = (directory / ROUNDS).open("ab", buffering=0)
    except OSError as error:
        raise _unwritable(directory, str(error.strerror)) from error
    writer = tf.summary.create_file_writer(str(directory / TENSORBOARD))

    def report(record: RoundRecord) -> None:
        try:
            lines.write(msgspec.json.encode(record) + b"\n")
            _summarize(record, writer)
        except OSError as error:
            raise _unwritable(directory, str(error.strerror)) from error
        except tf.errors.OpError as error:
            raise _unwritable(directory, error.message.partition("\n")[0]) from error

    with lines, contextlib.closing(writer):
        yield report


def _summarize(record: RoundRecord, writer: tf.summary.SummaryWriter) -> None:
    with writer.as_default(step=record.round):
        tf.summary.scalar("seconds", record.seconds)
        for name, value in record.train.items():
            tf.summary.scalar(f"train/{name}", value)
        if record.heldout is not UNSET:
            for name, value in record.heldout.items():
                tf.summary.scalar(f"heldout/{name}", value)
    writer.flush()


def _unwritable(directory: Path, reason: str) -> OutputError:
    return OutputError(f"cannot write the records below {directory}: {reason}. Name another directory with --log-dir.")

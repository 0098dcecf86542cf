"""Where the rounds are written down: JSON Lines and TensorBoard."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import tensorflow as tf
from msgspec import UNSET

from federated.errors import OutputError
from worker.messages import RoundRecord


@contextlib.contextmanager
def open_records(directory: Path) -> Iterator[Callable[[RoundRecord], None]]:
    """Appends each record to ``rounds.jsonl`` and to TensorBoard's files, flushed, so that a reader can follow.

    Args:
        directory: made if it is missing. The records of an earlier run stay; `RoundRecord.run` tells them apart.

    Yields:
        Takes the record of each round as soon as it is over.

    Raises:
        OutputError: the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {directory}: {error.strerror}. Name another with --log-dir.") from error
    writer = tf.summary.create_file_writer(str(directory / "tensorboard"))
    with (directory / "rounds.jsonl").open("ab", buffering=0) as lines, contextlib.closing(writer):

        def report(record: RoundRecord) -> None:
            lines.write(msgspec.json.encode(record) + b"\n")
            with writer.as_default(step=record.round):
                tf.summary.scalar("seconds", record.seconds)
                for name, value in record.train.items():
                    tf.summary.scalar(f"train/{name}", value)
                if record.heldout is not UNSET:
                    for name, value in record.heldout.items():
                        tf.summary.scalar(f"heldout/{name}", value)
            writer.flush()

        yield report

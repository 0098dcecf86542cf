"""Where the rounds are written down: JSON Lines, TensorBoard, and the terminal."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import tensorflow as tf
from msgspec import UNSET

from worker.messages import RoundRecord


class Report(Protocol):
    """Takes a record as soon as its round is over."""

    def __call__(self, record: RoundRecord) -> None:
        """Reports one round."""


@contextlib.contextmanager
def open_records(directory: Path) -> Iterator[Report]:
    """Appends each record to ``rounds.jsonl`` and to TensorBoard's files, flushed, so that a reader can follow.

    Args:
        directory: made if it is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
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

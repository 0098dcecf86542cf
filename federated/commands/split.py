"""``python -m federated split``: a labelled file in two, one to train on and one to judge by."""

import argparse
import os
from pathlib import Path

import numpy as np

from federated.commands.arguments import fraction, seed
from federated.commands.source import add_source_arguments, read_source
from federated.data.examples import Example, encode_line
from federated.data.holdout import Holdout, hold_out
from federated.data.readers import read_examples
from federated.errors import OutputError
from worker.files import open_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    add_source_arguments(parser)
    parser.add_argument("--heldout-fraction", type=fraction, default=0.2, metavar="X", help="(%(default)s)")
    parser.add_argument("--seed", type=seed, default=1, metavar="S", help="same seed, same split (%(default)s)")
    parser.add_argument("--train-output", type=Path, required=True, metavar="FILE", help="JSON Lines, in file order")
    parser.add_argument("--heldout-output", type=Path, required=True, metavar="FILE", help="JSON Lines, shuffled")


def run(arguments: argparse.Namespace) -> None:
    """Writes both files and prints how many examples each has. ``id`` is the row in the source, counted from 1.

    Raises:
        DataError: the examples cannot be used.
        OutputError: one of the files cannot be written; neither was.
    """
    train, heldout = arguments.train_output, arguments.heldout_output
    _check_outputs(arguments.data, train, heldout)
    examples = list(read_examples(read_source(arguments)))
    labels = np.array([example.label for example in examples])
    groups = np.array([example.group for example in examples]) if arguments.group_field else None
    parts = hold_out(labels, fraction=arguments.heldout_fraction, seed=arguments.seed, groups=groups)
    try:
        _write(examples, parts, train=train, heldout=heldout)
    except OSError as error:
        raise OutputError(
            f"cannot write {train} and {heldout}: {error.strerror}. Neither was written; name files in directories "
            "that exist, are yours and have room."
        ) from error
    print(f"{len(parts.train)} examples to {train}")
    print(f"{len(parts.heldout)} examples to {heldout}")


def _write(examples: list[Example], parts: Holdout, *, train: Path, heldout: Path) -> None:
    with open_whole(train) as train_file, open_whole(heldout) as heldout_file:
        for file, indices in (train_file, parts.train), (heldout_file, parts.heldout):
            file.writelines(encode_line(examples[i], identifier=i + 1) for i in indices.tolist())
        # Neither file takes its name before both are on the disk.
        for file in train_file, heldout_file:
            file.flush()
            os.fsync(file.fileno())


def _check_outputs(data: Path, train: Path, heldout: Path) -> None:
    """Refuses what would destroy something, and saves reading a file whose parts cannot be written."""
    if os.path.realpath(train) == os.path.realpath(heldout):
        raise OutputError(f"both parts would go to {train}. Name two files.")
    for path in (train, heldout):
        if os.path.realpath(path) == os.path.realpath(data):
            raise OutputError(f"{path} is the file to split. Name another file.")
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no directory {path.parent}. Create it first.")
        # A device keeps no file; and if it did, it could not be held back until the other part is written.
        if path.exists() and not path.is_file():
            raise OutputError(f"cannot write {path}: it is not a regular file. Name a new or an ordinary file.")

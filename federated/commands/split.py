"""``python -m federated split``: a labelled file in two, one to train on and one to judge by."""

import argparse
from pathlib import Path

from federated.commands.arguments import fraction, seed
from federated.data.examples import encode_line, write_lines
from federated.data.holdout import hold_out
from federated.data.readers import read_examples
from federated.errors import OutputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help=".csv, .jsonl or .parquet")
    parser.add_argument("--text-field", required=True, metavar="F", help="column that holds the text")
    parser.add_argument("--label-field", required=True, metavar="L", help="column that holds the label")
    parser.add_argument("--client-field", metavar="C", help="column that names the owner of the row")
    parser.add_argument("--heldout-fraction", type=fraction, default=0.2, metavar="X", help="(%(default)s)")
    parser.add_argument("--seed", type=seed, default=1, metavar="S", help="same seed, same split (%(default)s)")
    parser.add_argument("--train-output", type=Path, required=True, metavar="FILE", help="JSON Lines, in file order")
    parser.add_argument("--heldout-output", type=Path, required=True, metavar="FILE", help="JSON Lines, shuffled")


def run(arguments: argparse.Namespace) -> None:
    """Writes both files and prints how many examples each has. ``id`` is the row in the source, counted from 1."""
    _check_outputs(arguments.train_output, arguments.heldout_output)
    examples = read_examples(
        arguments.data,
        text_field=arguments.text_field,
        label_field=arguments.label_field,
        client_field=arguments.client_field,
    )
    labels = [example.label for example in examples]
    parts = hold_out(labels, fraction=arguments.heldout_fraction, seed=arguments.seed)
    for path, indices in [(arguments.train_output, parts.train), (arguments.heldout_output, parts.heldout)]:
        write_lines(path, (encode_line(examples[i], identifier=i + 1) for i in indices))
        print(f"{len(indices)} examples to {path}")


def _check_outputs(train: Path, heldout: Path) -> None:
    """Refuses what would fail, or destroy the first file, after the first file was written."""
    if train.resolve() == heldout.resolve():
        raise OutputError(f"both parts would go to {train}. Name two files.")
    for path in (train, heldout):
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no directory {path.parent}. Create it first.")

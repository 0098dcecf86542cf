"""``python -m federated plays``: plays as examples of a next-character model, one client for each speaker."""

import argparse
import sys
from pathlib import Path

from federated.commands.arguments import count
from federated.data.examples import encode_line
from federated.data.plays import read_plays
from federated.errors import OutputError
from worker.files import open_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="text whose speeches start 'Name:'")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON Lines, for --preset plays")
    parser.add_argument("--window", type=count, default=32, metavar="N", help="characters read at once (%(default)s)")
    parser.add_argument("--stride", type=count, default=8, metavar="N", help="from window to window (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Writes the examples and prints how many there are.

    Raises:
        DataError: the plays cannot be read.
        OutputError: the file cannot be written.
    """
    speakers, number = set(), 0
    try:
        with open_whole(arguments.output) as file:
            examples = read_plays(arguments.input, window=arguments.window, stride=arguments.stride)
            for number, example in enumerate(examples, start=1):
                speakers.add(example.client)
                file.write(encode_line(example, identifier=number))
    except OSError as error:
        raise OutputError(f"cannot write {arguments.output}: {error.strerror}. Change --output.") from error
    print(f"{number:,} examples of {len(speakers)} speakers to {arguments.output}")
    print(
        f"train with: --preset plays --data {arguments.output} --text-field text --label-field label "
        "--client-field client --group-field group",
        file=sys.stderr,
    )

"""``python -m federated generate``: customer messages as JSON Lines."""

import argparse
import sys
from pathlib import Path

from federated.commands.arguments import clients, count, seed
from federated.data.examples import encode_line
from federated.data.generator import generate
from federated.errors import OutputError
from worker.files import open_whole

STDOUT = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--records", type=count, default=10_000, metavar="N", help="messages to write (%(default)s)")
    parser.add_argument("--seed", type=seed, default=1, metavar="S", help="same seed, same messages (%(default)s)")
    parser.add_argument("--clients", type=clients, default=50, metavar="N", help="clients that write (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=STDOUT, metavar="FILE", help="- for standard output (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes the messages: a file whole or not at all, standard output and devices line by line.

    Raises:
        OutputError: the file cannot be written, or standard output is closed.
    """
    examples = generate(records=arguments.records, seed=arguments.seed, clients=arguments.clients)
    lines = (encode_line(example, identifier=number) for number, example in enumerate(examples, start=1))
    if arguments.output == STDOUT:
        if sys.stdout is None:
            raise OutputError("standard output is closed. Name a file with --output.")
        sys.stdout.buffer.writelines(lines)
        return
    try:
        with open_whole(arguments.output) as file:
            file.writelines(lines)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {arguments.output}: {error.strerror}. Change --output.") from error

"""``python -m worker COMMAND``: finds the command's module and ends every failure the same way."""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from worker.errors import LimelightError

INTERRUPTED = 128 + signal.SIGINT
PIPE_BROKEN = 128 + signal.SIGPIPE
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Where such an error names no file, it was standard output that did not take more."""
COMMANDS = {
    "run": "score a Kafka topic until stopped",
    "score": "score a file, without Kafka",
    "feed": "write events from a file to the input topic, at a rate",
    "tail": "follow the predictions, with the tokens that the model looked at",
    "topics": "check the topics, or create those that are missing",
    "dlq": "list the refused records, export them, or send them again",
    "models": "look into the registry of models, and say which versions answer",
    "bench": "measure what each layer costs, from the model alone to exactly once on real brokers",
    "config": "show or check the settings",
}


STATUSES = """\
exit status:
  0    done; `run` also where Ctrl-C or SIGTERM ended it in order
  1    one line `error: ...` on stderr says what to do
  2    wrong usage
  130  ended by Ctrl-C before it was done; a backfill or a replay also by SIGTERM: the same command goes on from there
  141  whoever read the output has left
  143  `run` ended at once, by a second SIGTERM; by a second Ctrl-C it is 130
"""


class Command(Protocol):
    """A module in `worker.commands`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's options."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Does the work; returns the exit status."""
        ...


def main(argv: Sequence[str]) -> int:
    """Runs one command.

    Args:
        argv: what was typed after ``python -m worker``.

    Returns:
        The exit status.
    """
    try:
        # Importing a command takes up to a second, in which Ctrl-C is as good as later.
        status = _run_command(argv)
        # Here, where a reader that has left can still be answered for, and not when the interpreter ends.
        sys.stdout.flush()
        return status
    except LimelightError as error:
        print(error.line(), file=sys.stderr)
        return 1
    except BrokenPipeError:
        # As `head` does.
        _discard_output()
        return PIPE_BROKEN
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        _discard_output()
        print(f"error: standard output cannot be written: {error.strerror}. Make room there.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _discard_output() -> None:
    """Python would complain again when it flushes standard output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_command(argv: Sequence[str]) -> int:
    # Only the chosen command is imported: `--help` must not wait for ONNX Runtime.
    name = argv[0] if argv and argv[0] in COMMANDS else None
    command = cast(Command, importlib.import_module(f"worker.commands.{name}")) if name else None
    arguments = _build_parser(name, command).parse_args(argv)
    assert command is not None, "argparse ends the process on anything but a known command"
    return command.run(arguments)


def _build_parser(name: str | None, command: Command | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Score records and show where the model looked.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for each, summary in COMMANDS.items():
        subparser = parsers.add_parser(each, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if each == name and command is not None:
            command.add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

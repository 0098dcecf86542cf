"""``python -m deploy.local``: parses the command line and hands over to one sub-command."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from worker.errors import LimelightError

INTERRUPTED = 128 + signal.SIGINT
PIPE_BROKEN = 128 + signal.SIGPIPE

COMMANDS = {
    "broker": "start real Kafka brokers and keep them until Ctrl-C",
    "demo": "train, export and score a live stream, all on this machine",
}
"""Name -> what it does. Only the chosen module of `deploy.local.commands` is imported."""


def main(argv: Sequence[str]) -> int:
    """Runs one sub-command.

    Returns:
        The exit status: 0, 1 after an error that was printed in one line, 130 after Ctrl-C, or 141 when whoever read
        the output has left.
    """
    try:
        return _run_command(argv)
    except LimelightError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # As `head` does.
        _discard_output()
        return PIPE_BROKEN
    except OSError as error:
        # All that we ask of the system is about files: a full disk, a directory that others own.
        _discard_output()
        return _fail(f"{error.filename or 'standard output'}: {error.strerror}. Make room, or name another place.")
    except KeyboardInterrupt:
        # Before the command could take care of it: importing it takes most of a second.
        return INTERRUPTED


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Python would complain once more when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_command(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="Run Limelight on this machine.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in argv[:1]:
            module = import_module(f"deploy.local.commands.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

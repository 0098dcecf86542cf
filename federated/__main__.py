"""``python -m federated``: finds the sub-command and ends every failure in the same way.

A sub-command's module is imported only when it is chosen: ``--help`` is quick, and only training loads TensorFlow.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import federated
from worker.errors import LimelightError

COMMANDS = {
    "generate": "write customer messages for demonstrations and tests",
    "split": "split a labelled file in two, to train on and to judge by",
    "plays": "turn plays into examples of a next-character model",
    "clients": "show who the clients of a run would be, and how different they are",
    "train": "train a model by federated rounds",
    "bench": "measure how long a round takes, beside TensorFlow Federated",
    "resume": "go on with a run that was interrupted",
    "evaluate": "judge a finished run's model, and open its test set",
    "personalize": "fine-tune a finished run's model for each client, and say who gains",
    "explain": "show what a model answers to a text, and where it looked",
    "sweep": "train a model for each combination of values, and choose one",
    "report": "show what a run did, as a page, a table, and by the cost of a target",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command and returns the exit status: 0, or 1 after an error; argparse exits with 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m federated", description=federated.__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {name: commands.add_parser(name, help=summary, description=summary) for name, summary in COMMANDS.items()}
    # Left to itself, SIGTERM would end this process without its `finally` blocks, and leave files and children behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        # Ctrl-C can come before the command could take care of it: importing it takes a while.
        if words and words[0] in COMMANDS:
            command = importlib.import_module(f"federated.commands.{words[0]}")
            command.add_arguments(parsers[words[0]])
            parsers[words[0]].set_defaults(run=command.run)
        arguments = parser.parse_args(words)
        arguments.run(arguments)
        if sys.stdout:
            sys.stdout.flush()
    except LimelightError as error:
        # What TensorFlow says inside a message can run over several lines.
        return _fail(str(error))
    except MemoryError:
        return _fail("there is not enough memory. Give fewer records or clients, or make data.max_tokens smaller.")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has left, as `head` does.
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # A command answers for the files that it names. What is left is standard output, on a full disk for example.
        _discard_output()
        return _fail(f"cannot write {error.filename or 'standard output'}: {error.strerror}.")
    return 0


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Python would complain once more when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())

"""``python -m federated evaluate``: judge a finished run's model, and with ``--final`` open its test set.

Every opening is written down in the run's directory before its figures are shown, and the next one says how many there
were: a test set that was looked at again and again judges no better than one that was trained on.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from federated.commands.federation import federate
from federated.data.store import ClientStore
from federated.errors import CheckpointError, DataError
from federated.outputs import write_output
from federated.run_directory import RunDirectory


class Opening(Struct, frozen=True):
    """One look at the test set."""

    timestamp_ms: int
    run: str
    examples: int
    metrics: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("logs", type=Path, metavar="LOGS", help="directory of a finished run's logs")
    parser.add_argument("--final", action="store_true", help="open the test set, which is recorded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> None:
    """Prints the figures of each population.

    Raises:
        CheckpointError: there is no run, or it is not finished.
        DataError: the run's store or model is damaged, or it has no test set.
        OutputError: the opening cannot be recorded, and the figures are not shown; or the figures cannot be written.
    """
    directory = RunDirectory(arguments.logs)
    file = directory.load()
    if not file.finished:
        raise CheckpointError(f"{arguments.logs} holds a run that is not finished. Resume it first.")
    if arguments.final and not file.config.data.test_fraction:
        raise DataError(f"the run {file.run} kept no test set. Train with --set data.test_fraction=0.1.")
    federation = federate(file.config, ClientStore(directory.store))
    # Loading TensorFlow takes seconds: whatever can be refused without it has been refused by now.
    from federated.evaluation.judge import Judge, judge  # noqa: PLC0415
    from federated.loaded_model import load_model  # noqa: PLC0415

    model = load_model(Path(file.out))
    figures = {"held out": Judge(federation)(model.predict)}
    if arguments.final:
        figures["test"] = judge(model.predict, *federation.test.open(), federation.labels)
        opening = Opening(time.time_ns() // 1_000_000, file.run, len(federation.test), figures["test"])
        earlier = _record(directory.test_openings, opening)
        print(f"test set of {opening.examples:,} examples, opened {earlier} times before", file=sys.stderr)
    sys.stdout.write("".join(_describe(name, metrics) for name, metrics in figures.items()))
    if arguments.json:
        write_output(arguments.json, msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def _record(path: Path, opening: Opening) -> int:
    """Adds a line for this opening; returns how many there were before."""
    before = path.read_bytes() if path.exists() else b""
    write_output(path, before + msgspec.json.encode(opening) + b"\n")
    return before.count(b"\n")


def _describe(population: str, metrics: Mapping[str, float]) -> str:
    return f"{population}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()) + "\n"

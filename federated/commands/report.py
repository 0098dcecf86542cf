"""``python -m federated report``: a run as one HTML page, as a table, and by what its targets have cost."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET

from federated.comparison import describe, load_comparisons
from federated.evaluation.targets import first_reached
from federated.outputs import write_output
from federated.reporting.history import load_history
from federated.reporting.page import render
from federated.reporting.table import to_csv
from federated.run_directory import RunDirectory
from worker.messages import RoundRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("logs", type=Path, metavar="LOGS", help="directory of the run's logs")
    parser.add_argument("--run", dest="name", metavar="NAME", help="if the logs hold several (default: the last)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page that needs nothing beside itself")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each round")
    parser.add_argument(
        "--target",
        type=target,
        action="append",
        default=[],
        metavar="FIGURE=X",
        help="say when a held-out figure reached X, and what that took, for example accuracy=0.85",
    )


def target(value: str) -> tuple[str, float]:
    """A held-out figure and the value to reach."""
    name, equals, number = value.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{value} is not FIGURE=X")
    return name, float(number)


def run(arguments: argparse.Namespace) -> None:
    """Prints what the run did, and writes what was asked for.

    Raises:
        CheckpointError: the run's own file is damaged.
        DataError: the records, or the figures of personal models, cannot be read.
        OutputError: a file cannot be written.
    """
    records = load_history(arguments.logs, run=arguments.name)
    directory = RunDirectory(arguments.logs)
    facts = _describe(directory, records[-1].run)
    # The directory may hold records of earlier runs, but only the last one's models.
    personal = describe(load_comparisons(directory.personal)) if facts else {}
    targets = {f"{name} {value:g}": _reach(records, name, value) for name, value in arguments.target}
    for path, content in (
        (arguments.csv, lambda: to_csv(records)),
        (arguments.html, lambda: render(records, facts, targets, personal).encode()),
    ):
        if path:
            write_output(path, content())
    last = records[-1]
    sys.stdout.write(f"{last.run}: {last.round} of {last.rounds} rounds, {sum(r.seconds for r in records):.1f} s\n")
    judged = next((record for record in reversed(records) if record.heldout is not UNSET), None)
    if judged:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in judged.heldout.items())
        sys.stdout.write(f"held out after round {judged.round}: {figures}\n")
    for name, cost in targets.items():
        sys.stdout.write(f"{name}: {cost}\n")


def _describe(directory: RunDirectory, run: str) -> dict[str, str]:
    """What was asked for; nothing, if the directory is that of another run."""
    if not directory.file.exists() or (file := directory.load()).run != run:
        return {}
    config = msgspec.to_builtins(file.config) | {"environment": file.environment}
    return {name: ", ".join(_flatten(value)) for name, value in config.items()}


def _flatten(value: object, name: str = "") -> Iterator[str]:
    """A setting, or all settings of a section, as words."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flatten(part, f"{name}.{key}" if name else key)
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield f"{name} {text}".strip()


def _reach(records: Sequence[RoundRecord], metric: str, value: float) -> str:
    reached = first_reached(records, metric, value)
    if reached is None:
        return "not reached"
    return f"{reached.round} rounds, {reached.bytes / 1e6:,.1f} MB, {reached.seconds:.1f} s"

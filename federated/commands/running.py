"""Trains a run to its end and says what came out; for a new run and for one that goes on."""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from federated.data.clients import Federation
from federated.errors import DivergenceError, OutputError
from federated.run_directory import RunDirectory, RunFile
from federated.training_topic import open_topic
from worker.files import write_file
from worker.messages import RoundRecord

if TYPE_CHECKING:
    from federated.privacy.opening import Privacy
    from federated.training import RunResult

Reports = Sequence[Callable[[RoundRecord], None]]


def add_broker_argument(parser: argparse.ArgumentParser) -> None:
    """Adds where rounds may go beside the logs."""
    parser.add_argument(
        "--bootstrap-servers", metavar="H:P", help="send each round to the topic limelight.training of this broker"
    )


def run_training(
    directory: RunDirectory,
    file: RunFile,
    federation: Federation,
    *,
    privacy: "Privacy | None",
    bootstrap_servers: str | None,
) -> None:
    """Trains, writes the model and the figures, and prints one line.

    Args:
        directory: of the run.
        file: what was asked for.
        federation: its clients.
        privacy: of a differentially private run.
        bootstrap_servers: of a broker that gets the rounds, if any.

    Raises:
        AggregationError: too few clients for the aggregation.
        CheckpointError: the run's state cannot be saved, or cannot be used.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model or the figures cannot be written.
    """
    _announce(file, federation)
    try:
        with open_topic(bootstrap_servers) if bootstrap_servers else nullcontext() as send:
            result = _train(directory, file, federation, privacy, [send] if send else [])
    except (KeyboardInterrupt, SystemExit):
        print(
            f"interrupted: no model was written. Go on with: python -m federated resume {directory.path}",
            file=sys.stderr,
        )
        raise
    except DivergenceError:
        # From the same state it would diverge again.
        directory.forget_state()
        raise
    if file.figures:
        _write_figures(Path(file.figures), result)
    skipped = f" ({result.skipped_rounds} skipped)" if result.skipped_rounds else ""
    print(
        f"{result.out}: {result.rounds} rounds{skipped}, {result.clients} clients, {result.seconds:.0f} s, held-out "
        f"accuracy {result.heldout_accuracy:.3f}, macro-F1 {result.heldout_macro_f1:.3f}"
    )


def _announce(file: RunFile, federation: Federation) -> None:
    """Says who takes part, and what of the settings cannot be had."""
    validation = f"{len(federation.validation)} validation clients; " if len(federation.validation) else ""
    print(
        f"{len(federation.clients)} clients with {federation.clients.sizes.sum():,} examples, "
        f"{len(federation.heldout.label):,} held out; {validation}"
        f"{len(federation.labels)} labels, {len(federation.vocabulary):,} tokens",
        file=sys.stderr,
    )
    asked = file.config.training.clients_per_round
    if asked > len(federation.clients):
        print(
            f"note: {asked} clients a round were asked for, {len(federation.clients)} train: every round has all",
            file=sys.stderr,
        )


def _train(
    directory: RunDirectory, file: RunFile, federation: Federation, privacy: "Privacy | None", reports: Reports
) -> "RunResult":
    # One of TensorFlow Federated's dependencies says so at every import.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    # Loading TensorFlow takes seconds: whatever can be refused without it has been refused by now.
    from federated.training import train  # noqa: PLC0415

    return train(directory, file, federation, privacy=privacy, reports=reports)


def _write_figures(path: Path, result: "RunResult") -> None:
    try:
        write_file(path, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. The model is complete: {result.out}.") from error

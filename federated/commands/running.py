"""Trains a run to its end and says what came out; for a new run and for one that goes on."""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from federated.data.clients import Federation
from federated.errors import CheckpointError, EngineError, OutputError
from federated.mlflow_run import check_uri, open_mlflow
from federated.run_directory import RunDirectory, RunFile
from federated.training_topic import open_topic
from worker.files import write_file
from worker.messages import RoundRecord

if TYPE_CHECKING:
    from federated.privacy.opening import Privacy
    from federated.training import RunResult

Reports = Sequence[Callable[[RoundRecord], None]]


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where rounds may go beside the logs."""
    parser.add_argument(
        "--bootstrap-servers", metavar="H:P", help="send each round to the topic limelight.training of this broker"
    )
    parser.add_argument(
        "--mlflow",
        type=_mlflow,
        metavar="URI",
        help="send each round to this tracking server of MLflow (http, https or file)",
    )


def _mlflow(uri: str) -> str:
    # Here, so that it is said before anything was read.
    if find_spec("mlflow") is None:
        raise argparse.ArgumentTypeError("MLflow is not installed: pip install 'limelight[mlflow]'")
    try:
        check_uri(uri)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return uri


def run_training(
    directory: RunDirectory,
    file: RunFile,
    federation: Federation,
    *,
    privacy: "Privacy | None",
    arguments: argparse.Namespace,
    resumed: bool = False,
) -> None:
    """Trains, writes the model and the figures, and prints one line.

    Args:
        directory: of the run.
        file: what was asked for.
        federation: its clients.
        privacy: of a differentially private run.
        arguments: say where the rounds go beside the logs, see `add_report_arguments`.
        resumed: the run began before.

    Raises:
        AggregationError: too few clients for the aggregation.
        CheckpointError: the run's state cannot be saved, or cannot be used.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model or the figures cannot be written.
    """
    _announce(file, federation)
    try:
        with _open_reports(arguments, file, resumed=resumed) as reports:
            result = _train(directory, file, federation, privacy, reports)
    except (KeyboardInterrupt, SystemExit):
        print(
            f"interrupted: no model was written. Go on with: python -m federated resume {directory.path}",
            file=sys.stderr,
        )
        raise
    except (CheckpointError, EngineError, OutputError):
        if privacy and not Path(file.out).exists():
            # Its ledger has begun: the same command would be refused.
            print(
                f"note: this private run has begun. With the cause removed, go on with: python -m federated resume "
                f"{directory.path}",
                file=sys.stderr,
            )
        raise
    if file.figures:
        _write_figures(Path(file.figures), result)
    skipped = f" ({result.skipped_rounds} skipped)" if result.skipped_rounds else ""
    print(
        f"{result.out}: {result.rounds} rounds{skipped}, {result.clients} clients, {result.seconds:.0f} s, held-out "
        f"accuracy {result.heldout_accuracy:.3f}, macro-F1 {result.heldout_macro_f1:.3f}"
    )


@contextmanager
def _open_reports(arguments: argparse.Namespace, file: RunFile, *, resumed: bool) -> Iterator[Reports]:
    with ExitStack() as opened:
        reports = []
        if arguments.bootstrap_servers:
            reports.append(opened.enter_context(open_topic(arguments.bootstrap_servers)))
        if arguments.mlflow:
            reports.append(opened.enter_context(open_mlflow(arguments.mlflow, file, resumed=resumed)))
        yield reports


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

"""``python -m federated resume``: go on with a run that was interrupted, as if it had not been."""

import argparse
import sys
from pathlib import Path

from federated.checkpoint import load_checkpoint
from federated.commands.federation import federate
from federated.commands.private import resume_privacy
from federated.commands.running import add_report_arguments, run_training
from federated.data.store import ClientStore
from federated.errors import CheckpointError
from federated.outputs import check_outputs
from federated.run_directory import RunDirectory, describe_environment, digest_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("logs", type=Path, metavar="LOGS", help="directory of the run's logs (train's --log-dir)")
    add_report_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains from the last checkpoint to the end, and writes the model.

    Raises:
        CheckpointError: there is no run, it is finished, or its state cannot be used.
        DataError: the run's client store is damaged.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        PrivacyError: the run's ledger or noise key cannot be used, or a private run's updates could be others now.
        OutputError: the model exists already, or cannot be written; or a finished run's noise key cannot be removed.
    """
    directory = RunDirectory(arguments.logs)
    file = directory.load()
    if file.finished:
        directory.forget_key()
        raise CheckpointError(f"{arguments.logs} holds a run that is finished: {file.out}. There is nothing to resume.")
    figures = Path(file.figures) if file.figures else None
    check_outputs(Path(file.out), log_dir=arguments.logs, figures=figures, data=None)
    store = ClientStore(directory.store)
    federation = federate(file.config, store)
    if directory.checkpoint.exists():
        # Again when it is needed; but what cannot be used is refused before TensorFlow is loaded.
        load_checkpoint(directory.checkpoint, config_digest=digest_run(file))
    privacy = resume_privacy(directory, file, store)
    now = describe_environment()
    if changed := [name for name, value in file.environment.items() if now.get(name) != value]:
        print(f"note: {', '.join(changed)} changed since; the last bits of the model may differ", file=sys.stderr)
    run_training(directory, file, federation, privacy=privacy, arguments=arguments, resumed=True)

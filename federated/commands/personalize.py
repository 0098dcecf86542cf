"""``python -m federated personalize``: what each client of a finished run gains from a model of its own.

Fine-tuning goes on from the shared model with each client's own examples. A run of Ditto has kept the models that its
clients trained beside the shared one; they are judged too.
"""

import argparse
from pathlib import Path

from federated.commands.arguments import count, positive
from federated.commands.federation import federate
from federated.comparison import Comparison, describe, encode
from federated.data.store import ClientStore
from federated.errors import CheckpointError, DivergenceError
from federated.outputs import write_output
from federated.run_directory import RunDirectory, digest_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("logs", type=Path, metavar="LOGS", help="directory of a finished run's logs")
    parser.add_argument("--epochs", type=count, metavar="N", help="over a client's examples (default: as in training)")
    parser.add_argument("--rate", type=positive, metavar="R", help="of learning (default: the clients' in training)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")


def run(arguments: argparse.Namespace) -> None:
    """Fine-tunes the model for each client, judges it on what the client held out, and prints and keeps the figures.

    Raises:
        CheckpointError: there is no run, it is not finished, or a client's model is damaged.
        DataError: the run's store or model is damaged.
        DivergenceError: fine-tuning led to numbers that are none.
        OutputError: the figures cannot be written.
    """
    directory = RunDirectory(arguments.logs)
    if not directory.load().finished:
        raise CheckpointError(f"{arguments.logs} holds a run that is not finished. Resume it first.")
    comparisons = _compare(directory, arguments)
    content = encode(comparisons)
    for path in filter(None, (directory.personal, arguments.json)):
        write_output(path, content)
    for name, value in describe(comparisons).items():
        print(f"{name}: {value}")


def _compare(directory: RunDirectory, arguments: argparse.Namespace) -> dict[str, Comparison]:
    file = directory.load()
    federation = federate(file.config, ClientStore(directory.store))
    # Loading TensorFlow takes seconds: whatever can be refused without it has been refused by now.
    from federated.client_states import load_states  # noqa: PLC0415
    from federated.loaded_model import load_model  # noqa: PLC0415
    from federated.personal import FineTuning, fine_tune, judge_personal  # noqa: PLC0415

    model, training = load_model(Path(file.out)), file.config.training
    how = FineTuning(arguments.epochs or training.local_epochs, arguments.rate or training.client_learning_rate)
    kinds = {
        f"fine-tuned ({how.epochs} epochs, rate {how.rate:g})": fine_tune(
            file.config, federation, model.get_weights(), how
        )
    }
    if training.algorithm == "ditto":
        kinds["Ditto"] = load_states(directory.clients, config_digest=digest_run(file))
    try:
        found = {name: judge_personal(model, federation, personal) for name, personal in kinds.items()}
    except FloatingPointError as error:
        raise DivergenceError(f"a client's own model diverged: {error}. Lower --rate or --epochs.") from error
    return {name: comparison for name, comparison in found.items() if comparison}

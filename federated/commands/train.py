"""``python -m federated train``: from examples to a SavedModel."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from federated.commands.arguments import count
from federated.commands.federation import federate, load_examples
from federated.commands.private import add_privacy_arguments, begin_run, check_privacy
from federated.commands.running import add_report_arguments, run_training
from federated.commands.source import add_source_arguments
from federated.config import list_presets, load_config, parse_overrides
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.errors import ConfigError
from federated.outputs import check_outputs
from federated.run_directory import RunDirectory, RunFile, describe_environment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--preset", required=True, metavar="P", help=f"one of {', '.join(list_presets())}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="SavedModel to write; must not exist")
    add_source_arguments(parser, instead="default: generated messages")
    parser.add_argument("--rounds", type=count, metavar="N", help="the same as --set training.rounds=N")
    parser.add_argument("--seed", type=int, metavar="S", help="the same as --set seed=S")
    parser.add_argument("--engine", choices=["xla", "tff", "ray"], help="the same as --set training.engine=E")
    add_privacy_arguments(parser)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("--log-dir", type=Path, metavar="DIR", help="rounds.jsonl and TensorBoard (default: OUT-logs)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the run's figures there")
    add_report_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Trains and writes the model.

    Raises:
        AggregationError: the aggregation's settings contradict each other.
        ConfigError: the preset or a flag is wrong.
        DataError: the examples cannot be used.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model's directory exists already, or cannot be written.
        PrivacyError: the privacy that was asked for cannot be promised.
    """
    config = load_config(arguments.preset, _overrides(arguments))
    check_privacy(config, arguments)
    log_dir = arguments.log_dir or Path(f"{arguments.out}-logs")
    check_outputs(arguments.out, log_dir=log_dir, figures=arguments.json, data=arguments.data)
    directory = RunDirectory(log_dir)
    directory.require_free()
    # Beside the place that it will have, so that it can take it by a rename.
    place = next(path for path in log_dir.absolute().parents if path.is_dir())
    with TemporaryDirectory(dir=place, prefix=f".{log_dir.name}.") as scratch:
        write_store(Path(scratch) / "store", load_examples(arguments, config))
        store = ClientStore(Path(scratch) / "store")
        federation = federate(config, store)
        file = RunFile(
            run=f"{arguments.out.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            config=config,
            out=str(arguments.out.absolute()),
            figures=str(arguments.json.absolute()) if arguments.json else None,
            environment=describe_environment(),
        )
        privacy = begin_run(directory, file, store, arguments, clients=len(federation.clients))
    run_training(directory, file, federation, privacy=privacy, arguments=arguments)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    overrides = parse_overrides(arguments.set)
    short = {
        "--rounds": ("training.rounds", arguments.rounds),
        "--seed": ("seed", arguments.seed),
        "--engine": ("training.engine", arguments.engine),
        "--epsilon": ("privacy.epsilon", arguments.epsilon),
        "--delta": ("privacy.delta", arguments.delta),
        "--client-field": ("data.partition.by", "client" if arguments.client_field else None),
    }
    for flag, (key, value) in short.items():
        if value is None:
            continue
        if overrides.setdefault(key, value) != value:
            raise ConfigError(f"{flag} sets {key}={value}, but --set says {overrides[key]}. Give one of them.")
    return overrides

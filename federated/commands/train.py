"""``python -m federated train``: from examples to a SavedModel."""

import argparse
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from federated.commands.arguments import count
from federated.commands.federation import federate, load_examples
from federated.commands.source import add_source_arguments
from federated.config import Config, list_presets, load_config, parse_overrides
from federated.data.clients import Federation
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.errors import ConfigError, OutputError
from federated.outputs import check_outputs
from worker.files import write_file

if TYPE_CHECKING:
    from federated.training import RunResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--preset", required=True, metavar="P", help=f"one of {', '.join(list_presets())}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="SavedModel to write; must not exist")
    add_source_arguments(parser, instead="default: generated messages")
    parser.add_argument("--rounds", type=count, metavar="N", help="the same as --set training.rounds=N")
    parser.add_argument("--seed", type=int, metavar="S", help="the same as --set seed=S")
    parser.add_argument("--engine", choices=["xla", "tff"], help="the same as --set training.engine=E")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("--log-dir", type=Path, metavar="DIR", help="rounds.jsonl and TensorBoard (default: OUT-logs)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the run's figures there")


def run(arguments: argparse.Namespace) -> None:
    """Trains and writes the model.

    Raises:
        ConfigError: the preset or a flag is wrong.
        DataError: the examples cannot be used.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model's directory exists already, or cannot be written.
    """
    config = load_config(arguments.preset, _overrides(arguments))
    log_dir = arguments.log_dir or Path(f"{arguments.out}-logs")
    check_outputs(arguments.out, log_dir=log_dir, figures=arguments.json, data=arguments.data)
    with TemporaryDirectory(prefix="limelight-store-") as scratch:
        write_store(Path(scratch) / "store", load_examples(arguments, config))
        federation = federate(config, ClientStore(Path(scratch) / "store"))
        print(
            f"{len(federation.clients)} clients with {federation.clients.sizes.sum():,} examples, "
            f"{len(federation.heldout.label):,} held out; "
            f"{len(federation.labels)} labels, {len(federation.vocabulary):,} tokens",
            file=sys.stderr,
        )
        try:
            result = _train(config, federation, out=arguments.out, log_dir=log_dir)
        except (KeyboardInterrupt, SystemExit):
            print("interrupted: no model was written", file=sys.stderr)
            raise
    if arguments.json:
        _write_figures(arguments.json, result)
    print(
        f"{result.out}: {result.rounds} rounds, {result.clients} clients, {result.seconds:.0f} s, held-out accuracy "
        f"{result.heldout_accuracy:.3f}, macro-F1 {result.heldout_macro_f1:.3f}"
    )


def _train(config: Config, federation: Federation, *, out: Path, log_dir: Path) -> "RunResult":
    # One of TensorFlow Federated's dependencies says so at every import.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    # Loading TensorFlow takes seconds: whatever can be refused without it has been refused by now.
    from federated.training import train  # noqa: PLC0415

    return train(config, federation, out=out, log_dir=log_dir)


def _write_figures(path: Path, result: "RunResult") -> None:
    try:
        write_file(path, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. The model is complete: {result.out}.") from error


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    overrides = parse_overrides(arguments.set)
    short = {
        "--rounds": ("training.rounds", arguments.rounds),
        "--seed": ("seed", arguments.seed),
        "--engine": ("training.engine", arguments.engine),
        "--client-field": ("data.partition.by", "client" if arguments.client_field else None),
    }
    for flag, (key, value) in short.items():
        if value is None:
            continue
        if overrides.setdefault(key, value) != value:
            raise ConfigError(f"{flag} sets {key}={value}, but --set says {overrides[key]}. Give one of them.")
    return overrides

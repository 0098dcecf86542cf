"""From a preset and a file, or the generator, to the clients of a run."""

import argparse
from collections.abc import Iterator

from federated.commands.source import read_source
from federated.config import Config
from federated.data.clients import Federation, build_federation
from federated.data.examples import Example
from federated.data.generator import generate
from federated.data.populations import Shares
from federated.data.readers import read_examples
from federated.data.store import ClientStore
from federated.errors import ConfigError

DATA_SEED_OFFSET = 1_000_000
"""Keeps the generated training messages apart from those of ``generate --seed S`` for any small S."""


def load_examples(arguments: argparse.Namespace, config: Config) -> Iterator[Example]:
    """Reads the file that `arguments` name, or generates what `config` says.

    Raises:
        ConfigError: there is no file, and the preset needs one; or the flags contradict each other.
        DataError: later, as they are read: the examples cannot be used.
    """
    if source := read_source(arguments):
        return read_examples(source)
    if not config.data.records:
        raise ConfigError(f"preset {config.preset} reads a file: give --data, --text-field and --label-field.")
    return generate(records=config.data.records, seed=config.seed + DATA_SEED_OFFSET, clients=config.data.clients)


def federate(config: Config, store: ClientStore) -> Federation:
    """Splits a store into clients and populations, as `config` says.

    Raises:
        DataError: that cannot be done.
    """
    data = config.data
    return build_federation(
        store,
        partition_settings=data.partition,
        shares=Shares(heldout=data.heldout_fraction, validation=data.validation_clients, test=data.test_fraction),
        vocabulary_size=data.vocabulary_size,
        min_count=data.min_count,
        max_tokens=data.max_tokens,
        seed=config.seed,
    )

"""What `train` and `resume` do for a differentially private run before TensorFlow is loaded."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from federated.aggregation.settings import check_cohort, check_combination, list_features
from federated.config import Config
from federated.data.store import ClientStore
from federated.errors import ConfigError
from federated.run_directory import RunDirectory, RunFile, describe_environment, digest_run

if TYPE_CHECKING:
    from federated.privacy.ledger import Origin
    from federated.privacy.opening import Privacy


def add_privacy_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a private run."""
    parser.add_argument(
        "--epsilon", type=float, metavar="E", help="differential privacy; the same as --set privacy.epsilon=E"
    )
    parser.add_argument("--delta", type=float, metavar="D", help="the same as --set privacy.delta=D")
    parser.add_argument(
        "--noise-key", type=Path, metavar="FILE", help="repeatable noise, for simulations (default: a random key)"
    )


_PLAIN_UPDATES = ("fedavg", "fedsgd", "ditto")
"""Algorithms whose update is a change of the model and nothing else: one clip fits all of it."""


def check_privacy(config: Config, arguments: argparse.Namespace) -> None:
    """Refuses what cannot be promised, whoever the clients are.

    Raises:
        AggregationError: the aggregation's settings contradict each other, or the promise.
        ConfigError: a flag or a setting goes against the promise.
    """
    private = config.privacy.epsilon > 0
    if arguments.epsilon == 0:
        raise ConfigError(
            "--epsilon 0 cannot be kept: nothing would be learned. Give one above 0; to train without differential "
            "privacy leave --epsilon out, or take a preset's away with --set privacy.epsilon=0."
        )
    if arguments.delta is not None and not private:
        raise ConfigError("--delta is for runs with --epsilon: others promise nothing.")
    check_combination(config.aggregation, config.privacy.sampling if private else None)
    check_cohort(config.aggregation, config.training.clients_per_round)
    altered = list_features(config.aggregation, config.privacy.sampling if private else None) != {"no clipping"}
    if altered and config.training.algorithm not in _PLAIN_UPDATES:
        raise ConfigError(
            f"{config.training.algorithm} sends more than a change of the model, and [aggregation] and [privacy] would "
            f"treat all of it alike. Set training.algorithm to {' or '.join(_PLAIN_UPDATES)}, or leave them out."
        )
    if arguments.noise_key and not private:
        raise ConfigError("--noise-key is for runs with --epsilon: others draw no noise.")
    if private and config.training.patience:
        raise ConfigError(
            "training.patience and differential privacy do not go together: which model is the best would be told by "
            "clients whose privacy nobody accounts for. Leave one of them out."
        )
    if private and not config.availability.always:
        raise ConfigError(
            "[availability] and differential privacy do not go together: who happens to be there is no random sample, "
            "and the noise is computed for one. Remove the section, or --epsilon."
        )


def begin_run(
    directory: RunDirectory, file: RunFile, store: ClientStore, arguments: argparse.Namespace, *, clients: int
) -> "Privacy | None":
    """Begins a new run: its directory, and if it is private its ledger.

    The promise is made first, so that one that cannot be kept leaves nothing behind; the ledger is written last, so
    that there is none without its run.

    Raises:
        OutputError: the directory cannot be written, or holds a ledger already.
        PrivacyError: the promise is void or cannot be kept, or the ledger cannot be written.
    """
    if not file.config.privacy.epsilon:
        directory.begin(file, store)
        return None
    # What accounts for privacy takes a while to load.
    from federated.privacy import opening  # noqa: PLC0415

    opening.require_unspent(directory.privacy)
    promise = opening.make_promise(file.config, clients=clients, given_key=arguments.noise_key)
    directory.begin(file, store)
    return opening.begin_privacy(directory.privacy, promise, _find_origin(file, store))


def resume_privacy(directory: RunDirectory, file: RunFile, store: ClientStore) -> "Privacy | None":
    """Opens the ledger of a run that goes on, if it is private.

    Raises:
        PrivacyError: the ledger or the key cannot be used, or what decides the run's updates has changed.
    """
    if not file.config.privacy.epsilon:
        return None
    from federated.privacy import opening  # noqa: PLC0415

    return opening.resume_privacy(directory.privacy, _find_origin(file, store))


def _find_origin(file: RunFile, store: ClientStore) -> "Origin":
    from federated.privacy.ledger import Origin  # noqa: PLC0415

    return Origin(run=digest_run(file), store=store.digest(), environment=describe_environment())

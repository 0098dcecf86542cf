"""Begins what keeps a run's promise: plan, noise key and ledger, on disk before the first round."""

import sys
from pathlib import Path
from typing import NamedTuple

from federated.config import Config
from federated.errors import OutputError
from federated.privacy.keys import KEY, NoiseKey, draw_key, load_key, read_given_key
from federated.privacy.ledger import UNBOUND, Ledger, Origin, begin_ledger, open_ledger
from federated.privacy.plan import PrivacyPlan, build_plan
from federated.privacy.sampling import draw_private_cohort

LEDGER = "ledger.json"


class Promise(NamedTuple):
    """What a run will keep; nothing of it is on disk yet."""

    plan: PrivacyPlan
    key: NoiseKey


class Privacy(NamedTuple):
    """What makes a run differentially private."""

    ledger: Ledger
    key: NoiseKey

    @property
    def plan(self) -> PrivacyPlan:
        """The ledger's."""
        return self.ledger.plan

    def draw_cohort(self, number: int) -> list[int]:
        """The clients of round `number`; see `draw_private_cohort`."""
        return draw_private_cohort(self.plan.mechanism, self.key, number, cap=self.plan.cohort_cap)


def make_promise(config: Config, *, clients: int, given_key: Path | None) -> Promise:
    """Solves the noise, and says what was promised.

    Args:
        config: with an epsilon above 0.
        clients: N.
        given_key: file of a key that a person chose; None draws one.

    Raises:
        PrivacyError: the promise is void or cannot be kept, or the given key cannot be used.
    """
    # Before the noise is solved, which can take seconds: the file may be missing.
    key = read_given_key(given_key) if given_key else draw_key()
    training = config.training
    plan = build_plan(config.privacy, clients=clients, cohort=training.clients_per_round, rounds=training.rounds)
    print(describe(plan), file=sys.stderr)
    return Promise(plan, key)


def require_unspent(directory: Path) -> None:
    """Looks whether a ledger may begin in `directory`.

    Raises:
        OutputError: another run has spent its budget there.
    """
    if (directory / LEDGER).exists():
        raise OutputError(f"{directory} holds another run's ledger. Name another directory with --log-dir.")


def begin_privacy(directory: Path, promise: Promise, origin: Origin = UNBOUND) -> Privacy:
    """Begins a ledger in `directory`, beside a key that only its owner can read.

    Args:
        directory: made if it is missing. A key without a ledger has drawn nothing, and is replaced.
        promise: what the run will keep.
        origin: what decides the clients' updates; a run that goes on must have the same.

    Raises:
        OutputError: `directory` holds a ledger already, or cannot be written.
        PrivacyError: the ledger cannot be written.
    """
    require_unspent(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / KEY).unlink(missing_ok=True)
        promise.key.save(directory / KEY)
    except OSError as error:
        raise OutputError(f"cannot write {directory}: {error.strerror}. Name another one with --log-dir.") from error
    return Privacy(begin_ledger(directory / LEDGER, promise.plan, promise.key, origin), promise.key)


def resume_privacy(directory: Path, origin: Origin) -> Privacy:
    """Opens what `begin_privacy` left in `directory`; nothing that was charged comes back.

    Raises:
        PrivacyError: the ledger or the key is missing or damaged, or the ledger is of another origin.
    """
    key = load_key(directory / KEY)
    return Privacy(open_ledger(directory / LEDGER, key, origin), key)


def describe(plan: PrivacyPlan) -> str:
    """The promise in one line."""
    return (
        f"differential privacy: epsilon {plan.epsilon:g} at delta {plan.delta:g} over {plan.rounds} rounds "
        f"({plan.mechanism.sampling} sampling, {plan.relation}, {plan.accountant}); noise multiplier "
        f"{plan.noise_multiplier:.3f}"
    )

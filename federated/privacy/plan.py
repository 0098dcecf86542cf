"""What a run promises, fixed before its first round: the mechanism, its noise and the whole curve of what it spends."""

import math

from msgspec import Struct
from scipy.stats import binom

from federated.errors import PrivacyError
from federated.privacy.accountant import (
    ACCOUNTANTS,
    RELATIONS,
    Mechanism,
    compute_curve,
    solve_noise,
)
from federated.privacy.settings import PrivacySettings

_CAP_SHARE = 1e-3
"""This share of delta pays for the chance that a Poisson cohort outgrows its cap."""


class PrivacyPlan(Struct, frozen=True, kw_only=True):
    """A promise that can be kept."""

    mechanism: Mechanism
    epsilon: float
    delta: float
    rounds: int
    noise_multiplier: float
    """sigma / C of the sum, or of each client's own noise with ``local``."""
    cohort_cap: int
    """No cohort is larger."""
    curve: list[float]
    """Epsilon after 0, 1, ... rounds."""

    @property
    def relation(self) -> str:
        """What two neighbouring sets of clients differ by."""
        return RELATIONS[self.mechanism.sampling]

    @property
    def accountant(self) -> str:
        """How `curve` was computed."""
        return ACCOUNTANTS[self.mechanism.sampling]


def build_plan(settings: PrivacySettings, *, clients: int, cohort: int, rounds: int) -> PrivacyPlan:
    """Solves the noise for what `settings` promise.

    Args:
        settings: with an epsilon above 0.
        clients: N.
        cohort: K, expected or exact.
        rounds: after which the budget is spent.

    Raises:
        PrivacyError: the promise is void or cannot be kept.
    """
    if settings.delta * clients >= 1:
        raise PrivacyError(
            f"delta {settings.delta:g} is not below 1 / {clients} clients: it would allow to publish one of them. "
            f"Give --delta {0.1 / clients:.0e} or less."
        )
    if cohort > clients:
        raise PrivacyError(f"a cohort of {cohort} cannot be chosen from {clients} clients. Lower the cohort.")
    mechanism = Mechanism(sampling=settings.sampling, clients=clients, cohort=cohort)
    cap, delta = cohort, settings.delta
    if settings.sampling == "poisson":
        cap, delta = _cap_cohorts(mechanism, rounds, settings), delta * (1 - _CAP_SHARE)
    noise = solve_noise(mechanism, rounds=rounds, epsilon=settings.epsilon, delta=delta)
    return PrivacyPlan(
        mechanism=mechanism,
        epsilon=settings.epsilon,
        delta=settings.delta,
        rounds=rounds,
        noise_multiplier=noise,
        cohort_cap=cap,
        curve=compute_curve(mechanism, noise, rounds=rounds, delta=delta).tolist(),
    )


def _cap_cohorts(mechanism: Mechanism, rounds: int, settings: PrivacySettings) -> int:
    """The least size that no cohort of the run outgrows, but for a chance that `_CAP_SHARE` of delta covers.

    A run whose cohorts are cut at the cap differs from one whose are not with probability p at most, in either of two
    neighbouring worlds; that adds (1 + e^epsilon) p to delta.
    """
    budget = _CAP_SHARE * settings.delta / (1 + math.exp(settings.epsilon)) / rounds
    return int(min(mechanism.clients, binom.isf(budget, mechanism.clients, mechanism.sampling_rate)))

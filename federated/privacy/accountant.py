"""How much privacy a number of rounds costs: epsilon at a fixed delta.

``noise_multiplier`` is everywhere sigma / C: the standard deviation of the noise on the *sum* of the clients' updates
over the norm C that each update is clipped to. What it is worth depends on how clients are chosen, and each way of
choosing has a neighbouring relation of its own. Their epsilons answer different questions: never put two of them on one
axis.

=========  =======================================  =========================================  ======================
sampling   a cohort is                              neighbours differ by                       computed by
=========  =======================================  =========================================  ======================
poisson    each client by a coin of q = K / N       one client more or less                    PLD
fixed      K of N clients, without replacement      one client replaced: up to 2C apart, so    RDP
                                                    that the noise counts half
tree       the next K clients of a shuffled order   one client replaced by one that sends 0    RDP, binary tree
local      anything: each client adds the noise     one client replaced: 2C apart              the Gaussian's own curve
=========  =======================================  =========================================  ======================

Sources: Koskela et al., 2020 (https://arxiv.org/abs/1906.03049) for PLD; Wang et al., 2019
(https://arxiv.org/abs/1808.00087) for RDP of samples without replacement; Kairouz et al., 2021
(https://arxiv.org/abs/2103.00039) for the tree. The computations are those of the library ``dp_accounting``.
"""

import dp_accounting
import numpy as np
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from dp_accounting.privacy_accountant import NeighboringRelation
from dp_accounting.rdp import RdpAccountant
from msgspec import Struct
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr

from federated.errors import PrivacyError
from federated.privacy.settings import Sampling

RELATIONS: dict[Sampling, str] = {
    "poisson": "add or remove one client",
    "fixed": "replace one client",
    "tree": "replace one client by one that sends nothing",
    "local": "replace one client, against the server itself",
}
ACCOUNTANTS: dict[Sampling, str] = {"poisson": "PLD", "fixed": "RDP", "tree": "RDP", "local": "exact"}

_PLD_INTERVAL = 1e-3
"""PLD rounds losses up to multiples of this: still an upper bound, 5e-5 above the finest at epsilon 3.5, in 1/30 of
the time."""
_EXACT_ROUNDS = 128
"""So many points of a curve are computed. Between two of them a round is charged as the later one."""
_LEAST_NOISE, _MOST_NOISE = 0.2, 1e5
"""Below, PLD takes minutes, and what it could promise is void; above, no model is left."""
_NOISE_TOLERANCE = 1e-4
"""Relative. The solution is moved up by it, to the side of privacy."""


class Mechanism(Struct, frozen=True, kw_only=True):
    """Which clients meet in a round, and how often."""

    sampling: Sampling
    clients: int
    """N, everybody who could be chosen."""
    cohort: int
    """K, expected for ``poisson``, exact otherwise."""

    @property
    def sampling_rate(self) -> float:
        """Q."""
        return self.cohort / self.clients

    @property
    def tree_rounds(self) -> int:
        """Rounds of one pass over all clients, which is one tree."""
        return self.clients // self.cohort


def compute_epsilon(mechanism: Mechanism, noise_multiplier: float, *, rounds: int, delta: float) -> float:
    """Epsilon at `delta` after `rounds` rounds."""
    return float(compute_epsilons(mechanism, noise_multiplier, rounds=[rounds], delta=delta)[0])


def compute_curve(mechanism: Mechanism, noise_multiplier: float, *, rounds: int, delta: float) -> NDArray[np.float64]:
    """What has been spent after each round: `[rounds + 1]`, the first of them 0, never falling.

    Exact at the last round and at up to `_EXACT_ROUNDS` others; too high between them, never too low.
    """
    points = np.unique(np.ceil(np.linspace(0, rounds, min(rounds, _EXACT_ROUNDS) + 1)).astype(int))[1:]
    epsilons = compute_epsilons(mechanism, noise_multiplier, rounds=points.tolist(), delta=delta)
    later = np.searchsorted(points, np.arange(1, rounds + 1))
    # The accountants' own rounding can make a curve fall in its last digits.
    return np.concatenate([[0.0], np.maximum.accumulate(epsilons)[later]])


def solve_noise(mechanism: Mechanism, *, rounds: int, epsilon: float, delta: float) -> float:
    """The least noise multiplier with which `rounds` rounds stay within (`epsilon`, `delta`).

    Raises:
        PrivacyError: no amount of noise in reason is enough, or next to none is.
    """

    def excess(log_noise: float) -> float:
        return compute_epsilon(mechanism, float(np.exp(log_noise)), rounds=rounds, delta=delta) - epsilon

    low, high = np.log(_LEAST_NOISE), np.log(_MOST_NOISE)
    # Doubling from 1 keeps away from the slow end, where PLD's tables grow.
    upper = 0.0
    while excess(upper) > 0:
        upper += np.log(2)
        if upper > high:
            raise PrivacyError(
                f"epsilon {epsilon:g} at delta {delta:g} cannot be kept over {rounds} rounds, whatever the noise. "
                "Give a larger --epsilon or fewer --rounds."
            )
    lower = upper - np.log(2)
    while excess(lower) <= 0:
        upper, lower = lower, lower - np.log(2)
        if lower < low:
            raise PrivacyError(
                f"epsilon {epsilon:g} needs next to no noise over {rounds} rounds, and promises next to nothing. "
                "Give a smaller --epsilon, or train without it."
            )
    root = float(brentq(excess, lower, upper, xtol=_NOISE_TOLERANCE / 4))
    noise = float(np.exp(root + _NOISE_TOLERANCE))
    while compute_epsilon(mechanism, noise, rounds=rounds, delta=delta) > epsilon:
        noise *= 1 + _NOISE_TOLERANCE
    return noise


def compute_epsilons(
    mechanism: Mechanism, noise_multiplier: float, *, rounds: list[int], delta: float
) -> NDArray[np.float64]:
    """Epsilon at `delta` after each of `rounds` rounds, `[len(rounds)]`."""
    z = noise_multiplier
    if mechanism.sampling == "tree":
        return np.array([_tree_epsilon(mechanism.tree_rounds, z, count, delta) for count in rounds])
    if mechanism.sampling == "fixed":
        event = dp_accounting.SampledWithoutReplacementDpEvent(
            mechanism.clients, mechanism.cohort, dp_accounting.GaussianDpEvent(z / 2)
        )
        return _compose_rdp(event, NeighboringRelation.REPLACE_ONE, rounds, delta)
    if mechanism.sampling == "local":
        # Gaussians compose into a Gaussian. Nothing keeps a client from being chosen in every round.
        return np.array([_gaussian_epsilon(z / 2 / np.sqrt(count), delta) for count in rounds])
    one = from_gaussian_mechanism(z, value_discretization_interval=_PLD_INTERVAL, sampling_prob=mechanism.sampling_rate)
    return np.array([one.self_compose(count).get_epsilon_for_delta(delta) for count in rounds])


def _gaussian_epsilon(z: float, delta: float) -> float:
    """Balle and Wang, 2018, theorem 8 (https://arxiv.org/abs/1805.06530), solved for epsilon."""

    def excess(epsilon: float) -> float:
        return float(ndtr(0.5 / z - epsilon * z) - np.exp(epsilon + log_ndtr(-0.5 / z - epsilon * z))) - delta

    # The loss is Gaussian with mean 1 / 2z^2 and deviation 1 / z: forty of them away no delta of interest is left.
    return float(brentq(excess, 0.0, 0.5 / z**2 + 40 / z)) if excess(0.0) > 0 else 0.0


def _compose_rdp(
    event: dp_accounting.DpEvent, relation: NeighboringRelation, rounds: list[int], delta: float
) -> NDArray[np.float64]:
    one = RdpAccountant(neighboring_relation=relation).compose(event)
    return np.array([dp_accounting.rdp.compute_epsilon(one.orders, one.rdp * count, delta)[0] for count in rounds])


def _tree_epsilon(tree_rounds: int, z: float, rounds: int, delta: float) -> float:
    trees, rest = divmod(rounds, tree_rounds)
    # One event may only hold trees that no client meets twice; here every client is once in each tree: they add up.
    steps = [tree_rounds] * trees + [rest] * bool(rest)
    event = dp_accounting.ComposedDpEvent(
        [dp_accounting.SingleEpochTreeAggregationDpEvent(z, count) for count in steps]
    )
    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_SPECIAL).compose(event)
    return float(accountant.get_epsilon(delta))

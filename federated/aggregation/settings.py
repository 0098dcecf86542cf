"""How a run combines its clients' updates, and which ways go together.

A combination that cannot keep what one of its parts promises is refused by name, see `REFUSED`.
"""

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

from federated.errors import AggregationError
from federated.privacy.settings import Sampling

Combine = Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]

Feature = Literal[
    "secure sum",
    "robust mean",
    "8-bit updates",
    "no clipping",
    "adaptive clipping",
    "differential privacy",
    "tree noise",
    "local noise",
]

REFUSED: dict[tuple[Feature, Feature], str] = {
    ("secure sum", "robust mean"): "an order statistic has to see every update, and a secure sum hides them",
    ("secure sum", "8-bit updates"): "each client's levels have a scale of their own, so masked levels cannot be added",
    ("secure sum", "local noise"): "noise has no bound, so the sum could overflow its modulus",
    ("secure sum", "no clipping"): "only clipped updates have a bound, so the sum could overflow its modulus",
    (
        "differential privacy",
        "robust mean",
    ): "the noise is made for what one client moves in a sum, not in a median",
    ("differential privacy", "8-bit updates"): "rounding at random can make an update longer than its clip",
    ("differential privacy", "no clipping"): "without a bound no amount of noise hides a client",
    ("tree noise", "adaptive clipping"): "the count that moves the bound is not in the tree",
    ("local noise", "adaptive clipping"): "whether an update was clipped would leave the client without noise",
    ("adaptive clipping", "robust mean"): "the count that moves the bound comes from the sum",
    ("adaptive clipping", "no clipping"): "there is no bound to begin with",
}
"""Pairs of features that are refused, each with its reason. What is not in the table works, and is tested."""


_ROUNDING = 1e-9
"""Far above what is lost in a product of a share and a number of clients, far below a client."""


class AggregationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From the clients' updates to one."""

    combine: Combine = "mean"
    """``mean`` is weighted; the others ask each client once, whatever its weight, and resist some liars."""
    liars: Annotated[float, Meta(ge=0, lt=0.5)] = 0.2
    """For ``trimmed_mean``, ``krum`` and ``multi_krum``: the share of a cohort that may send anything. Some cohorts
    hold more liars than their share of all clients: where 20 of 100 lie, 40 cohorts of 25 meet up to 10 at once."""
    weighted: bool = True
    """Clients count by their examples; under differential privacy each counts once."""
    clip: Annotated[float, Meta(ge=0)] = 0.0
    """Longest L2 norm of an update, over all leaves together; longer ones are scaled down. 0: no clipping."""
    clip_quantile: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Above 0 the clip adapts until this share of the updates is not clipped; `clip` is where it begins."""
    eight_bits: bool = False
    """Each leaf is sent in 255 levels, rounded at random so that its mean is right."""
    secure_sum: bool = False
    """The server learns the sum of fixed-point updates and of their weights, and no single one."""
    secure_threshold: Annotated[float, Meta(gt=0.5, le=1)] = 2 / 3
    """This share of a cohort has to arrive, or its sum stays masked and the round is given up."""
    weight_cap: Annotated[int, Meta(ge=1, le=2**16)] = 1_024
    """In a secure sum no client counts for more: heavier ones would cost everybody's precision."""


def list_features(settings: AggregationSettings, privacy: Sampling | None) -> set[Feature]:
    """What a run uses of what can contradict something else."""
    found: dict[Feature, bool] = {
        "secure sum": settings.secure_sum,
        "robust mean": settings.combine != "mean",
        "8-bit updates": settings.eight_bits,
        "no clipping": not settings.clip,
        "adaptive clipping": settings.clip_quantile > 0,
        "differential privacy": privacy is not None,
        "tree noise": privacy == "tree",
        "local noise": privacy == "local",
    }
    return {feature for feature, used in found.items() if used}


def check_combination(settings: AggregationSettings, privacy: Sampling | None) -> None:
    """Refuses what does not go together.

    Args:
        settings: of the run.
        privacy: how it samples under differential privacy; None without.

    Raises:
        AggregationError: two features are in `REFUSED`.
    """
    features = list_features(settings, privacy)
    for (first, second), reason in REFUSED.items():
        if {first, second} <= features:
            raise AggregationError(f"{first} and {second} do not go together: {reason}. Change [aggregation].")


def count_liars(share: float, clients: int) -> int:
    """The most whole clients that are no more than `share`, below a half, of `clients`, at least 1."""
    # 0.29 x 100 is 28.999999999999996 in binary; and what is added must not make half of them liars.
    return min(math.floor(share * clients + _ROUNDING), (clients - 1) // 2)


def krum_minimum(liars: int) -> int:
    """Least number of clients among which Krum withstands `liars`: 2 f + 2 < K, the condition of its theorem."""
    return 2 * liars + 3


def check_cohort(settings: AggregationSettings, clients: int) -> None:
    """Refuses what even a cohort that is complete could not do.

    Args:
        settings: of the run.
        clients: a round's, where all of them answer.

    Raises:
        AggregationError: Krum needs more.
    """
    least = krum_minimum(count_liars(settings.liars, clients))
    if settings.combine in ("krum", "multi_krum") and clients < least:
        raise AggregationError(
            f"{settings.combine} against {settings.liars:.0%} liars needs at least {least} clients in a round, not "
            f"{clients}. Raise training.clients_per_round, or lower aggregation.liars."
        )

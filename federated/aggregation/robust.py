"""Means that a minority of liars cannot move far: order statistics and distances over the updates of a cohort.

``updates`` is float `[K, D]` with a row for each client, K at least 1. Each client counts once, and the order of the
rows does not matter but for exact ties. f is the number of rows that may be anything.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from federated.aggregation.settings import AggregationSettings, count_liars, krum_minimum
from federated.errors import AbortedRoundError

Matrix = NDArray[np.floating]

_ITERATIONS = 200
_TOLERANCE = 1e-11
"""Relative to the updates' spread; Weiszfeld's steps shrink geometrically."""


def combine_robustly(updates: Matrix, settings: AggregationSettings) -> Matrix:
    """One update `[D]` out of many, as `AggregationSettings.combine` says.

    Raises:
        AbortedRoundError: Krum needs more clients than there are.
    """
    liars = count_liars(settings.liars, len(updates))
    functions: dict[str, Callable[[], Matrix]] = {
        "median": lambda: np.median(updates, axis=0),
        "trimmed_mean": lambda: trimmed_mean(updates, liars),
        "krum": lambda: krum(updates, liars, chosen=1),
        "multi_krum": lambda: krum(updates, liars, chosen=len(updates) - liars),
        "geometric_median": lambda: geometric_median(updates),
    }
    return functions[settings.combine]()


def trimmed_mean(updates: Matrix, liars: int) -> Matrix:
    """Mean of each coordinate without its `liars` smallest and largest values; `liars` is below K / 2.

    Source: Yin et al., 2018 (https://arxiv.org/abs/1803.01498).
    """
    return np.sort(updates, axis=0)[liars : len(updates) - liars].mean(axis=0)


def krum(updates: Matrix, liars: int, *, chosen: int) -> Matrix:
    """Mean of the `chosen` updates that lie nearest to their K - f - 2 nearest neighbours.

    Source: Blanchard et al., 2017 (https://arxiv.org/abs/1703.02757); Krum chooses one, Multi-Krum several.

    Raises:
        AbortedRoundError: K is below `krum_minimum`.
    """
    clients = len(updates)
    if clients < (least := krum_minimum(liars)):
        raise AbortedRoundError(
            f"Krum against {liars} liars needs at least {least} clients in a round; {clients} arrived."
        )
    # Differences, not |x|^2 + |y|^2 - 2xy: beside one huge update that formula loses all that tells the others apart.
    distances = np.stack([np.square(updates - update).sum(axis=1, dtype=np.float64) for update in updates])
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, : clients - liars - 2]
    best = np.argsort(nearest.sum(axis=1), kind="stable")[:chosen]
    return updates[best].mean(axis=0)


def geometric_median(updates: Matrix) -> Matrix:
    """The point with the least sum of distances to all updates, by Weiszfeld's iteration.

    Source: Pillutla et al., 2022 (https://arxiv.org/abs/1912.13445); smoothed as there, so that a point that meets an
    update does not divide by 0. It begins at the coordinate-wise median, which liars cannot carry away either.
    """
    rows = updates.astype(np.float64)
    point = np.median(rows, axis=0)
    spread = float(np.median(np.linalg.norm(rows - point, axis=1)))
    if spread == 0:
        return point
    for _ in range(_ITERATIONS):
        weights = 1 / np.maximum(np.linalg.norm(rows - point, axis=1), _TOLERANCE * spread)
        following = weights @ rows / weights.sum()
        moved = float(np.linalg.norm(following - point))
        point = following
        if moved <= _TOLERANCE * spread:
            break
    return point

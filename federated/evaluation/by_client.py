"""How a model does for each client: a mean over all examples hides those it serves badly.

Jain's index of fairness of values x is (sum x)^2 / (n sum x^2): 1 if all are equal, 1/n if one has everything (Jain,
Chiu and Hawe, 1984).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORST_SHARE = 0.1


class Fairness(NamedTuple):
    """Spread of one figure over clients."""

    clients: int
    p5: float
    p50: float
    p95: float
    worst_decile: float
    """Mean of the worst tenth of the clients, rounded up."""
    jain: float
    """1 if all clients are served alike; 0 if nobody is served at all."""


def accuracy_by_client(
    owner: NDArray[np.integer], truth: NDArray[np.integer], predicted: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Accuracy of each client that has an example.

    Args:
        owner: client of each example, `[N]`.
        truth: class of each example, `[N]`.
        predicted: class that the model gave, `[N]`.
    """
    examples = np.bincount(owner)
    hits = np.bincount(owner, weights=truth == predicted)
    return hits[examples > 0] / examples[examples > 0]


def spread(values: NDArray[np.floating]) -> Fairness:
    """Describes the clients' values, `[K]`, K >= 1; larger ones are better."""
    p5, p50, p95 = np.quantile(values, [0.05, 0.5, 0.95])
    worst = np.sort(values)[: int(np.ceil(WORST_SHARE * len(values)))]
    squares = len(values) * np.square(values).sum()
    return Fairness(
        clients=len(values),
        p5=float(p5),
        p50=float(p50),
        p95=float(p95),
        worst_decile=float(worst.mean()),
        jain=float(values.sum() ** 2 / squares) if squares else 0.0,
    )

"""How different the clients are: in size, and in what their labels are.

The distance between a client's labels and everybody's is the total variation distance, half the sum of the absolute
differences of the shares: the share of its examples that would have to change their label to look like the whole.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from federated.data.partition import Assignment


class Spread(Struct, frozen=True):
    """Quantiles over clients."""

    min: float
    p5: float
    p50: float
    p95: float
    max: float


class Heterogeneity(Struct, frozen=True, kw_only=True):
    """The figures of a partition."""

    clients: int
    examples: int
    sizes: Spread
    """Examples of a client."""
    size_gini: float
    """0: all clients have as many examples; towards 1: one has all."""
    labels: Spread
    """Different labels that a client has."""
    one_label_clients: float
    """Share of the clients whose examples all have one label."""
    label_distance: Spread
    """Total variation distance, see the module."""
    mean_label_distance: float
    """The same, weighted by the clients' sizes."""


def count_labels(assignment: Assignment, labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Examples of each client with each label, `[K, C]`.

    Args:
        assignment: who owns what.
        labels: class of each example, indexed by the assignment's rows.
    """
    classes = int(labels.max(initial=-1)) + 1
    cells = assignment.owners() * classes + labels[assignment.rows]
    return np.bincount(cells, minlength=len(assignment.sizes) * classes).reshape(-1, classes)


def measure(counts: NDArray[np.int64]) -> Heterogeneity:
    """Describes clients by how many examples of each label they have, `[K, C]`; each has at least one."""
    sizes = counts.sum(axis=1)
    shares = counts / sizes[:, np.newaxis]
    distance = np.abs(shares - counts.sum(axis=0) / counts.sum()).sum(axis=1) / 2
    kinds = (counts > 0).sum(axis=1)
    return Heterogeneity(
        clients=len(counts),
        examples=int(counts.sum()),
        sizes=_spread(sizes),
        size_gini=_gini(sizes),
        labels=_spread(kinds),
        one_label_clients=float((kinds == 1).mean()),
        label_distance=_spread(distance),
        mean_label_distance=float(np.average(distance, weights=sizes)),
    )


def _spread(values: NDArray[np.number]) -> Spread:
    return Spread(*np.quantile(values, [0, 0.05, 0.5, 0.95, 1]).tolist())


def _gini(sizes: NDArray[np.int64]) -> float:
    """Mean absolute difference of two clients, over twice the mean size."""
    ranks = np.arange(1, len(sizes) + 1)
    return float(2 * (ranks * np.sort(sizes)).sum() / (len(sizes) * sizes.sum()) - (len(sizes) + 1) / len(sizes))

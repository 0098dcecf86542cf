"""Ways to deal examples out to simulated clients.

Each takes the label of each example, int `[N]`, and returns the examples in the order in which they are dealt, with the
client that gets each: two arrays `[N]`. A client may get nothing.
"""

import numpy as np
from numpy.typing import NDArray

from federated.errors import DataError

Dealt = tuple[NDArray[np.integer], NDArray[np.integer]]


def iid(labels: NDArray[np.integer], clients: int, random: np.random.Generator) -> Dealt:
    """At random, in shares that differ by at most one example."""
    return random.permutation(len(labels)), _even(len(labels), clients)


def dirichlet(labels: NDArray[np.integer], clients: int, alpha: float, random: np.random.Generator) -> Dealt:
    """For each label, draws the clients' shares from a symmetric Dirichlet distribution.

    Source: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", 2019, section 4.
    """
    rows, owners = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        rows.append(members)
        owners.append(_shares(len(members), random.dirichlet(np.full(clients, alpha))))
    return np.concatenate(rows), np.concatenate(owners)


def quantity(labels: NDArray[np.integer], clients: int, alpha: float, random: np.random.Generator) -> Dealt:
    """At random, in shares drawn from a symmetric Dirichlet distribution: sizes differ, the mix of labels does not.

    Source: Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", 2022, section 4.3.
    """
    return random.permutation(len(labels)), _shares(len(labels), random.dirichlet(np.full(clients, alpha)))


def pathological(labels: NDArray[np.integer], clients: int, labels_each: int, random: np.random.Generator) -> Dealt:
    """Each client gets `labels_each` different labels, and an even share of the examples of each of them.

    Source: Li et al., 2022, section 4.1 ("quantity-based label imbalance"). Unlike there, no label is left without a
    client: they are handed out in turns.

    Raises:
        DataError: there are too few labels for a client, or too few clients for the labels.
    """
    kinds = np.unique(labels)
    if labels_each > len(kinds) or clients * labels_each < len(kinds):
        raise DataError(
            f"{clients} clients of {labels_each} labels each cannot share {len(kinds)} labels out. Change "
            "data.partition.clients or data.partition.labels_per_client."
        )
    # Turns through the labels in one shuffled order: consecutive ones differ, so a client never gets one twice.
    turns = np.tile(random.permutation(kinds), -(-clients * labels_each // len(kinds)))[: clients * labels_each]
    holders = random.permutation(clients)[np.arange(len(turns)) // labels_each]
    rows, owners = [], []
    for kind in kinds:
        members = random.permutation(np.flatnonzero(labels == kind))
        having = holders[turns == kind]
        rows.append(members)
        owners.append(having[_even(len(members), len(having))])
    return np.concatenate(rows), np.concatenate(owners)


def shard(labels: NDArray[np.integer], clients: int, shards_each: int, random: np.random.Generator) -> Dealt:
    """Sorts by label, cuts into even shards, and gives each client `shards_each` of them at random.

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017, part 3.
    """
    shuffled = random.permutation(len(labels))
    rows = shuffled[np.argsort(labels[shuffled], kind="stable")]
    holders = random.permutation(clients * shards_each) // shards_each
    return rows, holders[_even(len(labels), clients * shards_each)]


def _even(examples: int, parts: int) -> NDArray[np.integer]:
    """Part of each example, `[N]`, in parts that differ by at most one; the first ones are the larger."""
    least, larger = divmod(examples, parts)
    return np.repeat(np.arange(parts), least + (np.arange(parts) < larger))


def _shares(examples: int, shares: NDArray[np.floating]) -> NDArray[np.integer]:
    """Part of each example, `[N]`, in parts as large as `shares`, which sum to 1."""
    # Rounding the running sum, not each share, loses and doubles nothing.
    cuts = np.rint(np.cumsum(shares)[:-1] * examples).astype(int)
    return np.repeat(np.arange(len(shares)), np.diff(cuts, prepend=0, append=examples))

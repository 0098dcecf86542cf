"""Who owns which example.

Each partitioner takes examples and returns one list for each client. Every example is in exactly one list, and no list
is empty: a client that would own nothing is left out, so there may be fewer clients than were asked for.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from federated.data.examples import Example
from federated.errors import DataError

Clients = list[list[Example]]

MAX_CLIENTS = 1_000_000
"""Each takes memory, though it own nothing: a slip of the hand must not take all."""


class PartitionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How examples are dealt out."""

    by: Literal["client", "iid", "dirichlet"] = "client"
    """``client``: as the data says; ``iid``: at random; ``dirichlet``: at random, with a skew in the labels."""
    clients: Annotated[int, Meta(ge=1, le=MAX_CLIENTS)] = 50
    """For ``iid`` and ``dirichlet``: how many clients to simulate."""
    alpha: Annotated[float, Meta(ge=1e-3, le=1e6)] = 1.0
    """For ``dirichlet``: concentration; small values give each client few labels, large ones come near ``iid``. At far
    smaller ones NumPy draws for ever, far larger ones it cannot add up."""


def partition(examples: Sequence[Example], settings: PartitionSettings, *, seed: int) -> Clients:
    """Deals `examples` out as `settings` say.

    Raises:
        DataError: an example does not name its client.
    """
    if settings.by == "client":
        return by_client(examples)
    if settings.by == "iid":
        return iid(examples, settings.clients, seed)
    return dirichlet(examples, settings.clients, settings.alpha, seed)


def by_client(examples: Sequence[Example]) -> Clients:
    """Groups by the client that each example names, in order of first appearance.

    Raises:
        DataError: an example does not name its client.
    """
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if example.client is None:
            missing = sum(other.client is None for other in examples)
            raise DataError(
                f"{missing} of {len(examples)} examples name no client. Name the client column, "
                "or partition by iid or dirichlet."
            )
        groups.setdefault(example.client, []).append(example)
    return list(groups.values())


def iid(examples: Sequence[Example], clients: int, seed: int) -> Clients:
    """Deals out at random, in shares that differ by at most one example."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [[examples[i] for i in part] for part in np.array_split(order, clients) if part.size]


def dirichlet(examples: Sequence[Example], clients: int, alpha: float, seed: int) -> Clients:
    """For each label, draws the clients' shares from a symmetric Dirichlet distribution.

    Source: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", 2019, section 4.
    """
    random = np.random.default_rng(seed)
    labels = np.array([example.label for example in examples])
    owned: list[list[Example]] = [[] for _ in range(clients)]
    for label in sorted(set(labels.tolist())):
        members = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(clients, alpha))
        # Rounding the running sum, not each share, loses and doubles nothing.
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for client, part in zip(owned, np.split(members, cuts), strict=True):
            client.extend(examples[i] for i in part)
    return [client for client in owned if client]

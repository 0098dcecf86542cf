"""Clients that lie, to see what an aggregation withstands.

==============  ==============================================================================
label flip      trains on labels counted from the other end: of C classes, c becomes C - 1 - c
sign flip       sends its honest update with the opposite sign
scaled update   sends its honest update many times as long
==============  ==============================================================================

A scaled update of flipped labels is what backdoors are made of (Bagdasaryan et al., 2020,
https://arxiv.org/abs/1807.00459), and the hardest of these on a plain mean.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from federated.algorithms.definition import Aggregation, CohortResult, Leaves, State
from federated.data.clients import ClientDataset


class AttackSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which clients lie, and how. For experiments only."""

    share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of all clients."""
    label_flip: bool = False
    factor: Annotated[float, Meta(ge=-1e6, le=1e6)] = 1.0
    """What a liar multiplies its update by: -1 is a sign flip, 10 a scaled update."""


def choose_liars(clients: int, share: float, *, seed: int) -> frozenset[int]:
    """The nearest number to `share` of the clients, drawn at random."""
    random = np.random.default_rng([seed, clients])
    return frozenset(random.choice(clients, size=round(share * clients), replace=False).tolist())


def flip_labels(clients: Sequence[ClientDataset], liars: frozenset[int], *, classes: int) -> list[ClientDataset]:
    """The clients with the labels of the liars flipped."""
    return [
        client._replace(label=classes - 1 - client.label) if index in liars else client
        for index, client in enumerate(clients)
    ]


class AttackedAggregation:
    """An aggregation some of whose clients multiply their updates before it begins.

    Implements `federated.algorithms.definition.Aggregation`.
    """

    def __init__(
        self, honest: Aggregation, liars: frozenset[int], factor: float, *, dtype: type[np.floating[Any]] = np.float32
    ) -> None:
        """
        Args:
            honest: what the server runs, and what all other clients follow.
            liars: indices of clients.
            factor: see `AttackSettings`.
            dtype: of the update's leaves.
        """
        self._honest = honest
        self._liars = liars
        self._factor = factor
        self._dtype = dtype
        self.stacked = honest.stacked
        self.sampling = honest.sampling

    def broadcast(self, number: int) -> Leaves:
        """As `honest`."""
        return self._honest.broadcast(number)

    def local(self, number: int, clients: Sequence[int], *, silent: int = 0) -> list[Leaves]:
        """As `honest`, and before it the client's factor."""
        factors = [np.array(self._factor if client in self._liars else 1.0, self._dtype) for client in clients]
        honest = self._honest.local(number, clients, silent=silent)
        return [[factor, *leaves] for factor, leaves in zip(factors, honest, strict=True)]

    def client(self, update: Any, weight: Any, broadcast: Any, local: Any) -> tuple[Any, Any, Mapping[str, Any]]:
        """As `honest`, on an update that may be a lie."""
        factor, *leaves = local
        return self._honest.client([leaf * factor for leaf in update], weight, broadcast, leaves)

    def server(self, result: CohortResult, number: int) -> Leaves:
        """As `honest`."""
        return self._honest.server(result, number)

    def state(self) -> State:
        """As `honest`."""
        return self._honest.state()

    def restore(self, state: State) -> None:
        """As `honest`."""
        self._honest.restore(state)

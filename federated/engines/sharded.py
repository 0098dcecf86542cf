"""What the engines of micro-shards share: each micro-shard gets its slots' part, and the results are added in order."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from federated.algorithms.definition import CohortResult, Leaves
from federated.engines.cohort import CLIENTS, Cohort, MicroShard, Shapes, cut
from federated.engines.shard_program import ShardResult

Own = tuple[Leaves, Leaves]
"""What the slots of a micro-shard have each for itself, slot as axis 0: client states and the aggregation's part."""


class ShardedEngine(ABC):
    """Implements `federated.engines.cohort.Engine` but for who computes the micro-shards."""

    def __init__(self, shapes: Shapes) -> None:
        """
        Args:
            shapes: of the micro-shards.
        """
        self._shapes = shapes

    def pack(self, cohort: Cohort) -> list[MicroShard]:
        """Implements `Engine`."""
        return cut(cohort, self._shapes)

    def run(
        self,
        packed: list[MicroShard],
        *,
        broadcasts: tuple[Leaves, Leaves],
        client_states: list[Leaves],
        local: list[Leaves],
    ) -> CohortResult:
        """Implements `Engine`."""
        slots = [slice(start, start + CLIENTS) for start in range(0, CLIENTS * len(packed), CLIENTS)]
        own = [(_stack(client_states[part]), _stack(local[part])) for part in slots]
        return _add_up(self.compute(broadcasts, own, packed), packed)

    @abstractmethod
    def compute(
        self, broadcasts: tuple[Leaves, Leaves], own: Sequence[Own], packed: Sequence[MicroShard]
    ) -> Iterable[ShardResult]:
        """Computes the micro-shards, in any order.

        Args:
            broadcasts: the algorithm's and the aggregation's, for all of them.
            own: of each.
            packed: the micro-shards.

        Returns:
            Their results, in the order of `packed`.
        """


def _stack(leaves: list[Leaves]) -> Leaves:
    """Leaves of up to `CLIENTS` slots -> leaves with the slot as axis 0, padded with zeros."""
    padding = [[np.zeros_like(leaf) for leaf in leaves[0]]] * (CLIENTS - len(leaves))
    return [np.stack(slots) for slots in zip(*leaves, *padding, strict=True)]


def _add_up(results: Iterable[ShardResult], packed: Sequence[MicroShard]) -> CohortResult:
    """Adds micro-shards up in the order that they come in."""
    total: Leaves = []
    stack, states, metrics = [], [], {}
    weights = [np.zeros(0, np.float32)]
    for result, shard in zip(results, packed, strict=True):
        taken = int(shard.clients)
        total = [old + new for old, new in zip(total, result.total, strict=True)] if total else result.total
        stack += [leaf[:taken] for leaf in result.stack]
        weights.append(result.weights[:taken])
        states += [[leaf[slot] for leaf in result.client_states] for slot in range(taken)]
        for name, value in result.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + float(value)
    return CohortResult(total, np.concatenate(stack) if stack else None, np.concatenate(weights), states, metrics)

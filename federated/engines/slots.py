"""Between slots and micro-shards: what each client gets, stacked; what each micro-shard gives back, added up."""

from collections.abc import Iterable

import numpy as np

from federated.algorithms.definition import CohortResult, Leaves
from federated.engines.cohort import CLIENTS, MicroShard
from federated.engines.shard_program import ShardResult


def add_up(results: Iterable[ShardResult], packed: list[MicroShard]) -> CohortResult:
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


def list_slots(packed: list[MicroShard]) -> list[slice]:
    """The slots of each micro-shard."""
    return [slice(start, start + CLIENTS) for start in range(0, CLIENTS * len(packed), CLIENTS)]


def stack_slots(leaves: list[Leaves]) -> Leaves:
    """Leaves of up to `CLIENTS` slots -> leaves with the slot as axis 0, padded with zeros."""
    padding = [[np.zeros_like(leaf) for leaf in leaves[0]]] * (CLIENTS - len(leaves))
    return [np.stack(slots) for slots in zip(*leaves, *padding, strict=True)]

"""A round without training: the clients' updates are given. For audits, and for an aggregation on its own."""

from collections.abc import Sequence

import numpy as np

from federated.algorithms.definition import Aggregation, CohortResult, Leaves


def aggregate_vectors(
    aggregation: Aggregation,
    updates: Sequence[Leaves],
    weights: Sequence[float],
    *,
    number: int = 1,
    clients: Sequence[int] | None = None,
    dropped: Sequence[int] = (),
) -> Leaves:
    """What the server makes of `updates`.

    Args:
        aggregation: built with `federated.aggregation.reference`.
        updates: of each client, all of the same shapes.
        weights: of each client.
        number: of the round.
        clients: their indices; default: 0, 1, ...
        dropped: slots whose updates are prepared, but never arrive.
    """
    names = range(len(updates)) if clients is None else clients
    broadcast = aggregation.broadcast(number)
    local = aggregation.local(number, list(names))
    total: Leaves = []
    rows, arrived = [], np.zeros(len(updates))
    for slot, (update, weight) in enumerate(zip(updates, weights, strict=True)):
        prepared, counted, _ = aggregation.client(update, np.asarray(weight, update[0].dtype), broadcast, local[slot])
        if slot in dropped:
            continue
        arrived[slot] = counted
        if aggregation.stacked:
            rows.append(np.concatenate([leaf.ravel() for leaf in prepared]))
        else:
            total = [old + new for old, new in zip(total, prepared, strict=True)] if total else prepared
    stack = np.stack(rows) if rows else None
    return aggregation.server(CohortResult(total, stack, arrived, [[] for _ in updates], {}), number)

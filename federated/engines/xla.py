"""The default engine: each micro-shard of a round is one compiled program, and each core runs one at a time.

XLA's own threads are switched off (`federated/__init__.py`): they would cut a product by how many of them are free, and
two programs side by side keep two cores busier than one program on both. The same seed gives the same weights, bit for
bit, however many threads there are.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from federated.algorithms.definition import Aggregation, Algorithm, CohortResult, Leaves
from federated.engines.client import ClientInput
from federated.engines.cohort import CLIENTS, Cohort, MicroShard, Shapes, cut
from federated.engines.shard_program import ShardResult, build_shard_program

NAME = "xla"


class XlaEngine:
    """Implements `federated.engines.cohort.Engine`. Close it, for its threads."""

    def __init__(
        self, algorithm: Algorithm, aggregation: Aggregation, *, shapes: Shapes, threads: int | None = None
    ) -> None:
        """
        Args:
            algorithm: what the clients do.
            aggregation: what becomes of their updates.
            shapes: of the micro-shards.
            threads: how many micro-shards run at a time; default: one for each core that this process may use.
        """
        self._program = build_shard_program(algorithm, aggregation)
        self._shapes = shapes
        self._threads = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="shard")

    def close(self) -> None:
        """Ends the threads; what they have begun comes to its end."""
        self._threads.shutdown(cancel_futures=True)

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
        inputs = (
            ClientInput(*broadcasts, _stack(client_states[slots]), _stack(local[slots])) for slots in _slots(packed)
        )
        # In slot order, whichever thread is done first.
        return add_up(self._threads.map(self._run_shard, inputs, packed), packed)

    def _run_shard(self, given: ClientInput, shard: MicroShard) -> ShardResult:
        return self._program(given, shard)


def add_up(results: Iterator[ShardResult], packed: list[MicroShard]) -> CohortResult:
    """Adds micro-shards up in the order that they come in."""
    total: Leaves = []
    stack, states, metrics = [], [], {}
    weights = [np.zeros(0, np.float32)]
    for result, shard in zip(results, packed, strict=True):
        taken = int(shard.clients)
        leaves = [leaf.numpy() for leaf in result.total]
        total = [old + new for old, new in zip(total, leaves, strict=True)] if total else leaves
        stack += [leaf.numpy()[:taken] for leaf in result.stack]
        weights.append(result.weights.numpy()[:taken])
        leaves = [leaf.numpy() for leaf in result.client_states]
        states += [[leaf[slot] for leaf in leaves] for slot in range(taken)]
        for name, value in result.metrics.items():
            metrics[name] = metrics.get(name, 0.0) + float(value)
    return CohortResult(total, np.concatenate(stack) if stack else None, np.concatenate(weights), states, metrics)


def _slots(packed: list[MicroShard]) -> Iterator[slice]:
    for start in range(0, CLIENTS * len(packed), CLIENTS):
        yield slice(start, start + CLIENTS)


def _stack(leaves: list[Leaves]) -> Leaves:
    """Leaves of up to `CLIENTS` slots -> leaves with the slot as axis 0, padded with zeros."""
    padding = [[np.zeros_like(leaf) for leaf in leaves[0]]] * (CLIENTS - len(leaves))
    return [np.stack(slots) for slots in zip(*leaves, *padding, strict=True)]

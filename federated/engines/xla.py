"""The default engine: each micro-shard of a round is one compiled program, and each core runs one at a time.

XLA's own threads are switched off (`federated/__init__.py`): they would cut a product by how many of them are free, and
two programs side by side keep two cores busier than one program on both. The same seed gives the same weights, bit for
bit, however many threads there are.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from federated.algorithms.definition import Aggregation, Algorithm, Leaves
from federated.engines.client import ClientInput
from federated.engines.cohort import MicroShard, Shapes
from federated.engines.shard_program import ShardResult, build_shard_program
from federated.engines.sharded import Own, ShardedEngine

NAME = "xla"


class XlaEngine(ShardedEngine):
    """Close it, for its threads."""

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
        super().__init__(shapes)
        self._program = build_shard_program(algorithm, aggregation)
        self._threads = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix="shard")

    @property
    def compiled_shapes(self) -> int:
        """How many shapes of micro-shards it has met, and compiled a program for."""
        return self._program.count_shapes()

    def close(self) -> None:
        """Ends the threads; what they have begun comes to its end."""
        self._threads.shutdown(cancel_futures=True)

    def compute(
        self, broadcasts: tuple[Leaves, Leaves], own: Sequence[Own], packed: Sequence[MicroShard]
    ) -> Iterator[ShardResult]:
        """Implements `ShardedEngine`."""
        # Once, not once for each micro-shard.
        broadcasts = tf.nest.map_structure(tf.convert_to_tensor, broadcasts)
        return self._threads.map(self._program.run, (ClientInput(*broadcasts, *part) for part in own), packed)

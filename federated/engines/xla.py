"""The default engine: each micro-shard of a round is one compiled program, and each core runs one at a time.

XLA's own threads are switched off (`federated/__init__.py`): they would cut a product by how many of them are free, and
two programs side by side keep two cores busier than one program on both. The same seed gives the same weights, bit for
bit, however many threads there are.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import tensorflow as tf

from federated.algorithms.definition import Aggregation, Algorithm, CohortResult, Leaves
from federated.engines.client import ClientInput
from federated.engines.cohort import Cohort, MicroShard, Shapes, cut
from federated.engines.shard_program import build_shard_program
from federated.engines.slots import add_up, list_slots, stack_slots

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
        # Once, not once for each micro-shard.
        broadcasts = tf.nest.map_structure(tf.convert_to_tensor, broadcasts)
        inputs = [
            ClientInput(*broadcasts, stack_slots(client_states[slots]), stack_slots(local[slots]))
            for slots in list_slots(packed)
        ]
        # In slot order, whichever thread is done first.
        return add_up(self._threads.map(self._program, inputs, packed), packed)

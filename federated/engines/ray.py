"""Many machines: the micro-shards of a round on the actors of a Ray cluster.

Each actor holds one core and compiles the same program as `federated.engines.xla`; micro-shards go to whichever actor
is idle, and their results are added in slot order, so the weights are those of that engine, bit for bit, on processors
of one kind. An actor that dies, with its node or alone, is started anew by Ray, elsewhere if need be, and what it was
working on runs again.

The actors build algorithm and aggregation themselves, from a function that is sent to them: what an aggregation keeps
on the server, a noise key above all, stays there.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# Ray would tell its makers that it is used.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayError
from ray.util import ActorPool

from federated.algorithms.definition import Aggregation, Algorithm, Leaves
from federated.engines.client import ClientInput
from federated.engines.cohort import MicroShard, Shapes
from federated.engines.shard_program import ShardResult, build_shard_program
from federated.engines.sharded import Own, ShardedEngine
from federated.errors import EngineError

NAME = "ray"
_CONNECT_SECONDS = 5.0
MAX_RESTARTS = 3
"""Of one actor. More deaths are no accident: mostly there is too little memory, and the next start would die too."""

Parts = tuple[Algorithm, Aggregation]


@contextlib.contextmanager
def connect(address: str) -> Iterator[None]:
    """Joins a Ray cluster until the block ends.

    Args:
        address: of its head node, ``host:port``. There is no default: a node that Ray starts listens on every
            interface and, unless told otherwise, runs what anybody sends, so starting one is left to who runs this. For
            one machine there is `federated.engines.xla`.

    Raises:
        EngineError: there is none.
    """
    host, _, port = address.rpartition(":")
    try:
        # Ray itself would try for minutes.
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RayError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"cannot join a Ray cluster at {address}: {error}. Give host:port of what `ray start --head` started."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


class _ShardActor:
    """One core of the cluster."""

    def __init__(self, build: Callable[[], Parts]) -> None:
        self._program = build_shard_program(*build())

    def run(self, broadcasts: tuple[Leaves, Leaves], own: Own, shard: MicroShard) -> ShardResult:
        """Runs a micro-shard."""
        return self._program.run(ClientInput(*broadcasts, *own), shard)


class RayEngine(ShardedEngine):
    """Use it inside `connect`."""

    def __init__(self, build: Callable[[], Parts], *, shapes: Shapes) -> None:
        """
        Args:
            build: builds what the actors run; it is pickled.
            shapes: of the micro-shards.

        Raises:
            EngineError: the cluster has no core.
        """
        super().__init__(shapes)
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise EngineError("the Ray cluster has no CPU to give. Start its nodes with --num-cpus.")
        actor = ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_RESTARTS)(_ShardActor)
        self.actors = [actor.remote(build) for _ in range(cores)]

    def compute(
        self, broadcasts: tuple[Leaves, Leaves], own: Sequence[Own], packed: Sequence[MicroShard]
    ) -> Iterator[ShardResult]:
        """Implements `ShardedEngine`.

        Raises:
            EngineError: an actor died too often, or cannot run.
        """
        # Once into the cluster's store, not once for each micro-shard.
        shared = ray.put(broadcasts)

        def submit(actor: Any, task: tuple[Own, MicroShard]) -> Any:
            return actor.run.remote(shared, *task)

        try:
            yield from ActorPool(self.actors).map(submit, list(zip(own, packed, strict=True)))
        except RayError as error:
            raise EngineError(f"the Ray cluster could not run a micro-shard: {error}") from error

"""The reference engine: the clients' part of a round in TensorFlow Federated's own runtime.

The broadcasts stand at the server, data, states and what the aggregation gives to single clients at the clients; what
comes back is summed at the server, or stays at the clients where the aggregation asks for each update. It is the same
definition that `federated.engines.xla` compiles, run by TFF's executors, one client after the other.

TFF executes computations in a ``worker_binary``, a separate C++ program that it starts by itself and leaves behind.
This module builds the same execution context from TFF's public parts around a worker that it starts on its own, so
that the worker's life and output are in our hands. The PyPI build of TFF has no executor inside Python, so a context
without that process does not exist.

The worker takes a port and nothing else, and listens on every interface of its network; `federated.jail` keeps
everybody else out.

The same seed gives the same weights, bit for bit, on the same machine with the same library versions: initial weights
and the order of the examples come from outside, and TFF adds the clients' updates up in the order of the cohort.
"""

import contextlib
import subprocess
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from numpy.typing import NDArray

from federated.algorithms.definition import Aggregation, Algorithm, Batches, CohortResult, Leaves
from federated.engines.client import ClientInput, build_client
from federated.engines.cohort import Cohort, Shapes, cut
from federated.errors import EngineError
from federated.process import OwnedServer, own_server

NAME = "tff"
WORKER_BINARY = Path(tff.__file__).parent / "data" / "worker_binary"

_MAX_MESSAGE_BYTES = 2**31 - 1
_START_SECONDS = 60.0
_POLL_SECONDS = 0.25
"""How often to look whether the worker died while it starts."""


@contextlib.contextmanager
def execution_context() -> Iterator[OwnedServer]:
    """Makes TFF execute in a worker of ours, until the block ends.

    Yields:
        The worker.

    Raises:
        EngineError: the worker did not start, or died.
    """
    sizes = [(f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("receive", "send")]
    with (
        own_server([str(WORKER_BINARY), "--max_concurrent_computation_calls=-1"]) as server,
        grpc.insecure_channel(server.target, sizes) as channel,
    ):
        # For good: TFF's own context would start a worker that is in nobody's hands.
        tff.framework.set_default_context(_build_context(channel, server.process))
        _wait_ready(channel, server.process)
        yield server


def _build_context(channel: grpc.Channel, worker: "subprocess.Popen[bytes]") -> tff.framework.SyncExecutionContext:
    """The context that `tff.backends.native.create_sync_local_cpp_execution_context` would build."""
    stub = tff.framework.RemoteExecutorGrpcStub(channel)

    def build_executor(cardinalities: Any) -> tff.framework.RemoteExecutor:
        # TFF retries for ever what fails by connection; a dead worker has to end that.
        if worker.poll() is not None:
            raise EngineError(
                f"TensorFlow Federated's worker process ended with status {worker.returncode}. If that is 137, the "
                "system killed it, mostly for lack of memory: lower training.clients_per_round or the model's sizes."
            )
        executor = tff.framework.RemoteExecutor(stub)
        executor.set_cardinalities({tff.CLIENTS: 0, **cardinalities})
        return executor

    return tff.framework.SyncExecutionContext(
        executor_fn=tff.framework.ResourceManagingExecutorFactory(build_executor),
        compiler_fn=tff.backends.native.desugar_and_transform_to_native,
        transform_args=tff.tensorflow.transform_args,
        transform_result=tff.tensorflow.transform_result,
    )


def _wait_ready(channel: grpc.Channel, worker: "subprocess.Popen[bytes]") -> None:
    ready = grpc.channel_ready_future(channel)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return ready.result(timeout=_POLL_SECONDS)
        except grpc.FutureTimeoutError as error:
            if worker.poll() is not None:
                raise EngineError(
                    f"TensorFlow Federated's worker process ended with status {worker.returncode} as it started."
                ) from error
            if time.monotonic() > deadline:
                raise EngineError(
                    f"TensorFlow Federated's worker process did not listen after {_START_SECONDS:.0f} s. "
                    "Is the machine overloaded?"
                ) from error


class TffEngine:
    """Implements `federated.engines.cohort.Engine`. Use it inside `execution_context`."""

    def __init__(
        self, algorithm: Algorithm, aggregation: Aggregation, *, shapes: Shapes, compiled: bool = False
    ) -> None:
        """
        Args:
            algorithm: what the clients do.
            aggregation: what becomes of their updates.
            shapes: their `batch_size` and longest row are those of the clients' arrays.
            compiled: let XLA compile each client's part, anew for every number of steps; for benches.
        """
        self._shapes = Shapes(shapes.batch_size, shapes.steps, shapes.tokens[-1:])
        self._stacked = aggregation.stacked
        # What is sent around tells its types when there is some: to ask before would charge a private round.
        self._build = partial(_build_computation, algorithm, aggregation, self._shapes, compiled=compiled)
        self._computation: tff.Computation | None = None

    def pack(self, cohort: Cohort) -> list[OrderedDict[str, Any]]:
        """Implements `Engine`."""
        packed = []
        for client, data in zip(cohort.clients, cohort.data, strict=True):
            (shard,) = cut(cohort._replace(clients=[client], data=[data]), self._shapes)
            stop = shard.bounds[1]
            arrays = OrderedDict(token_ids=shard.token_ids[:stop], label=shard.label[:stop], kept=shard.kept[:stop])
            packed.append(OrderedDict(arrays, stop=stop, key=shard.keys[0]))
        return packed

    def run(
        self,
        packed: list[OrderedDict[str, Any]],
        *,
        broadcasts: tuple[Leaves, Leaves],
        client_states: list[Leaves],
        local: list[Leaves],
    ) -> CohortResult:
        """Implements `Engine`."""
        if not packed:
            # TensorFlow Federated takes no cohort of nobody.
            return CohortResult([], None, np.zeros(0, np.float32), [], {})
        if not self._computation:
            self._computation = self._build(*broadcasts, client_states[0], local[0])
        output = self._computation(*broadcasts, client_states, local, packed)
        updates = output["updates"]
        return CohortResult(
            total=[] if self._stacked else [np.asarray(leaf) for leaf in updates],
            stack=np.stack([_flatten(update) for update in updates]) if self._stacked else None,
            weights=np.array(output["weights"]),
            client_states=[[np.asarray(leaf) for leaf in leaves] for leaves in output["client_states"]],
            metrics={name: float(value) for name, value in output["metrics"].items()},
        )


def _flatten(update: Leaves) -> NDArray[Any]:
    return np.concatenate([np.ravel(leaf) for leaf in update])


def _build_computation(
    algorithm: Algorithm,
    aggregation: Aggregation,
    shapes: Shapes,
    *sent: Leaves,
    compiled: bool,
) -> "tff.Computation":
    """The clients' part of a round; `sent`, to one client, tells the types for all."""
    broadcast, shared, own, given = (
        tff.to_type([tff.TensorType(leaf.dtype, leaf.shape) for leaf in leaves]) for leaves in sent
    )
    rows, width = shapes.batch_size, shapes.tokens[-1]
    data = tff.to_type(
        OrderedDict(
            token_ids=tff.TensorType(np.int32, [None, rows, width]),
            label=tff.TensorType(np.int32, [None, rows]),
            kept=tff.TensorType(np.bool_, [None, rows]),
            stop=tff.TensorType(np.int32),
            key=tff.TensorType(np.int32, [3]),
        )
    )
    run_client = tf.function(build_client(algorithm, aggregation), jit_compile=compiled)

    @tff.tensorflow.computation(broadcast, shared, own, given, data)
    def work(broadcast: Any, shared: Any, own: Any, given: Any, data: Any) -> Any:
        features = {"token_ids": data["token_ids"]}
        batches = Batches(features, data["label"], data["kept"], tf.constant(0), data["stop"])
        result = run_client(ClientInput(*map(list, (broadcast, shared, own, given))), batches, data["key"])
        parts = result.update, result.weight, result.client_state, OrderedDict(result.metrics)
        return OrderedDict(zip(("update", "weight", "client_state", "metrics"), parts, strict=True))

    server, clients = tff.SERVER, tff.CLIENTS
    placed = [tff.FederatedType(kind, server) for kind in (broadcast, shared)]
    placed += [tff.FederatedType(kind, clients) for kind in (own, given, data)]

    @tff.federated_computation(*placed)
    def next_cohort(broadcast: Any, shared: Any, own: Any, given: Any, data: Any) -> Any:
        received = [tff.federated_broadcast(value) for value in (broadcast, shared)]
        output = tff.federated_map(work, (*received, own, given, data))
        return OrderedDict(
            updates=output["update"] if aggregation.stacked else tff.federated_sum(output["update"]),
            weights=output["weight"],
            client_states=output["client_state"],
            metrics=tff.federated_sum(output["metrics"]),
        )

    return next_cohort

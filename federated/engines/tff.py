"""The reference engine: weighted FedAvg on TensorFlow Federated.

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff
from numpy.typing import NDArray

from federated.config import TrainingConfig
from federated.data.clients import ClientDataset
from federated.errors import EngineError
from federated.process import OwnedServer, own_server
from worker.features import PAD_ID

NAME = "tff"
WORKER_BINARY = Path(tff.__file__).parent / "data" / "worker_binary"

Weights = list[NDArray[np.float32]]

_SERVER_OPTIMIZERS = {"adam": tff.learning.optimizers.build_adam, "sgd": tff.learning.optimizers.build_sgdm}
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
    """Holds the server's state and advances it by one round at a time. Use it inside `execution_context`."""

    def __init__(self, build_model: Callable[[], tf.keras.Model], *, initial: Weights, config: TrainingConfig) -> None:
        """
        Args:
            build_model: builds the model that clients train, token ids -> logits, anew on each call.
            initial: weights to start from; TFF's own would come from an unseeded initializer in the worker.
            config: optimizers and learning rates.
        """

        def build_variable_model() -> tff.learning.models.VariableModel:
            return tff.learning.models.from_keras_model(
                build_model(),
                loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                input_spec=(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
                metrics=[tf.keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            )

        build_server_optimizer = _SERVER_OPTIMIZERS[config.server_optimizer]
        self._process = tff.learning.algorithms.build_weighted_fed_avg(
            build_variable_model,
            client_optimizer_fn=tff.learning.optimizers.build_sgdm(config.client_learning_rate),
            server_optimizer_fn=build_server_optimizer(config.server_learning_rate),
            # 1.7 to 5 times faster than the default.
            loop_implementation=tff.learning.LoopImplementation.DATASET_ITERATOR,
        )
        self._batch_size = config.batch_size
        weights = tff.learning.models.ModelWeights(trainable=tuple(initial), non_trainable=())
        self._state = self._process.set_model_weights(self._process.initialize(), weights)

    def run_round(self, cohort: Sequence[ClientDataset]) -> dict[str, float]:
        """Trains on the data of each client in `cohort`, in the order that it stands in, and updates the server.

        Returns:
            ``loss`` and ``accuracy`` over the cohort's examples, as the clients saw them while they trained.

        Raises:
            FloatingPointError: an update was left out, because it is not finite.
        """
        output = self._process.next(self._state, [self._dataset(client) for client in cohort])
        self._state = output.state
        metrics = output.metrics["client_work"]["train"]
        # TFF says nothing when it leaves such clients out: their examples are missing, and the loss looks better.
        if metrics["num_examples"] != sum(len(client.label) for client in cohort):
            raise FloatingPointError("the model of a client is not finite")
        if output.metrics["finalizer"]["update_non_finite"]:
            raise FloatingPointError("the mean of the clients' updates is not finite")
        return {name: float(metrics[name]) for name in ("loss", "accuracy")}

    def weights(self) -> Weights:
        """The global model, in Keras's order."""
        return [np.asarray(weight) for weight in self._process.get_model_weights(self._state).trainable]

    def _dataset(self, client: ClientDataset) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(tuple(client)).batch(self._batch_size).map(_trim)


def _trim(token_ids: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts a batch to its longest row: steps over columns of padding are most of the time otherwise."""
    longest = tf.reduce_max(tf.math.count_nonzero(token_ids != PAD_ID, axis=1))
    return token_ids[:, :longest], label

"""What competes: a function that runs one round, from drawing the clients' order to the metrics, for each contestant.

``xla`` and ``tff_packed`` run our definition, the latter compiled client by client in TensorFlow Federated's runtime;
``tff_default`` and ``tff_iterator`` are ``build_weighted_fed_avg`` over ``tf.data``, with its two kinds of loops. All
four train the same pure model.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator

import tensorflow as tf
import tensorflow_federated as tff

from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.mean import WeightedMean
from federated.bench.shapes import BATCH_SIZE, CLASSES, Shape, build_config, draw_clients
from federated.engines.cohort import plan_shapes
from federated.engines.tff import TffEngine
from federated.engines.xla import XlaEngine
from federated.models.block import Model, build_model
from federated.rounds import draw_round
from federated.server import Server

RunRound = Callable[[int], float]
"""Number of the round -> loss over the cohort."""

CONTESTANTS = ("xla", "tff_default", "tff_iterator", "tff_packed")

_LOOPS = {
    "tff_default": tff.learning.LoopImplementation.DATASET_REDUCE,
    "tff_iterator": tff.learning.LoopImplementation.DATASET_ITERATOR,
}


@contextlib.contextmanager
def open_contestant(name: str, shape: Shape) -> Iterator[RunRound]:
    """Builds a contestant; TensorFlow Federated's need `federated.engines.tff.execution_context` around them."""
    config = build_config(shape)
    model = build_model(config.model, vocabulary_size=shape.vocabulary, classes=CLASSES)
    clients = draw_clients(shape)
    if name in _LOOPS:
        yield _build_stock(name, model, shape)
        return
    algorithm, aggregation = build_fed_avg(model.apply, config.training), WeightedMean()
    initial = model.init(config.seed)
    shapes = plan_shapes([shape.examples] * shape.clients, epochs=1, batch_size=BATCH_SIZE, max_tokens=shape.tokens)
    with contextlib.ExitStack() as stack:
        if name == "xla":
            engine = stack.enter_context(contextlib.closing(XlaEngine(algorithm, aggregation, shapes=shapes)))
        else:
            engine = TffEngine(algorithm, aggregation, shapes=shapes, compiled=True)
        server = Server(algorithm, aggregation, engine, initial=initial)

        def run_round(number: int) -> float:
            cohort = draw_round(clients, config, number)
            return server.run_round(cohort, server.pack(cohort))["loss"]

        yield run_round


def _build_stock(name: str, model: Model, shape: Shape) -> RunRound:
    config, clients = build_config(shape), draw_clients(shape)
    process = tff.learning.algorithms.build_weighted_fed_avg(
        _build_functional_model(model, shape),
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(config.training.client_learning_rate),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(config.training.server_learning_rate),
        loop_implementation=_LOOPS[name],
    )
    weights = tff.learning.models.ModelWeights(trainable=tuple(model.init(config.seed)), non_trainable=())
    state = process.set_model_weights(process.initialize(), weights)

    def run_round(number: int) -> float:
        nonlocal state
        cohort = draw_round(clients, config, number)
        # Every batch is full in these shapes.
        data = [tf.data.Dataset.from_tensor_slices(tuple(one)).batch(BATCH_SIZE, True) for one in cohort.data]  # noqa: FBT003
        output = process.next(state, data)
        state = output.state
        return float(output.metrics["client_work"]["train"]["loss"])

    return run_round


def _build_functional_model(model: Model, shape: Shape) -> tff.learning.models.FunctionalModel:
    @tf.function
    def predict(weights: tuple[tuple[tf.Tensor, ...], ...], token_ids: tf.Tensor, training: bool) -> tf.Tensor:  # noqa: FBT001
        key = tf.zeros([3], tf.int32)
        return model.apply(list(weights[0]), {"token_ids": token_ids}, key, training=training)[0]

    @tf.function
    def loss(output: tf.Tensor, label: tf.Tensor, sample_weight: tf.Tensor | None = None) -> tf.Tensor:  # noqa: ARG001
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=output))

    @tf.function
    def start() -> OrderedDict[str, tf.Tensor]:
        return OrderedDict(loss=tf.zeros([]), batches=tf.zeros([]))

    @tf.function
    def add(
        state: OrderedDict[str, tf.Tensor],
        labels: tf.Tensor,  # noqa: ARG001
        batch_output: object,
        sample_weight: object = None,  # noqa: ARG001
    ) -> OrderedDict[str, tf.Tensor]:
        return OrderedDict(loss=state["loss"] + batch_output.loss, batches=state["batches"] + 1)

    @tf.function
    def finish(state: OrderedDict[str, tf.Tensor]) -> OrderedDict[str, tf.Tensor]:
        return OrderedDict(loss=state["loss"] / state["batches"])

    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(model.init(0)), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        metrics_fns=(start, add, finish),
        input_spec=(
            tf.TensorSpec([BATCH_SIZE, shape.tokens], tf.int32),
            tf.TensorSpec([BATCH_SIZE], tf.int32),
        ),
    )

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.config import ModelConfig
from federated.models.block import Model, build_model
from federated.models.classifier import Classifier, build_classifier

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T = 20, 3, 9
SMALL = {"embedding_size": 4, "hidden_size": 3, "key_size": 2}
CONFIGS = [
    ModelConfig(**SMALL, encoder="gru", attention="dot"),
    ModelConfig(**SMALL, encoder="lstm"),
    ModelConfig(**SMALL, encoder="gru", bidirectional=True),
    ModelConfig(**SMALL, encoder="lstm", bidirectional=True, attention="none"),
    ModelConfig(**SMALL, encoder="simple_rnn", attention="none"),
    ModelConfig(**SMALL, encoder="simple_rnn", bidirectional=True),
]


def describe(config: ModelConfig) -> str:
    return f"{'bi' * config.bidirectional}{config.encoder}-{config.attention}"


@pytest.fixture(scope="module", params=CONFIGS, ids=describe)
def config(request) -> ModelConfig:
    return request.param


@pytest.fixture(scope="module")
def classifier(config) -> Classifier:
    built = build_classifier(config, vocabulary_size=VOCABULARY, classes=CLASSES)
    # Fresh weights are small and biases zero: with these, a slip in the masks moves the outputs visibly.
    random = np.random.default_rng(5)
    built.set_weights([random.normal(0, 1, weight.shape).astype(np.float32) for weight in built.get_weights()])
    return built


def pad(rows: list[list[int]], width: int) -> tf.Tensor:
    return tf.constant([row + [0] * (width - len(row)) for row in rows])


ROWS = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=T), min_size=1, max_size=4)


@settings(max_examples=25)
@given(rows=ROWS)
def test_padding_changes_no_output(classifier, rows):
    batch = classifier.serving(pad(rows, T))
    for index, row in enumerate(rows):
        for view in filter(None, (classifier.serving, classifier.unpadded)):
            alone = view(tf.constant([row]))
            assert alone.keys() == batch.keys()
            probabilities = batch["probabilities"][index].numpy()
            assert probabilities == pytest.approx(alone["probabilities"][0].numpy(), abs=1e-6)
            if "attention" in batch:
                weights = batch["attention"][index].numpy()
                assert weights[: len(row)] == pytest.approx(alone["attention"][0].numpy(), abs=1e-6)
                assert not weights[len(row) :].any()


def test_outputs_are_distributions_and_never_nan_even_for_a_row_of_padding(classifier):
    outputs = classifier.serving(pad([[3, 4, 5], [0]], 4))
    assert outputs["probabilities"].numpy().sum(axis=1) == pytest.approx(1, abs=1e-6)
    if "attention" in outputs:
        assert outputs["attention"].numpy().sum(axis=1) == pytest.approx([1, 0], abs=1e-6)


def test_attention_is_there_exactly_when_it_was_asked_for(classifier, config):
    expected = {"probabilities"} if config.attention == "none" else {"probabilities", "attention"}
    assert set(classifier.serving.structured_outputs) == expected


def test_a_view_for_export_exists_for_the_encoders_that_have_an_onnx_node(classifier, config):
    assert (classifier.unpadded is None) == (config.encoder == "simple_rnn")


@pytest.fixture(scope="module")
def model(config) -> Model:
    return build_model(config, vocabulary_size=VOCABULARY, classes=CLASSES)


@pytest.fixture(scope="module")
def answer(classifier, model) -> Callable[[tf.Tensor], tuple]:
    key = tf.zeros([3], tf.int32)
    return tf.function(lambda ids, w: model.apply(w, {"token_ids": ids}, key, training=False))


def test_the_leaves_that_clients_train_are_the_weights_that_are_served(classifier, model):
    drawn = model.init(1)
    assert [leaf.shape for leaf in drawn] == [weight.shape for weight in classifier.weights]
    assert all(leaf.dtype == np.float32 for leaf in drawn)


@settings(max_examples=25)
@given(rows=ROWS)
def test_what_clients_train_answers_as_what_is_served(classifier, answer, rows):
    token_ids = pad(rows, T)
    logits, attention = answer(token_ids, list(map(tf.constant, classifier.weights)))
    served = classifier.serving(token_ids)
    assert tf.nn.softmax(logits).numpy() == pytest.approx(served["probabilities"].numpy(), abs=1e-6)
    assert (attention is None) == ("attention" not in served)
    if attention is not None:
        assert attention.numpy() == pytest.approx(served["attention"].numpy(), abs=1e-6)


def test_the_gradient_is_that_of_the_layers_of_keras(classifier, answer):
    token_ids, label = pad([[3, 4, 5, 9, 2], [6], [7, 8]], 7), [0, 2, 1]
    weights = [tf.constant(weight) for weight in classifier.weights]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits, _ = answer(token_ids, weights)
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits))
    ours = [tf.convert_to_tensor(leaf) for leaf in tape.gradient(loss, weights)]
    with tf.GradientTape() as tape:
        probabilities = classifier.serving(token_ids)["probabilities"]
        loss = -tf.reduce_sum(tf.math.log(tf.gather(probabilities, label, batch_dims=1)))
    for one, other in zip(ours, tape.gradient(loss, classifier.weights), strict=True):
        assert one.numpy() == pytest.approx(tf.convert_to_tensor(other).numpy(), abs=2e-5)


def test_the_key_decides_the_first_weights(model):
    assert all(map(np.array_equal, model.init(1), model.init(1)))
    assert not all(map(np.array_equal, model.init(1), model.init(2)))

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.config import ModelConfig
from federated.models.classifier import Classifier, build_classifier, build_training_model

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
    tf.keras.utils.set_random_seed(5)
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


def test_clients_train_the_weights_that_are_served(classifier, config):
    model = build_training_model(config, vocabulary_size=VOCABULARY, classes=CLASSES)
    model.set_weights(classifier.get_weights())
    token_ids = pad([[3, 4, 5], [6]], 4)
    trained = tf.nn.softmax(model(token_ids)).numpy()
    assert trained == pytest.approx(classifier.serving(token_ids)["probabilities"].numpy(), abs=1e-6)


def test_the_encoders_are_keras_own_so_that_each_exports_as_one_node(config):
    model = build_training_model(config, vocabulary_size=VOCABULARY, classes=CLASSES)
    layer = model.get_layer(f"{'bi' * config.bidirectional}{config.encoder}")
    recurrent = layer.forward_layer if config.bidirectional else layer
    names = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
    assert type(recurrent) is getattr(tf.keras.layers, names[config.encoder])


def test_the_seed_decides_the_first_weights():
    def first_weights(seed: int) -> list[np.ndarray]:
        tf.keras.utils.set_random_seed(seed)
        return build_classifier(CONFIGS[0], vocabulary_size=VOCABULARY, classes=CLASSES).get_weights()

    assert all(map(np.array_equal, first_weights(1), first_weights(1)))
    assert not all(map(np.array_equal, first_weights(1), first_weights(2)))

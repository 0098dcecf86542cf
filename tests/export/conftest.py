"""Small untrained SavedModels that fulfil the trainer's contract, each saved once a session.

TensorFlow is imported inside the fixtures: the fast tests of this directory share the file.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

import export  # noqa: F401 - sets what TensorFlow reads when it is imported
from worker.bundle import AttentionAxes, ModelCard, TextField, Training, encode_vocabulary

if TYPE_CHECKING:
    from export.convert import Converted
    from worker.scorer import OnnxScorer

LABELS = ["refund", "praise", "question"]
WORDS = ["refund", "please", "great", "thanks", "where", "is", "my", "parcel", "it", "never", "came", "退", "款", "好"]
MAX_TOKENS = 24


@pytest.fixture(scope="session")
def card() -> ModelCard:
    """A valid model card with attention."""
    return ModelCard(
        name="messages",
        task="classify",
        fields=[TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=MAX_TOKENS)],
        attention=[AttentionAxes(name="tokens", output="attention", field="text", axes=["token"])],
        labels=LABELS,
        training=Training(
            preset="test",
            engine="none",
            rounds=0,
            clients=0,
            seed=7,
            seconds=0.0,
            metrics={},
            library_versions={},
        ),
        privacy="none",
    )


@pytest.fixture(scope="session")
def write_assets() -> Callable[[Path, ModelCard], None]:
    """Writes ``assets.extra`` below a model's directory: 40 reference texts of 1 to 40 words, some of them unknown."""

    def write(model: Path, card: ModelCard) -> None:
        extra = model / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "model.json").write_bytes(msgspec.json.encode(card))
        (extra / "vocabulary.txt").write_bytes(encode_vocabulary(["[PAD]", "[UNK]", *WORDS]))
        words = [*WORDS, "zebra", "!"]
        texts = [" ".join(words[(3 * n + i * i) % len(words)] for i in range(n)) for n in range(1, 41)]
        lines = (json.dumps({"text": text, "label": card.labels[n % len(card.labels)]}) for n, text in enumerate(texts))
        (extra / "reference.jsonl").write_text("\n".join(lines) + "\n")

    return write


@pytest.fixture(scope="session")
def save_model(tmp_path_factory, card, write_assets) -> Callable[..., Path]:
    """Saves ``Embedding -> encoder -> attention -> softmax`` (or the last state in place of attention)."""
    saved: dict[tuple[object, ...], Path] = {}

    def save(cell: str, *, bidirectional: bool = False, attention: bool = True, leave_out: str | None = None) -> Path:
        key = (cell, bidirectional, attention, leave_out)
        if key not in saved:
            path = tmp_path_factory.mktemp("model") / "_".join(map(str, key))
            _save(path, cell, bidirectional=bidirectional, attention=attention, leave_out=leave_out)
            write_assets(path, card if attention else msgspec.structs.replace(card, attention=[]))
            saved[key] = path
        return saved[key]

    return save


@pytest.fixture(scope="session")
def load(save_model) -> Callable[..., SimpleNamespace]:
    """Loads a model of `save_model`: its path, assets, SavedModel and TensorFlow scorer."""
    from export.assets import read_assets
    from export.saved_model import SavedModelScorer, load_saved_model

    loaded: dict[Path, SimpleNamespace] = {}

    def load(cell: str, **options: bool | str) -> SimpleNamespace:
        path = save_model(cell, **options)
        if path not in loaded:
            assets = read_assets(path)
            model = load_saved_model(path, assets)
            scorer = SavedModelScorer(model, assets.card.attention)
            loaded[path] = SimpleNamespace(path=path, assets=assets, model=model, scorer=scorer)
        return loaded[path]

    return load


@pytest.fixture(scope="session")
def converted(load) -> Callable[..., "Converted"]:
    """Converts a model of `save_model`."""
    from export.convert import convert

    results: dict[Path, Converted] = {}

    def get(cell: str, **options: bool | str) -> "Converted":
        loaded = load(cell, **options)
        if loaded.path not in results:
            results[loaded.path] = convert(loaded.model)
        return results[loaded.path]

    return get


@pytest.fixture(scope="session")
def build_scorer() -> Callable[..., "OnnxScorer"]:
    """Builds the worker's scorer for a converted graph."""
    from export.manifest import build_scorer

    return lambda loaded, converted: build_scorer(loaded.assets, converted)


@pytest.fixture(scope="session")
def scorer(load, converted, build_scorer) -> Callable[..., "OnnxScorer"]:
    """Converts a model of `save_model` and builds the worker's scorer for it."""
    scorers: dict[int, OnnxScorer] = {}

    def get(cell: str, **options: bool | str) -> "OnnxScorer":
        result = converted(cell, **options)
        if id(result) not in scorers:
            scorers[id(result)] = build_scorer(load(cell, **options), result)
        return scorers[id(result)]

    return get


def _save(path: Path, cell: str, *, bidirectional: bool, attention: bool, leave_out: str | None) -> None:
    import tensorflow as tf

    keras, hidden = tf.keras, 8
    # Every weight is assigned below. Keras' random initializers warn under Python 3.11, and warnings are errors here.
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    embedding = keras.layers.Embedding(2 + len(WORDS), 8, embeddings_initializer="zeros")
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
    encoder = layer(hidden, return_sequences=attention, **zeros)
    if bidirectional:
        encoder = keras.layers.Bidirectional(encoder)
    query = tf.Variable(tf.zeros([hidden * (1 + bidirectional)]))
    decoder = keras.layers.Dense(len(LABELS), activation="softmax", kernel_initializer="zeros")

    def apply(token_ids, *, masked):
        keep = token_ids != 0
        states = encoder(embedding(token_ids), mask=keep if masked else None)
        if not attention:
            return {"probabilities": decoder(states)}
        scores = tf.linalg.matvec(states, query) / tf.sqrt(float(query.shape[0]))
        weights = tf.nn.softmax(tf.where(keep, scores, -1e9)) * tf.cast(keep, tf.float32)
        return {"probabilities": decoder(tf.linalg.matvec(states, weights, transpose_a=True)), "attention": weights}

    spec = tf.TensorSpec([None, None], tf.int32, name="token_ids")
    signatures = {
        "serving_default": tf.function(lambda token_ids: apply(token_ids, masked=True), input_signature=[spec]),
        "unpadded": tf.function(lambda token_ids: apply(token_ids, masked=False), input_signature=[spec]),
    }
    if cell == "simple_rnn":
        del signatures["unpadded"]
    signatures.pop(leave_out, None)
    # Only the variables are tracked: saving Keras layers themselves takes ten times longer.
    owner = tf.Module()
    apply(tf.ones([1, 2], tf.int32), masked=True)
    owner.weights = [*embedding.weights, *encoder.weights, *decoder.weights, query]
    for seed, weight in enumerate(owner.weights):
        # Large weights, biases too, so that a wrong graph is far off.
        weight.assign(tf.random.stateless_normal(weight.shape, [7, seed], stddev=0.7))
    tf.saved_model.save(owner, str(path), signatures=signatures)

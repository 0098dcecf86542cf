import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from federated.config import load_config
from federated.data.examples import Example
from federated.errors import OutputError
from federated.models.classifier import build_classifier
from federated.saved_model import REFERENCE_EXAMPLES, write_saved_model
from worker.bundle import ModelCard, Training, decode_vocabulary
from worker.features import PAD, UNKNOWN, TextEncoder, pad

pytestmark = pytest.mark.train


@dataclass
class Loaded:
    """A SavedModel as a stranger finds it."""

    path: Path

    def __post_init__(self) -> None:
        self.signatures = tf.saved_model.load(str(self.path)).signatures
        assets = self.path / "assets.extra"
        self.card = msgspec.json.decode((assets / "model.json").read_bytes(), type=ModelCard)
        self.vocabulary = decode_vocabulary((assets / "vocabulary.txt").read_bytes())
        self.reference = [json.loads(line) for line in (assets / "reference.jsonl").read_bytes().splitlines()]

    def encode(self, texts: list[str]) -> list[list[int]]:
        encoder = TextEncoder(self.vocabulary, max_tokens=self.card.fields[0].max_tokens)
        return [encoder.encode(text).ids for text in texts]


@pytest.fixture(scope="module")
def model(trained) -> Loaded:
    return Loaded(trained.out)


def test_the_signatures_take_token_ids_and_name_their_outputs(model):
    assert set(model.signatures) == {"serving_default", "unpadded"}
    for signature in model.signatures.values():
        assert signature.structured_input_signature[1] == {
            "token_ids": tf.TensorSpec([None, None], tf.int32, "token_ids")
        }
        assert signature.structured_outputs["probabilities"].shape.as_list() == [None, len(model.card.labels)]
        assert set(signature.structured_outputs) == {"probabilities", "attention"}


def test_padding_changes_nothing_and_both_signatures_agree_without_it(model):
    rows = model.encode([example["text"] for example in model.reference[:8]])
    batch = model.signatures["serving_default"](token_ids=tf.constant(pad(rows)))
    for index, row in enumerate(rows):
        for signature in model.signatures.values():
            alone = signature(token_ids=tf.constant([row]))
            for name, values in alone.items():
                assert batch[name][index, : values.shape[1]].numpy() == pytest.approx(values[0].numpy(), abs=1e-6)


def test_the_card_says_what_the_model_reads_and_where_it_comes_from(model, trained):
    assert model.card.name == load_config("demo").model.name
    (field,) = model.card.fields
    assert (field.name, field.input, field.vocabulary, field.max_tokens) == ("text", "token_ids", "vocabulary.txt", 32)
    (attention,) = model.card.attention
    assert (attention.output, attention.field, attention.axes) == ("attention", "text", ["token"])
    training = model.card.training
    assert (training.preset, training.engine, training.rounds, training.seed) == ("demo", "xla", 3, 4)
    assert training.metrics["accuracy"] == trained.figures["heldout_accuracy"]
    assert set(training.library_versions) == {"tensorflow", "numpy"}
    assert model.card.privacy == "none"


def test_the_vocabulary_fits_the_embedding(model):
    assert model.vocabulary[:2] == [PAD, UNKNOWN]
    variables = tf.train.list_variables(str(model.path / "variables" / "variables"))
    assert [len(model.vocabulary), 8] in [shape for _, shape in variables]


def test_the_metrics_are_those_of_the_saved_weights_on_the_held_out_examples(model, trained):
    # So few that all held-out examples are reference examples.
    assert len(model.reference) < REFERENCE_EXAMPLES
    rows = model.encode([example["text"] for example in model.reference])
    answers = model.signatures["serving_default"](token_ids=tf.constant(pad(rows)))["probabilities"].numpy()
    given = [model.card.labels[index] for index in answers.argmax(axis=1)]
    right = np.mean([label == example["label"] for label, example in zip(given, model.reference, strict=True)])
    assert right == pytest.approx(trained.figures["heldout_accuracy"])


def write_untrained(path: Path, *, heldout: int) -> None:
    config = load_config("example")
    examples = [Example(f"{'good' if number % 2 else 'bad'} {number}", str(number % 2)) for number in range(heldout)]
    vocabulary = ["[PAD]", "[UNK]", "good", "bad", *"012345"]
    classifier = build_classifier(config.model, vocabulary_size=10, classes=2)
    card = ModelCard(
        name="untrained",
        task="classify",
        fields=[],
        attention=[],
        labels=["0", "1"],
        training=Training("example", "tff", 1, 1, 1, 0.0, {}, {}),
        privacy="none",
    )
    write_saved_model(path, classifier, card, vocabulary=vocabulary, reference=examples)


def test_a_simple_rnn_has_one_signature_and_no_attention(tmp_path):
    write_untrained(tmp_path / "model", heldout=4)
    model = Loaded(tmp_path / "model")
    assert set(model.signatures) == {"serving_default"}
    assert set(model.signatures["serving_default"].structured_outputs) == {"probabilities"}


def test_the_reference_examples_are_limited(tmp_path):
    write_untrained(tmp_path / "model", heldout=REFERENCE_EXAMPLES + 8)
    assert len(Loaded(tmp_path / "model").reference) == REFERENCE_EXAMPLES


def test_a_directory_that_exists_is_left_alone(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_untrained(tmp_path / "model", heldout=4)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "mine"]


def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*file/model"):
        write_untrained(tmp_path / "file" / "model", heldout=4)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]

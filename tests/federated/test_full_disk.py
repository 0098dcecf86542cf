"""A disk that fills up while a run writes: one error that says where, and nothing half-written."""

import contextlib
import resource
from collections.abc import Iterator

import pytest
import tensorflow as tf

from federated.config import ModelConfig
from federated.errors import OutputError
from federated.models.classifier import build_classifier
from federated.records import open_records
from federated.saved_model import write_saved_model
from worker.bundle import ModelCard, TextField, Training
from worker.messages import RoundRecord

pytestmark = pytest.mark.train

RECORD = RoundRecord(
    run="test",
    round=1,
    rounds=1,
    timestamp_ms=0,
    seconds=1.0,
    clients=[0],
    examples=1,
    train={"loss": 1.0},
    heldout={f"recall.{number}": 0.5 for number in range(40)},
)


@contextlib.contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """Makes every write beyond fail, as on a full disk; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_records_on_a_full_disk(tmp_path):
    (tmp_path / "rounds.jsonl").symlink_to("/dev/full")
    with open_records(tmp_path) as report, pytest.raises(OutputError, match=r"No space left on device.*--log-dir"):
        report(RECORD)


def test_tensorboard_on_a_full_disk(tmp_path):
    (tmp_path / "rounds.jsonl").symlink_to("/dev/null")
    refused = pytest.raises(OutputError, match=r"File too large.*--log-dir")
    with open_records(tmp_path) as report, files_no_larger_than(1_000), refused:
        report(RECORD)


def test_a_model_on_a_full_disk(tmp_path):
    tf.keras.utils.set_random_seed(1)
    config = ModelConfig(encoder="simple_rnn", attention="none")
    classifier = build_classifier(config, vocabulary_size=100, classes=2)
    card = ModelCard(
        name="test",
        task="classify",
        fields=[TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=8)],
        attention=[],
        labels=["a", "b"],
        training=Training(
            preset="test", engine="none", rounds=1, clients=1, seed=1, seconds=0.0, metrics={}, library_versions={}
        ),
        privacy="none",
    )
    with files_no_larger_than(1_000), pytest.raises(OutputError, match=r"cannot write .*model: .*File too large"):
        write_saved_model(tmp_path / "model", classifier, card, vocabulary=["[PAD]", "[UNK]"], reference=[])
    assert list(tmp_path.iterdir()) == []

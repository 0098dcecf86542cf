"""A disk that fills up while a run writes: one error that says where, and nothing half-written."""

import contextlib
import resource
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest
import tensorflow as tf

from federated.config import ModelConfig
from federated.errors import OutputError
from federated.models.classifier import build_classifier
from federated.records import open_records
from federated.reporting.history import load_history
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


FILL_UP = """
import resource, sys
from pathlib import Path
import msgspec
from federated.errors import OutputError
from federated.records import open_records
from worker.messages import RoundRecord

directory = Path(sys.argv[1])
with open_records(directory) as report:
    for line in sys.stdin.buffer:
        record = msgspec.json.decode(line, type=RoundRecord)
        if record.round == 3:
            size = (directory / "rounds.jsonl").stat().st_size + len(line) // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            report(record)
        except OutputError as error:
            sys.exit(str(error))
"""
"""Its disk is full in the middle of the third record."""


def test_a_record_that_half_fits_on_the_disk_is_an_error_and_gone_when_the_run_goes_on(tmp_path):
    # So many that TensorBoard's file, which does not name them, stays far below the limit.
    clients = list(range(10_000))
    records = [msgspec.structs.replace(RECORD, round=number, clients=clients) for number in (1, 2, 3)]
    given = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
    child = subprocess.run([sys.executable, "-c", FILL_UP, tmp_path], input=given, capture_output=True, check=False)
    assert child.returncode == 1, child.stderr.decode()
    assert b"File too large" in child.stderr
    assert b"--log-dir" in child.stderr
    assert not (tmp_path / "rounds.jsonl").read_bytes().endswith(b"\n"), "nothing was cut short"
    assert load_history(tmp_path) == records[:2]
    with open_records(tmp_path) as report:
        report(records[2])
    assert load_history(tmp_path) == records
    assert (tmp_path / "rounds.jsonl").read_bytes() == given


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

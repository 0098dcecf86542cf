"""`config check` on a real broker: whether a worker could start there."""

import os
import uuid
from pathlib import Path

import pytest

from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.settings import PREFIX

pytestmark = pytest.mark.kafka

ROLES = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC")


@pytest.fixture
def topics(broker: str, tiny_bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Role -> name of a topic that does not exist yet, as in the environment of a worker."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    prefix = f"check-{uuid.uuid4().hex[:8]}"
    names = {role: f"{prefix}.{role.lower()}" for role in ROLES}
    monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("LIMELIGHT_BUNDLE", str(tiny_bundle_path))
    for role, name in names.items():
        monkeypatch.setenv(f"LIMELIGHT_{role}", name)
    return names


@pytest.mark.parametrize("transport", ["kafka-python", "librdkafka"])
def test_all_is_well(
    topics: dict[str, str],
    broker: str,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LIMELIGHT_TRANSPORT", transport)
    create_topics(broker, dict.fromkeys(topics.values(), 1))
    assert main(["config", "check"]) == 0
    assert capsys.readouterr() == ("ok\n", "")


def test_missing_topics_are_all_named_with_what_creates_them(
    topics: dict[str, str], broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_topics(broker, {topics["INPUT_TOPIC"]: 1, topics["OUTPUT_TOPIC"]: 1})
    assert main(["config", "check"]) == 1
    remedy = "`python -m worker topics create` creates what is missing, `python -m worker topics check` says more."
    missing = f"{topics['DEAD_LETTER_TOPIC']}, {topics['STATUS_TOPIC']}"
    assert capsys.readouterr() == ("", f"error: not to be found at {broker}: {missing}. {remedy}\n")
    # A status topic that is not used need not exist; and what the message names does help.
    monkeypatch.setenv("LIMELIGHT_STATUS_TOPIC", "")
    assert main(["topics", "create"]) == 0
    assert main(["config", "check"]) == 0


def test_a_broker_that_does_not_answer_is_named(
    topics: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMELIGHT_PROPERTIES", "bootstrap.timeout.ms=300")
    monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert main(["config", "check"]) == 1
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith("error: no Kafka broker answered at 127.0.0.1:1 within ")
    assert errors.count("\n") == 1
    assert main(["config", "check", "--offline"]) == 0

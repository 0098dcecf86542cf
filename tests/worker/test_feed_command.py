"""`feed` on a real broker: which topic it fills. What it sends, and how fast, is a part of `test_run_command`."""

import uuid
from contextlib import closing
from pathlib import Path

import pytest

from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.settings import Settings
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

pytestmark = pytest.mark.kafka

ROLES = ("INPUT_TOPIC", "OUTPUT_TOPIC", "DEAD_LETTER_TOPIC", "STATUS_TOPIC")


@pytest.fixture
def topics(broker: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Role -> topic, as in the environment of a worker."""
    prefix = f"feed-{uuid.uuid4().hex[:8]}"
    names = {role: f"{prefix}.{role.lower()}" for role in ROLES}
    create_topics(broker, dict.fromkeys(names.values(), 1))
    monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", broker)
    for role, name in names.items():
        monkeypatch.setenv(f"LIMELIGHT_{role}", name)
    return names


@pytest.fixture
def events(tmp_path: Path) -> str:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b'{"text":"a"}\n{"text":"b"}\n')
    return str(file)


def values(topic: str) -> list[bytes | None]:
    with closing(KafkaReader(client_properties(Settings()), topic=topic, begin="beginning")) as reader:
        return [record.value for records in reader.read_until(reader.ends()) for record in records]


@pytest.mark.parametrize("role", ROLES)
def test_any_topic_can_be_filled_also_one_that_has_another_role(
    topics: dict[str, str], events: str, role: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["feed", "--input", events, "--topic", topics[role]]) == 0
    assert capsys.readouterr().err == f"2 records sent to {topics[role]}\n"
    assert values(topics[role]) == [b'{"text":"a"}', b'{"text":"b"}']


def test_a_topic_that_does_not_exist_is_not_made(
    topics: dict[str, str], events: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = f"{topics['INPUT_TOPIC']}.missing"
    for _ in range(2):
        assert main(["feed", "--input", events, "--topic", missing]) == 1
        assert capsys.readouterr().err.startswith(f"error: topic {missing!r} does not exist.")


@pytest.mark.parametrize(
    "command", [["feed", "--topic"], ["tail", "--topic"], ["dlq", "replay", "--id=x", "--to-topic"]]
)
@pytest.mark.parametrize("name", ["a b", "", "x" * 250])
def test_a_name_that_kafka_does_not_allow_is_wrong_usage(
    command: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, name])
    assert ended.value.code == 2
    assert f"argument {command[-1]}: {name!r} is no topic: give at most 249 letters" in capsys.readouterr().err

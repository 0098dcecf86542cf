"""A shadow's predictions that cannot be delivered are lost, and told once; those after them go on."""

import msgspec
import pytest
from structlog.testing import capture_logs

from worker.clock import SystemClock
from worker.errors import DecodeError, TopicMissingError
from worker.models.shadow_topic import ShadowTopic
from worker.ports import Record
from worker.transport.memory import MemoryBroker, MemorySink

pytestmark = pytest.mark.fast

TOPIC = "limelight.shadow"
RECORDS = [Record("events", 1, offset, 0, b"key", b"{}", [("h", b"1")]) for offset in range(3)]


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker({TOPIC: 2})


@pytest.fixture
def topic(broker: MemoryBroker) -> ShadowTopic:
    return ShadowTopic(MemorySink(broker), TOPIC, group_id="limelight", clock=SystemClock())


def test_predictions_go_where_those_of_the_stream_would(broker: MemoryBroker, topic: ShadowTopic) -> None:
    assert topic.publish(RECORDS, [b"first", DecodeError("no"), b"third"]) == 0
    assert [(o.key, o.value, o.headers) for o in broker.logs[TOPIC, 1]] == [
        (b"key", b"first", [("h", b"1")]),
        (b"key", b"third", [("h", b"1")]),
    ]


def test_a_delivery_that_fails_is_counted_whole_and_told_once(broker: MemoryBroker, topic: ShadowTopic) -> None:
    broker.failures = ["send", "send"]
    answers = [b"a", b"b", DecodeError("no")]

    with capture_logs() as logs:
        lost = [topic.publish(RECORDS, answers) for _ in range(3)]

    assert lost == [2, 2, 0]
    assert [line["reason"] for line in logs] == ["the broker failed at send"]


def test_what_is_too_large_is_lost_alone(broker: MemoryBroker, topic: ShadowTopic) -> None:
    too_large = msgspec.json.encode("x" * 2_000_000)

    assert topic.publish(RECORDS, [b"a", too_large, b"c"]) == 1
    assert [output.value for output in broker.logs[TOPIC, 1]] == [b"a", b"c"]


def test_a_topic_that_is_missing_is_told_at_once(broker: MemoryBroker) -> None:
    with pytest.raises(TopicMissingError):
        ShadowTopic(MemorySink(broker), "missing", group_id="limelight", clock=SystemClock())

"""A shadow's predictions on a real topic: what the brokers refuse is lost, counted, and stops nothing."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaConsumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.kafka.topics import create_topics
from worker.answers.shortening import STRONGEST
from worker.building import build_shadow_in_child
from worker.clock import SystemClock
from worker.messages import Prediction
from worker.metrics import Metrics
from worker.models.serving import Plan
from worker.models.shadow import Shadow, Slice
from worker.ports import Record
from worker.process.share import ALONE
from worker.settings import Settings
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 30
LIMIT_BYTES = 860
"""A prediction with twelve weights and its key takes 905, with eight 815."""
LONG_TEXT = " ".join(["the box late"] * 20)
SHORT, SHORTENED, TOO_LARGE = b"the box late", LONG_TEXT.encode(), b"k" * LIMIT_BYTES


@pytest.fixture
def topic(broker: str) -> str:
    name = f"shadow.{uuid.uuid4().hex[:8]}"
    create_topics(broker, {name: 3}, configs={name: {"max.message.bytes": str(LIMIT_BYTES)}})
    return name


@pytest.fixture(params=["kafka-python", "librdkafka"])
def settings(request: pytest.FixtureRequest, broker: str, topic: str) -> Settings:
    return Settings(
        bootstrap_servers=broker, transport=request.param, registry="r", model_name="tiny", shadow_topic=topic
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def shadow(settings: Settings, metrics: Metrics, tiny_bundle_path: Path) -> Iterator[Shadow]:
    build = partial(build_shadow_in_child, settings, ALONE)
    with closing(Shadow(build, clock=SystemClock(), metrics=metrics.shadow)) as shadow:
        shadow.follow(Plan(1, tiny_bundle_path))
        yield shadow


def counts(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.labels["result"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "limelight_shadow_records_total"
    }


def read(broker: str, topic: str, count: int) -> list[Prediction]:
    with closing(KafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(3)])
        deadline, values = Deadline(PATIENCE_SECONDS), []
        while len(values) < count:
            assert deadline.remaining_seconds()
            values += [record.value for records in consumer.poll(timeout_ms=100).values() for record in records]
    return [msgspec.json.decode(value, type=Prediction) for value in values]


def event(offset: int, text: bytes, key: bytes = b"key") -> Record:
    return Record("events", 0, offset, 0, key, b'{"text": "%s"}' % text, [])


def answers(records: list[Record]) -> list[bytes]:
    output = {"task": "classify", "label": "a", "score": 1.0, "probabilities": {"a": 1.0}}
    return [msgspec.json.encode({"output": output}) for _ in records]


def test_what_its_topic_does_not_take_costs_no_more_than_itself(
    shadow: Shadow, metrics: Metrics, broker: str, topic: str
) -> None:
    slices = [
        [event(0, SHORT), event(1, SHORT, key=TOO_LARGE), event(2, SHORTENED)],
        [event(3, SHORT)],
        [event(4, SHORT)],
    ]
    for records in slices:
        shadow.compare(Slice(records, answers(records)))

    assert shadow.problem == ""
    assert counts(metrics) == {"scored": 5, "dropped": 0, "unconfirmed": 1}
    found = read(broker, topic, 4)
    assert {prediction.source.offset for prediction in found} == {0, 2, 3, 4}
    [shortened] = [prediction for prediction in found if prediction.source.offset == 2]
    assert len(shortened.attention[0].weights) == STRONGEST

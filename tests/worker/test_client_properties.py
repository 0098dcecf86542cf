"""Properties that users pass on to the Kafka client: what it does not know is refused before anything is started."""

from collections.abc import Callable
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.settings import Settings
from worker.transport.kafka_python.properties import client_properties as kafka_python

pytestmark = pytest.mark.fast

Properties = Callable[[Settings], Any]


@pytest.fixture(params=["kafka-python", "librdkafka"])
def properties(request: pytest.FixtureRequest) -> Properties:
    """What a client makes of the settings."""
    if request.param == "kafka-python":
        return kafka_python
    pytest.importorskip("confluent_kafka", reason="the extra librdkafka is not installed")
    from worker.transport.librdkafka.properties import client_properties

    return client_properties


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("fetch.mim.bytes=7", "names fetch.mim.bytes, which .* does not know. Did you mean fetch.min.bytes"),
        ("bootstrap.servers=elsewhere:1", "bootstrap.servers cannot be set .*: set LIMELIGHT_BOOTSTRAP_SERVERS"),
        ("enable.auto.commit=true", "enable.auto.commit cannot be set .*: exactly once rests on"),
    ],
)
def test_what_cannot_be_set_is_refused_with_what_helps(properties: Properties, given: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        properties(Settings(properties=given))


def test_what_the_client_knows_is_taken(properties: Properties) -> None:
    made = properties(Settings(properties="fetch.min.bytes=7"))
    taken = made if isinstance(made, dict) else made.for_role("C", {})
    assert {int(value) for name, value in taken.items() if name.replace("_", ".") == "fetch.min.bytes"} == {7}


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"fetch\.min\.bytes"):
        kafka_python(Settings(properties="fetch.min.bytes=many"))

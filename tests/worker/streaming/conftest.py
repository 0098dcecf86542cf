"""Each test here runs in memory, and on a real broker with each client."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from streaming.streams import KafkaStream, MemoryStream


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.fast),
        pytest.param("kafka-python", marks=pytest.mark.kafka),
        pytest.param("librdkafka", marks=pytest.mark.kafka),
    ]
)
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    opened: Any
    if request.param == "memory":
        opened = MemoryStream()
    else:
        opened = KafkaStream(request.getfixturevalue("broker"), request.param, monkeypatch)
    with closing(opened):
        yield opened

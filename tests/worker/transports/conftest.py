"""Each test here runs with both clients on a real broker."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from transports.topic import CLIENTS, Topic

Make = Callable[..., Topic]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(broker: str, client: str) -> Iterator[Make]:
    with ExitStack() as opened:
        yield lambda **options: Topic(broker, client, opened, **options)


@pytest.fixture
def topic(make: Make) -> Topic:
    return make()

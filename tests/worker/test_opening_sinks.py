"""A worker that starts together with its brokers: they answer before they can initialise a transactional id."""

from typing import Any

import pytest

from worker.errors import BrokerUnreachableError, FencedError, LimelightError, TransportError
from worker.transport import producing
from worker.transport.transactional import TransactionalSink

pytestmark = pytest.mark.fast


class ClientError(Exception):
    pass


class Starting:
    """The client of brokers that are starting: so many attempts fail."""

    error = ClientError

    def __init__(self, failures: int, *, stays: LimelightError | None = None, is_fenced: bool = False) -> None:
        self.left, self.attempts, self._stays, self._is_fenced = failures, 0, stays, is_fenced

    def build(self, **_: Any) -> str:
        self.attempts += 1
        if self.left:
            self.left -= 1
            raise ClientError("the coordinator is loading")
        return "producer"

    def describe(self, error: Exception) -> str:
        return str(error)

    def permanent(self, _: Exception) -> LimelightError | None:
        return self._stays

    def is_fenced(self, _: Exception) -> bool:
        return self._is_fenced


def open_sink(client: Any) -> None:
    TransactionalSink(client, transactional_id="workers.one", group=lambda *, anew: anew, deadline_seconds=1)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producing, "OPEN_AGAIN_SECONDS", 0.01)


def test_opening_is_tried_again_until_the_coordinator_is_there() -> None:
    client = Starting(failures=3)
    open_sink(client)
    assert client.attempts == 4


def test_opening_ends_with_one_clear_line_when_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producing, "OPEN_SECONDS", 0.1)
    client = Starting(failures=1000)
    with pytest.raises(BrokerUnreachableError, match="cannot be initialised: the coordinator is loading"):
        open_sink(client)
    assert client.attempts > 1


@pytest.mark.parametrize(
    ("client", "error"),
    [
        (Starting(failures=1, stays=TransportError("too old")), TransportError),
        (Starting(failures=1, is_fenced=True), FencedError),
    ],
)
def test_what_stays_is_not_tried_again(client: Starting, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_sink(client)
    assert client.attempts == 1

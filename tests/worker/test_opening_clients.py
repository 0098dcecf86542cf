"""A worker that starts together with its brokers: they answer before they can initialise a transactional id."""

from typing import Any

import pytest

from worker.errors import AccessDeniedError, BrokerUnreachableError, FencedError, LimelightError, TransportError
from worker.process import patience
from worker.transport.at_least_once import AtLeastOnceSink
from worker.transport.transactional import TransactionalSink

pytestmark = pytest.mark.fast

ATTEMPT_SECONDS = 1.0


class ClientError(Exception):
    pass


class Time:
    """Passes when somebody sleeps, or tries to open."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Starting:
    """The client of brokers that are starting: so many attempts fail."""

    error = ClientError

    def __init__(
        self, time: Time, failures: float, *, stays: LimelightError | None = None, is_fenced: bool = False
    ) -> None:
        self._time, self._failures, self.attempts = time, failures, 0
        self._stays, self._is_fenced = stays, is_fenced

    def build(self, **_: Any) -> str:
        self.attempts += 1
        self._time.seconds += ATTEMPT_SECONDS
        if self.attempts <= self._failures:
            raise ClientError("the coordinator is loading")
        return "producer"

    def describe(self, error: Exception) -> str:
        return str(error)

    def permanent(self, _: Exception) -> LimelightError | None:
        return self._stays

    def is_fenced(self, _: Exception) -> bool:
        return self._is_fenced

    def open_sink(self) -> Any:
        client: Any = self
        return TransactionalSink(client, transactional_id="workers.one", group=lambda *, anew: anew, deadline_seconds=1)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(patience, "time", time)
    return time


def open_patiently(client: Starting) -> Any:
    return patience.open_patiently(client.open_sink, is_stopping=lambda: False)


def test_opening_is_tried_again_until_the_coordinator_is_there(time: Time) -> None:
    client = Starting(time, failures=3)
    assert isinstance(open_patiently(client), TransactionalSink)
    assert client.attempts == 4


def test_opening_ends_with_one_clear_line_when_it_takes_too_long(time: Time) -> None:
    client = Starting(time, failures=float("inf"))
    with pytest.raises(BrokerUnreachableError, match="cannot be initialised: the coordinator is loading"):
        open_patiently(client)
    assert client.attempts > 10
    assert patience.OPEN_SECONDS <= time.seconds < patience.OPEN_SECONDS + 2 * ATTEMPT_SECONDS


@pytest.mark.parametrize(
    ("answer", "error"),
    [({"stays": TransportError("too old")}, TransportError), ({"is_fenced": True}, FencedError)],
)
def test_what_stays_is_not_tried_again(time: Time, answer: dict[str, Any], error: type[Exception]) -> None:
    client = Starting(time, failures=1, **answer)
    with pytest.raises(error):
        open_patiently(client)
    assert client.attempts == 1


def test_whatever_is_opened_an_error_that_may_pass_is_waited_out(time: Time) -> None:
    """The source's, say: an identity provider that is away."""
    failures: list[LimelightError] = [BrokerUnreachableError("no token"), BrokerUnreachableError("no token")]

    def open_source() -> str:
        if failures:
            raise failures.pop()
        return "source"

    assert patience.open_patiently(open_source, is_stopping=lambda: False) == "source"
    failures.append(AccessDeniedError("wrong password"))
    with pytest.raises(AccessDeniedError):
        patience.open_patiently(open_source, is_stopping=lambda: False)
    assert time.seconds > 0


def test_a_stop_is_not_kept_waiting(time: Time) -> None:
    """Asked to stop in the middle of the wait between two attempts."""
    client = Starting(time, failures=float("inf"))
    asked_seconds = 2 * ATTEMPT_SECONDS + 1.5 * patience.OPEN_AGAIN_SECONDS
    with pytest.raises(BrokerUnreachableError):
        patience.open_patiently(client.open_sink, is_stopping=lambda: time.seconds >= asked_seconds)
    assert client.attempts == 2
    assert time.seconds <= asked_seconds + patience.STEP_SECONDS


def test_a_sink_by_itself_is_opened_once(time: Time) -> None:
    """A shadow's, which has less time to start than a worker, or a sink for dead letters that somebody replays."""
    client: Any = Starting(time, failures=1)
    with pytest.raises(ClientError):
        AtLeastOnceSink(client, commit_soon=lambda _: None, deadline_seconds=1)
    assert client.attempts == 1

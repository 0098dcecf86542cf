"""Orders over HTTP: who may give them, and what becomes of the others."""

import http.client
import json
from collections.abc import Iterator

import pytest

from worker.clock import SystemClock
from worker.process.admin import Administration
from worker.process.health import HealthServer, Heartbeat, Readiness
from worker.process.http_server import Orders

pytestmark = pytest.mark.fast

TOKEN = "correct-horse"


class Service:
    """A server with one order, which is counted."""

    def __init__(self, *, token: str | None) -> None:
        self.paused = 0
        orders: Orders | None = None
        if token is not None:
            orders = Administration(token, {"/pause": self._pause}).order
        heartbeat = Heartbeat(SystemClock(), limit_seconds=60)
        self.server = HealthServer(
            "127.0.0.1", 0, heartbeat=heartbeat, readiness=Readiness(), render_metrics=lambda: b"", orders=orders
        )

    def _pause(self) -> None:
        self.paused += 1

    def ask(self, method: str, path: str, authorization: str | None = None) -> tuple[int, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        headers = {} if authorization is None else {"Authorization": authorization}
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert TOKEN not in body.decode()
        json.loads(body or b"{}")
        return response.status, dict(response.headers)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(token=TOKEN)
    with service.server:
        yield service


def test_who_knows_the_token_may_order(service: Service) -> None:
    assert service.ask("POST", "/pause?now", f"Bearer {TOKEN}")[0] == 202
    assert service.paused == 1


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer ", f"Bearer {TOKEN} ".lower().replace("c", "C"), f"Basic {TOKEN}", TOKEN]
)
def test_nobody_else_may(service: Service, authorization: str | None) -> None:
    status, headers = service.ask("POST", "/pause", authorization)

    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert service.paused == 0


def test_an_order_is_no_page_and_a_page_no_order(service: Service) -> None:
    assert service.ask("GET", "/pause", f"Bearer {TOKEN}")[0] == 404
    assert service.ask("POST", "/livez", f"Bearer {TOKEN}")[0] == 405
    assert service.ask("POST", "/other", f"Bearer {TOKEN}")[0] == 404
    assert service.paused == 0


def test_without_a_token_there_is_nothing_to_order() -> None:
    service = Service(token=None)
    with service.server:
        assert service.ask("POST", "/pause", "Bearer ")[0] == 404
        assert service.ask("POST", "/pause", "Bearer None")[0] == 404
    assert service.paused == 0

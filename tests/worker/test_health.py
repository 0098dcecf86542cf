import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.process import http_server
from worker.process.health import HealthServer, Heartbeat, Readiness
from worker.process.http_server import CONNECTIONS, REQUEST_BYTES

pytestmark = pytest.mark.fast

HOST = "127.0.0.1"
PATIENCE_SECONDS = 10.0
LIMIT_SECONDS = 30.0


class FakeClock:
    """Time that stands until it is told to pass."""

    seconds = 100.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic_seconds(self) -> float:
        return self.seconds


class Service:
    """A server and everything that decides its answers."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.heartbeat = Heartbeat(self.clock, limit_seconds=LIMIT_SECONDS)
        self.readiness = Readiness()
        self.server = HealthServer(
            HOST, 0, heartbeat=self.heartbeat, readiness=self.readiness, render_metrics=lambda: b"limelight_ready 1\n"
        )

    def ask(self, path: str, method: str = "GET") -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read(), dict(response.getheaders())
        finally:
            connection.close()

    def ask_json(self, path: str) -> tuple[int, Any]:
        status, body, _ = self.ask(path)
        return status, json.loads(body)

    def connect(self) -> socket.socket:
        return socket.create_connection((HOST, self.server.port), timeout=PATIENCE_SECONDS)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(http_server, "POLL_SECONDS", 0.01)
    service = Service()
    with service.server:
        yield service


def read_all(connection: socket.socket) -> bytes:
    """Whatever comes until the other side hangs up."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_livez_fails_once_the_loop_stalls_and_recovers_with_it(service: Service) -> None:
    service.clock.seconds += LIMIT_SECONDS
    assert service.ask_json("/livez")[0] == 200
    service.clock.seconds += 0.5

    status, body = service.ask_json("/livez")

    assert status == 503
    assert body == {"alive": False, "seconds_since_progress": LIMIT_SECONDS + 0.5, "limit_seconds": LIMIT_SECONDS}
    service.heartbeat.beat()
    assert service.ask_json("/livez") == (
        200,
        {"alive": True, "seconds_since_progress": 0.0, "limit_seconds": LIMIT_SECONDS},
    )


def test_readyz_needs_every_condition_and_names_each(service: Service) -> None:
    missing = ["model_warmed", "transactions_initialised", "partitions_assigned"]
    conditions = {**dict.fromkeys(missing, False), "deployment_followed": True, "reading": True}
    for condition in missing:
        assert service.ask_json("/readyz") == (503, {"ready": False, "conditions": conditions})
        setattr(service.readiness, condition, True)
        conditions[condition] = True

    assert service.ask_json("/readyz") == (200, {"ready": True, "conditions": conditions})


def test_metrics_are_rendered_for_each_request(service: Service) -> None:
    status, body, headers = service.ask("/metrics?name=x")

    assert (status, body) == (200, b"limelight_ready 1\n")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/live", "/livez/", "/metrics.txt", "/../livez", "//livez"])
def test_other_pages_do_not_exist(service: Service, path: str) -> None:
    assert service.ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get"])
def test_other_methods_are_refused(service: Service, method: str) -> None:
    status, _, headers = service.ask("/readyz", method)

    assert (status, headers["Allow"]) == (405, "GET")


def test_a_client_may_go_on_sending_a_body_that_nobody_reads(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(b"POST /readyz HTTP/1.1\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 405 ")
        for _ in range(100):
            # On a closed connection, all but the first would raise.
            connection.sendall(b"x" * 1000)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez SPDY/3\r\n\r\n", 400),
        (b"\xff\x00 \xfe HTTP/1.1\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * REQUEST_BYTES, 431),
    ],
)
def test_a_malformed_request_is_refused(service: Service, request_bytes: bytes, status: int) -> None:
    with service.connect() as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_request_may_arrive_in_pieces(service: Service) -> None:
    with service.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":
            connection.sendall(bytes([byte]))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).endswith(b"\r\n\r\nlimelight_ready 1\n")


def test_a_client_that_trickles_is_cut_off_and_others_are_served_meanwhile(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 0.3)
    with service.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        assert service.ask("/metrics")[0] == 200
        connection.settimeout(0.05)
        answer = b""
        deadline = time.monotonic() + PATIENCE_SECONDS
        # A byte every 50 ms: each one would restart a timeout that counts silence.
        while not answer and time.monotonic() < deadline:
            try:
                answer = connection.recv(1024)
            except TimeoutError:
                connection.sendall(b"x")
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_beyond_the_limit_is_hung_up_on_and_the_next_is_served_again(service: Service) -> None:
    silent = [service.connect() for _ in range(CONNECTIONS)]
    try:
        with service.connect() as one_too_many:
            assert one_too_many.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for _ in repeat(None):
        try:
            assert service.ask("/metrics")[0] == 200
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline
        else:
            break


def test_clients_that_leave_early_do_no_harm(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3 * CONNECTIONS):
        with service.connect() as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    service.server.close()

    assert capsys.readouterr().err == ""


def test_closing_frees_the_port_and_ends_the_threads() -> None:
    before = set(threading.enumerate())
    service = Service()
    port = service.server.port
    with service.server:
        assert service.ask("/metrics")[0] == 200

    assert set(threading.enumerate()) <= before
    with socket.create_server((HOST, port)) as taken_over:
        assert taken_over.getsockname()[1] == port


def test_a_port_in_use_is_refused_with_the_remedy(service: Service) -> None:
    with pytest.raises(SettingsError, match=rf"{HOST} port {service.server.port}: .*LIMELIGHT_HEALTH_PORT"):
        HealthServer(
            HOST,
            service.server.port,
            heartbeat=service.heartbeat,
            readiness=service.readiness,
            render_metrics=lambda: b"",
        )


def test_an_ipv6_address_can_be_listened_on() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    clock = FakeClock()
    with HealthServer(
        "::1", 0, heartbeat=Heartbeat(clock, limit_seconds=1), readiness=Readiness(), render_metrics=lambda: b""
    ) as server:
        connection = http.client.HTTPConnection("::1", server.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/livez")
        assert connection.getresponse().read().startswith(b'{"alive":true')
        connection.close()


def test_an_abstract_socket_can_be_listened_on_and_leaves_nothing() -> None:
    name = f"limelight-{uuid.uuid4()}"
    heartbeat = Heartbeat(FakeClock(), limit_seconds=1)
    server = HealthServer(f"@{name}", 0, heartbeat=heartbeat, readiness=Readiness(), render_metrics=lambda: b"")
    with server, socket.socket(socket.AF_UNIX) as connection:
        assert server.port == 0
        connection.connect(f"\0{name}")
        connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")

    with socket.socket(socket.AF_UNIX) as connection, pytest.raises(ConnectionRefusedError):
        connection.connect(f"\0{name}")


def test_an_address_that_is_not_ours_is_refused() -> None:
    clock = FakeClock()
    with pytest.raises(SettingsError, match="LIMELIGHT_HEALTH_HOST"):
        HealthServer(
            "192.0.2.1",
            0,
            heartbeat=Heartbeat(clock, limit_seconds=1),
            readiness=Readiness(),
            render_metrics=lambda: b"",
        )
